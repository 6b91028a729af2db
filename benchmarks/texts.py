"""Texts of a given mix of lengths: words of the model's vocabulary, drawn with a fixed seed.

Only lengths matter to speed. A text of n words that are single entries of the vocabulary has n tokens.
"""

import argparse
import json
import random
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

from app.core.config import EMBEDDED_MODEL_DIR

QUANTILES = {
    # WordPiece tokens of the 25,000 training reviews of the Large Movie Review Dataset v1.0 (Maas et al. 2011), cleaned
    # as serving cleans them. Mean 296.
    "imdb": (
        (0, 11), (0.01, 53), (0.05, 81), (0.1, 115), (0.2, 149), (0.3, 168), (0.4, 190), (0.5, 220), (0.6, 260),
        (0.7, 319), (0.8, 410), (0.9, 582), (0.95, 761), (0.99, 1143), (1, 3045),
    ),
    # The 6,735 sentences and phrases of SST-2's development part, up to 32 tokens (95 % of them). Mean 11.
    "short": (
        (0, 1), (0.1, 2), (0.2, 4), (0.3, 5), (0.4, 6), (0.5, 8), (0.6, 11), (0.7, 14), (0.8, 18), (0.9, 25), (1, 32),
    ),
}  # fmt: skip
"""Mixes of lengths: pairs of a share and the number of tokens that this share of the texts has at most."""


def add_arguments(parser: argparse.ArgumentParser, mixes: Sequence[str] = ("imdb", "short")) -> None:
    """Declare ``--mix`` and ``--data``."""
    parser.add_argument(
        "--mix", nargs="+", choices=sorted(QUANTILES), default=list(mixes), help="mixes of lengths"
    )
    parser.add_argument("--data", type=Path, help="real texts (.parquet, .csv) in place of drawn ones")


def lengths(mix: str, count: int, seed: int = 1) -> list[int]:
    """Return `count` numbers of tokens, spread evenly over the mix's quantiles and shuffled."""
    points = QUANTILES[mix]
    shares = [share for share, _ in points]
    found = []
    for index in range(count):
        share = (index + 0.5) / count
        place = min(bisect_right(shares, share), len(points) - 1)
        (low, fewest), (high, most) = points[place - 1], points[place]
        found.append(round(fewest + (most - fewest) * (share - low) / (high - low)))
    random.Random(seed).shuffle(found)
    return found


def words(tokenizer: Path = EMBEDDED_MODEL_DIR / "tokenizer.json") -> list[str]:
    """Return the vocabulary's whole words of three to ten letters, in the order of their ids."""
    vocabulary: dict[str, int] = json.loads(tokenizer.read_text("utf-8"))["model"]["vocab"]
    whole = (word for word in vocabulary if word.isascii() and word.isalpha() and 3 <= len(word) <= 10)
    return sorted(whole, key=vocabulary.__getitem__)


def draw(sizes: Sequence[int], seed: int = 1) -> list[str]:
    """Return one text for each number of tokens."""
    chosen, generator = words(), random.Random(seed)
    return [" ".join(generator.choices(chosen, k=size)) for size in sizes]


def texts(mix: str, count: int, data: Path | None = None, seed: int = 1) -> list[str]:
    """Return `count` texts of a mix: drawn, or a sample of `data`, of which `short` takes texts up to 32 words."""
    if data is None:
        return draw(lengths(mix, count, seed), seed)
    from ml import dataset

    found = list(dataset.load(data).texts)
    if mix == "short":
        found = [text for text in found if len(text.split()) <= 32]
    if not found:
        raise SystemExit(f"{data} has no texts for the mix {mix}")
    return random.Random(seed).choices(found, k=count)
