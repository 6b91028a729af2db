"""The profile of known text that live traffic is compared with: what the exported model sees and says of it."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.core.errors import ModelLoadError
from app.services.artifact import MANIFEST_NAME, read_manifest
from app.services.familiarity import PairFilter
from app.services.monitoring.language import UNKNOWN, guess_language
from app.services.text import EncodedText, TextEncoder
from ml import dataset

LENGTH_EDGES = (0, 16, 32, 64, 128, 192, 256, 384, 512, 768, 1024)
CONFIDENCE_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
UNKNOWN_EDGES = (0.0, 0.001, 0.005, 0.01, 0.02, 0.05)
FAMILIAR_BINS = 8


def profile(
    name: str, labels: Sequence[str], texts: Sequence[EncodedText], probabilities: np.ndarray
) -> dict[str, Any]:
    """Describe texts and answers by histograms.

    Args:
        name: what the texts are.
        labels: the model's labels.
        texts: as the model reads them.
        probabilities: its answers, shape ``(n, labels)``.

    Returns:
        For ``tokens``, ``confidence`` and ``unknown_share``: lower ``edges`` and ``shares`` that sum to 1 (the last
        bin is open); for ``label``: shares by label.
    """
    answers = probabilities.argmax(axis=1)
    return {
        "data": name,
        "rows": len(texts),
        "label": {label: float((answers == index).mean()) for index, label in enumerate(labels)},
        "tokens": _histogram([text.tokens for text in texts], LENGTH_EDGES),
        "confidence": _histogram(probabilities.max(axis=1).tolist(), CONFIDENCE_EDGES),
        "unknown_share": _histogram([text.unknown / max(1, text.tokens) for text in texts], UNKNOWN_EDGES),
    }


def wording(
    texts: Sequence[str], encoded: Sequence[EncodedText], training_ids: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """Describe how texts are worded.

    Args:
        texts: as they were written; none of them may be a training text, whose wording is more familiar than new ones'.
        encoded: the same as the model reads them.
        training_ids: token ids of the training texts, from which the common pairs of neighbours are taken.

    Returns:
        ``language``: shares by guess; ``familiar_pairs``: the filter of the common pairs, and a histogram of the share
        of them in each text, with edges at its eighths.
    """
    pairs = PairFilter.build(training_ids)
    shares = [share for text in encoded if (share := pairs.share(text.windows)) is not None]
    inner = np.quantile(shares, np.linspace(0, 1, FAMILIAR_BINS + 1)[1:-1])
    edges = [0.0, *sorted({round(float(edge), 4) for edge in inner} - {0.0})]
    guesses = Counter(guess for text in texts if (guess := guess_language(text)) != UNKNOWN)
    return {
        "language": {name: round(count / guesses.total(), 6) for name, count in guesses.most_common()},
        "familiar_pairs": {"filter": pairs.encode(), **_histogram(shares, edges)},
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``python -m ml reference``."""
    parser.add_argument("model", type=Path, help="a model folder with a marquee.json and a tokenizer.json")
    parser.add_argument(
        "--training", type=Path, required=True, help="the texts it was trained on (.parquet, .csv, aclImdb)"
    )
    parser.add_argument("--validation", type=Path, required=True, help="texts that it was not trained on")


def run(arguments: argparse.Namespace) -> int:
    """Run ``python -m ml reference``: add how texts are worded to a model's reference; its digest changes with it."""
    manifest = read_manifest(arguments.model)
    if manifest is None:
        raise ModelLoadError(f"{arguments.model} has no {MANIFEST_NAME}: export the model first")
    encoder = TextEncoder.from_file(arguments.model / "tokenizer.json", manifest.preprocessing.windows())
    validation = dataset.load(arguments.validation)
    training = dataset.without_texts_of(dataset.load(arguments.training, "train"), [validation])
    found = wording(validation.texts, encoder.encode(validation.texts), encoder.token_ids(training.texts))
    updated = manifest.model_copy(update={"reference": manifest.reference | found})
    updated.write(arguments.model)
    print(
        f"{arguments.model}: the pairs of {len(training):,} training texts, "
        f"{len(validation):,} texts to compare with; {found['language']}"
    )
    return 0


def _histogram(values: Sequence[float], edges: Sequence[float]) -> dict[str, list[float]]:
    bins = np.searchsorted(np.asarray(edges), np.asarray(values), side="right") - 1
    counts = np.bincount(np.clip(bins, 0, len(edges) - 1), minlength=len(edges))
    return {
        "edges": [float(edge) for edge in edges],
        "shares": [round(float(c), 6) for c in counts / max(1, len(values))],
    }
