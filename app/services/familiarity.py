"""How familiar a text's wording is: the share of its neighbouring tokens that are common pairs of the training texts.

Length gives a foreign text away easily; this does not depend on it. News, tweets and reviews of restaurants have other
pairs, and shuffled words have hardly any, though each word is known. The pairs are kept as a filter of hashed bits, a
few kilobytes, so that no vocabulary has to travel with the model.
"""

import base64
import binascii
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Self

BITS = 16
PAIRS = 4_000
_FIRST, _SECOND, _MASK = 0x9E3779B1, 0x85EBCA77, 0xFFFFFFFF


class PairFilter:
    """Knows the common pairs of token ids, but for one stranger in sixteen that shares its hash with one of them."""

    def __init__(self, flags: bytes) -> None:
        """Take one byte, 0 or 1, for each of the 65,536 hashes."""
        self._flags = flags

    @classmethod
    def build(cls, texts: Iterable[Sequence[int]], pairs: int = PAIRS) -> Self:
        """Remember the `pairs` most frequent pairs of neighbours in `texts`, given as token ids."""
        counts: Counter[tuple[int, int]] = Counter()
        for ids in texts:
            counts.update(pairwise(ids))
        flags = bytearray(1 << BITS)
        for (first, second), _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:pairs]:
            flags[_hash(first, second)] = 1
        return cls(bytes(flags))

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read what `encode` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            reader = zlib.decompressobj()
            packed = reader.decompress(base64.b64decode(text, validate=True), 1 << BITS)
        except (binascii.Error, zlib.error, ValueError) as error:
            raise ValueError(f"the filter of pairs cannot be read: {error}") from error
        if not reader.eof or len(packed) != 1 << (BITS - 3):
            raise ValueError(f"the filter of pairs has not the {1 << (BITS - 3)} bytes that it must have")
        return cls(bytes(packed[index >> 3] >> (index & 7) & 1 for index in range(1 << BITS)))

    def encode(self) -> str:
        """Return the filter as text for a manifest: bits, deflated, in base64."""
        packed = bytearray(1 << (BITS - 3))
        for index, flag in enumerate(self._flags):
            packed[index >> 3] |= flag << (index & 7)
        return base64.b64encode(zlib.compress(bytes(packed), 9)).decode("ascii")

    def share(self, windows: Sequence[Sequence[int]]) -> float | None:
        """Return the share of known pairs in windows of token ids, their special first and last token left out.

        None where no window has two tokens of its own.
        """
        flags = self._flags
        known = total = 0
        for window in windows:
            inside = window[1:-1]
            known += sum(
                flags[(first * _FIRST + second * _SECOND & _MASK) >> 16] for first, second in pairwise(inside)
            )
            total += max(0, len(inside) - 1)
        return known / total if total else None


def filter_of(reference: dict[str, Any]) -> PairFilter | None:
    """Return the filter of a reference profile, None where it has none.

    Raises:
        ValueError: it has one that cannot be read.
    """
    profile = reference.get("familiar_pairs")
    text = profile.get("filter") if isinstance(profile, dict) else None
    return PairFilter.decode(text) if isinstance(text, str) else None


def _hash(first: int, second: int) -> int:
    return (first * _FIRST + second * _SECOND & _MASK) >> (32 - BITS)
