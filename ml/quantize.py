"""int8 versions of a fused graph, and the choice among them by what they cost in agreement and bring in speed."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.services.text import EncodedText
from ml.metrics import classification_metrics, probabilities


@dataclass(frozen=True)
class Recipe:
    """A way to quantise weights; activations are always quantised as they come (dynamic, unsigned).

    Attributes:
        name: for tables.
        signed: weights as int8 rather than uint8.
        per_channel: a scale for each output rather than one for the matrix.
        reduce_range: 7-bit weights. Processors without VNNI add pairs of products in 16 bits, which full-range
            signed weights overflow; 7 bits cannot, so every processor computes the same sums.
        keep: parts of the names of matrix products that stay fp32.
    """

    name: str
    signed: bool
    per_channel: bool
    reduce_range: bool
    keep: tuple[str, ...] = ()

    @property
    def portable(self) -> bool:
        """Whether processors with and without VNNI give the same sums."""
        return self.reduce_range or not self.signed


RECIPES = (
    Recipe("int8 per channel", signed=True, per_channel=True, reduce_range=False),
    Recipe("int8 per channel, 7 bit", signed=True, per_channel=True, reduce_range=True),
    Recipe("int8 per tensor, 7 bit", signed=True, per_channel=False, reduce_range=True),
    Recipe("uint8 per tensor", signed=False, per_channel=False, reduce_range=False),
    Recipe(
        "int8 per channel, 7 bit, head fp32",
        signed=True,
        per_channel=True,
        reduce_range=True,
        keep=("classifier",),
    ),
)


@dataclass(frozen=True)
class Measured:
    """What a graph did with the validation sample.

    Attributes:
        recipe: which one; `fp32` for the reference.
        portable: see `Recipe.portable`.
        megabytes: of the file, 10^6 bytes.
        accuracy, log_loss: on the sample.
        flips: share of texts whose label differs from fp32's.
        mean_shift, largest_shift: of a probability, against fp32.
        tokens_per_second: one text at a time, as serving does it.
    """

    recipe: str
    portable: bool
    megabytes: float
    accuracy: float
    log_loss: float
    flips: float
    mean_shift: float
    largest_shift: float
    tokens_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def quantize(source: Path, target: Path, recipe: Recipe) -> None:
    """Write `source` quantised by `recipe` to `target`."""
    import logging

    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    kept = [
        node.name
        for node in onnx.load(str(source), load_external_data=False).graph.node
        if node.op_type == "MatMul" and any(part in node.name for part in recipe.keep)
    ]
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # It recommends a shape inference that a fused graph does not need.
    try:
        quantize_dynamic(
            source,
            target,
            per_channel=recipe.per_channel,
            reduce_range=recipe.reduce_range,
            weight_type=QuantType.QInt8 if recipe.signed else QuantType.QUInt8,
            nodes_to_exclude=kept,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    finally:
        logging.root.setLevel(level)


def open_session(path: Path, threads: int = 0) -> Any:
    """Open a graph on the processor; `threads` 0 takes all cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def session_logits(session: Any, texts: Sequence[EncodedText]) -> np.ndarray:
    """Return logits of whole texts, one window at a time as serving does it; float32, shape ``(n, labels)``."""
    rows = []
    for text in texts:
        windows = []
        for window in text.windows:
            ids = np.array([window], dtype=np.int32)
            windows.append(
                session.run(["logits"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
            )
        rows.append(np.mean(windows, axis=0))
    return np.asarray(rows, dtype=np.float32)


def measure(
    path: Path,
    name: str,
    portable: bool,
    texts: Sequence[EncodedText],
    labels: np.ndarray,
    reference: np.ndarray | None,
) -> tuple[Measured, np.ndarray]:
    """Score a graph on `texts`; return the figures and the logits. `reference` is fp32's logits, or None for it."""
    session = open_session(path)
    started = time.perf_counter()
    logits = session_logits(session, texts)
    seconds = time.perf_counter() - started
    scores = classification_metrics(labels, logits)
    base = logits if reference is None else reference
    shift = np.abs(probabilities(logits) - probabilities(base))[:, 0]
    tokens = sum(len(window) for text in texts for window in text.windows)
    measured = Measured(
        recipe=name,
        portable=portable,
        megabytes=path.stat().st_size / 1e6,
        accuracy=scores["accuracy"],
        log_loss=scores["log_loss"],
        flips=float((logits.argmax(axis=1) != base.argmax(axis=1)).mean()),
        mean_shift=float(shift.mean()),
        largest_shift=float(shift.max()),
        tokens_per_second=tokens / seconds,
    )
    return measured, logits


def choose(measured: Sequence[Measured], largest_loss: float) -> Measured:
    """Choose among quantised graphs: portable, accuracy within `largest_loss` of fp32 (first in the list), then
    the one that moves probabilities least.

    Raises:
        ValueError: none qualifies.
    """
    reference, *candidates = measured
    fit = [
        entry
        for entry in candidates
        if entry.portable and reference.accuracy - entry.accuracy <= largest_loss
    ]
    if not fit:
        raise ValueError(
            f"no quantised graph is within {largest_loss:.3f} of fp32's accuracy {reference.accuracy:.4f}"
        )
    return min(fit, key=lambda entry: entry.mean_shift)
