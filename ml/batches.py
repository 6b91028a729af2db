"""Which texts are trained on together, in what order, and which part of each: all fixed by a seed.

Batches are made of texts of similar length and have one of a few fixed shapes, so that a compiled training
step is compiled once a shape. The whole order is known before the first step: a run that was stopped goes
on where it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.services.text import WindowPolicy

LENGTHS = (32, 64, 128, 192, 256, 320, 384, 512)


@dataclass(frozen=True)
class Stage:
    """A part of the training: how much of a text is seen at most, and how often all texts are seen.

    Attributes:
        max_tokens: tokens of a text in one step, special ones included.
        passes: passes over the training texts; 0.5 sees half of them.
    """

    max_tokens: int
    passes: float

    @classmethod
    def parse(cls, value: str) -> "Stage":
        """Read ``512:1.5``.

        Raises:
            ValueError: not of that form, or out of range.
        """
        length, _, passes = value.partition(":")
        try:
            stage = cls(int(length), float(passes or 1))
        except ValueError:
            stage = cls(0, 0.0)
        if not 16 <= stage.max_tokens <= LENGTHS[-1] or not 0 < stage.passes <= 1000:
            raise ValueError(f"stage {value!r}: expected TOKENS:PASSES with 16 to {LENGTHS[-1]} tokens")
        return stage


@dataclass(frozen=True)
class Batch:
    """One training step: rows of the data set, and the shape they are padded to.

    Attributes:
        rows: positions in the data set; a batch that is not full has fewer than `size`.
        size: rows of the padded arrays.
        length: tokens of the padded arrays.
        max_tokens: tokens that may be taken of each text.
        seed: what the choice of the part of a long text is drawn from.
    """

    rows: tuple[int, ...]
    size: int
    length: int
    max_tokens: int
    seed: int


def plan(lengths: Sequence[int], stages: Sequence[Stage], tokens_a_batch: int, seed: int) -> list[Batch]:
    """Lay out all batches of a training.

    Args:
        lengths: tokens of each text, special ones not counted.
        stages: what to do one after another.
        tokens_a_batch: padded tokens in a batch; the rows follow from it and the length.
        seed: fixes the order.
    """
    generator = np.random.default_rng(seed)
    batches: list[Batch] = []
    for stage in stages:
        left = stage.passes
        while left > 1e-9:
            order = generator.permutation(len(lengths))
            order = order[: round(min(1.0, left) * len(order))]
            batches += _one_pass(order, lengths, stage.max_tokens, tokens_a_batch, generator)
            left -= 1
    return batches


def _one_pass(
    order: np.ndarray,
    lengths: Sequence[int],
    max_tokens: int,
    tokens_a_batch: int,
    generator: np.random.Generator,
) -> list[Batch]:
    shapes = [length for length in LENGTHS if length < max_tokens] + [max_tokens]
    waiting: dict[int, list[int]] = {shape: [] for shape in shapes}
    batches: list[Batch] = []

    def emit(shape: int, rows: list[int]) -> None:
        seed = int(generator.integers(2**31))
        batches.append(Batch(tuple(rows), max(1, tokens_a_batch // shape), shape, max_tokens, seed))

    for row in order.tolist():
        needed = min(lengths[row] + 2, max_tokens)
        shape = next(shape for shape in shapes if shape >= needed)
        waiting[shape].append(row)
        if len(waiting[shape]) == max(1, tokens_a_batch // shape):
            emit(shape, waiting[shape])
            waiting[shape] = []
    for shape, rows in waiting.items():
        if rows:
            emit(shape, rows)
    return [batches[index] for index in generator.permutation(len(batches)).tolist()]


def part_of(
    ids: Sequence[int], max_tokens: int, policy: WindowPolicy, generator: np.random.Generator
) -> list[int]:
    """Choose what is seen of a text in one step, special tokens not included.

    A text that fits is seen whole. At the model's full length one of the windows that serving would read is
    drawn; below it, half of the time the head and the tail, where verdicts stand, else a random stretch.
    """
    capacity = max_tokens - 2
    if len(ids) <= capacity:
        return list(ids)
    if max_tokens == policy.max_tokens:
        spans, _ = policy.spans(len(ids))
        start, end = spans[int(generator.integers(len(spans)))]
        return list(ids[start:end])
    if generator.random() < 0.5:
        head = int(capacity * generator.uniform(0.25, 0.75))
        return [*ids[:head], *ids[len(ids) - (capacity - head) :]]
    start = int(generator.integers(len(ids) - capacity + 1))
    return list(ids[start : start + capacity])


@dataclass(frozen=True)
class Arrays:
    """A batch as the model takes it.

    Attributes:
        ids, mask: int32 of shape ``(size, length)``.
        targets: float32 of shape ``(size, labels)``; rows sum to 1.
        weights: float32 of shape ``(size,)``; 0 for rows that only fill the shape.
    """

    ids: np.ndarray
    mask: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def fill(
    batch: Batch,
    tokens: Sequence[Sequence[int]],
    targets: np.ndarray,
    policy: WindowPolicy,
    special: tuple[int, int, int],
) -> Arrays:
    """Take the texts of `batch` out of the tokenized data set and pad them.

    Args:
        batch: what to take.
        tokens: ids of each text, special ones not included.
        targets: probabilities of the labels, shape ``(texts, labels)``.
        policy: the windows of serving.
        special: the ids of ``[CLS]``, ``[SEP]`` and ``[PAD]``.
    """
    start, end, pad = special
    generator = np.random.default_rng(batch.seed)
    ids = np.full((batch.size, batch.length), pad, dtype=np.int32)
    mask = np.zeros((batch.size, batch.length), dtype=np.int32)
    mask[:, 0] = 1  # A row without any token would divide by zero in the attention.
    chosen = np.zeros((batch.size, targets.shape[1]), dtype=np.float32)
    chosen[:, 0] = 1
    weights = np.zeros(batch.size, dtype=np.float32)
    for index, row in enumerate(batch.rows):
        part = [start, *part_of(tokens[row], batch.max_tokens, policy, generator), end]
        ids[index, : len(part)] = part
        mask[index, : len(part)] = 1
        chosen[index] = targets[row]
        weights[index] = 1
    return Arrays(ids, mask, chosen, weights)
