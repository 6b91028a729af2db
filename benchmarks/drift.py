"""When does the monitor see that other texts arrive, and how often does it cry wolf?

Real texts through the server's own monitor: held-out reviews of the kind that the model knows, then others, as they are
and matched in length to the reviews.
"""

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.core.config import EMBEDDED_MODEL_DIR, Settings
from app.services.monitoring.drift import DriftWatch, signals_of
from app.services.monitoring.observation import observe

MOST_TEXTS = 400
CALM_TEXTS = 2_000


@dataclass(frozen=True)
class Stream:
    """Texts of one kind as what the monitor sees of them: values by signal, one mapping a text."""

    name: str
    seen: list[dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--model", type=Path, default=EMBEDDED_MODEL_DIR)
    parser.add_argument(
        "--held-out", type=Path, required=True, help="labelled texts of the kind that was trained on"
    )
    parser.add_argument(
        "--answers", type=Path, help="answers to them that `python -m ml evaluate --report` kept (.npz)"
    )
    parser.add_argument(
        "--others", type=Path, nargs="+", required=True, help="texts of other kinds (.parquet, .csv)"
    )
    parser.add_argument("--texts", type=int, default=MOST_TEXTS, help="of each other kind, at most")
    parser.add_argument("--seed", type=int, default=0)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print two tables; exit code 1 where a bound does not hold."""
    from ml import dataset
    from ml.evaluate import load_model

    random = np.random.default_rng(arguments.seed)
    predictor, files = load_model(arguments.model)
    signals = signals_of(files.manifest.reference)
    print(f"signals: {', '.join(signal.name for signal in signals)}\n", file=sys.stderr)
    held_out = dataset.load(arguments.held_out)
    known = _balanced(_known(predictor, held_out.texts, arguments.answers), held_out.labels, random)
    settings = Settings(_env_file=None)
    window = settings.drift_window

    def new_watch() -> DriftWatch:
        return DriftWatch(signals, window, settings.drift_minimum)

    alarms, windows = _false_alarms(known, new_watch, window, random)
    calm = [seen for _, seen in zip(range(CALM_TEXTS), _shuffled(known, random), strict=False)]
    first = _first_alarm(new_watch(), calm)
    print("| held-out texts | windows | with an alarm |\n|---|---:|---:|")
    print(
        f"| {held_out.name}, windows of {window} apart | {windows} | {sum(alarms.values())} {dict(alarms) or ''} |"
    )
    print(
        f"| {len(calm):,} in a row, looked at after each tenth | 1 | {'none' if first is None else first} |"
    )
    print(
        "\n| then come | after 200 reviews: texts until an alarm | from an empty window | all signals in the end |"
    )
    print("|---|---|---|---|")
    late = []
    lengths = [len(text.split()) for text in held_out.texts]
    for stream in _streams(predictor, arguments, held_out, lengths, random):
        after = new_watch()
        for seen in itertools.islice(_shuffled(known, random), window):
            after.add(seen)
        warm, cold = _first_alarm(after, stream.seen), _first_alarm(new_watch(), stream.seen)
        drifted = [entry.signal.name for entry in after.check() if entry.drifted]
        late += [stream.name] if warm is None else []
        print(f"| {stream.name} | {_told(warm)} | {_told(cold)} | {', '.join(drifted)} |", flush=True)
    return int(bool(late) or sum(alarms.values()) > 0.01 * windows or first is not None)


def _known(predictor: Any, texts: tuple[str, ...], answers: Path | None) -> list[dict[str, Any]]:
    """Return what the monitor sees of held-out texts, with the answers that an evaluation kept where they are given."""
    if answers is None:
        return list(_asked(predictor, texts))
    with np.load(answers) as kept:
        values = kept["values"][: int(kept["done"])]
    found = []
    for row, encoded in zip(values, _encoded(predictor, texts[: len(values)]), strict=True):
        best = int(row[:2].argmax())
        found.append(
            {
                "label": predictor.labels[best],
                "language": "en",
                "confidence": float(row[best]),
                "tokens": encoded.tokens,
                "unknown_share": encoded.unknown / max(1, encoded.tokens),
                "familiar_pairs": predictor.familiar.share(encoded.windows),
            }
        )
    for seen, text in zip(found, texts, strict=False):
        seen["language"] = observe({"text": text}).language
    return found


def _balanced(
    known: list[dict[str, Any]], labels: np.ndarray, random: np.random.Generator
) -> list[dict[str, Any]]:
    """Take as many texts of each label as the rarer one has: kept answers may not have come to the end of the file."""
    sides = [np.flatnonzero(labels[: len(known)] == label) for label in (0, 1)]
    least = min(len(side) for side in sides)
    return [known[row] for side in sides for row in random.permutation(side)[:least]]


def _encoded(predictor: Any, texts: tuple[str, ...]) -> Iterator[Any]:
    for start in range(0, len(texts), 500):
        yield from predictor.encoder.encode(texts[start : start + 500])


def _asked(predictor: Any, texts: Iterable[str]) -> Iterator[dict[str, Any]]:
    for text in texts:
        (output,) = predictor.predict(predictor.prepare([text]))
        yield observe(predictor.row(text, output)).signals()


def _shuffled(known: list[dict[str, Any]], random: np.random.Generator) -> Iterator[dict[str, Any]]:
    return (known[row] for row in random.permutation(len(known)))


def _false_alarms(
    known: list[dict[str, Any]], new_watch: Any, window: int, random: np.random.Generator
) -> tuple[Counter[str], int]:
    """Count the signals that drift in disjoint windows of held-out texts, in several random orders of them."""
    alarms: Counter[str] = Counter()
    windows = 0
    while windows < 250:
        order = list(_shuffled(known, random))
        for start in range(0, len(order) - window + 1, window):
            watch = new_watch()
            for seen in order[start : start + window]:
                watch.add(seen)
            drifted = [entry.signal.name for entry in watch.check() if entry.drifted]
            windows += 1
            if drifted:
                alarms["+".join(drifted)] += 1
    return alarms, windows


def _first_alarm(watch: DriftWatch, stream: Iterable[dict[str, Any]]) -> tuple[int, str] | None:
    """Feed a stream, look after each tenth text as the monitor does, and return how many it took and what drifted."""
    first = None
    for count, seen in enumerate(stream, 1):
        watch.add(seen)
        if count % 10 == 0 and first is None:
            drifted = [entry.signal.name for entry in watch.check() if entry.drifted]
            first = (count, ", ".join(drifted)) if drifted else None
    return first


def _streams(
    predictor: Any,
    arguments: argparse.Namespace,
    held_out: Any,
    lengths: list[int],
    random: np.random.Generator,
) -> Iterator[Stream]:
    import pandas

    for path in arguments.others:
        table = pandas.read_parquet(path) if path.suffix == ".parquet" else pandas.read_csv(path)
        texts = [text for text in table["text"].astype(str) if text.strip()]
        texts = [texts[row] for row in random.permutation(len(texts))]
        yield Stream(path.stem, list(_asked(predictor, texts[: arguments.texts])))
        matched = _matched(texts, lengths, arguments.texts, random)
        yield Stream(f"{path.stem}, in the length of reviews", list(_asked(predictor, matched)))
    chosen = random.permutation(len(held_out))[: arguments.texts]
    mixed = [" ".join(random.permutation(held_out.texts[row].split())) for row in chosen]
    yield Stream(f"{held_out.name}, each review's words shuffled", list(_asked(predictor, mixed)))


def _matched(texts: list[str], lengths: list[int], count: int, random: np.random.Generator) -> list[str]:
    """Join texts of one kind until each has as many words as a review drawn at random."""
    found = []
    for length in random.choice(lengths, count):
        words: list[str] = []
        while len(words) < length:
            words += texts[random.integers(len(texts))].split()
        found.append(" ".join(words[:length]))
    return found


def _told(found: tuple[int, str] | None) -> str:
    return "no alarm" if found is None else f"{found[0]}: {found[1]}"
