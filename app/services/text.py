"""Cleaning, tokenizing and windowing of text: one code for training and for serving.

A text becomes one or more windows of token ids. What the model says of each window is averaged, so a
long review is read whole instead of being cut at the model's limit.
"""

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from tokenizers import Tokenizer

_SURROGATE = re.compile("[\ud800-\udfff]")
_FORMATTING_TAG = re.compile(
    r"</?(?:a|b|blockquote|br|center|div|em|font|h[1-6]|hr|i|li|ol|p|pre|small|span|strong|sub|sup|table|td|tr|u|ul)"
    r"(?:\s[^<>]{0,200})?/?>",
    re.IGNORECASE,
)
# Everything of the Unicode categories Cc and Cf that is not white space: invisible, and no word's part.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]"
)
_WHITE_SPACE = re.compile(r"\s+")


def clean(text: str) -> str:
    """Return `text` as the model is to see it.

    HTML entities are decoded, formatting tags such as ``<br />`` become blanks, invisible characters go,
    half a surrogate pair becomes U+FFFD, white space is folded. Words and punctuation stay: negations and
    exclamation marks are what a verdict is made of.
    """
    if "&" in text:
        text = html.unescape(text)
    if "<" in text:
        text = _FORMATTING_TAG.sub(" ", text)
    text = _SURROGATE.sub("\ufffd", text)
    text = unicodedata.normalize("NFC", text)
    text = _INVISIBLE.sub("", text)
    return _WHITE_SPACE.sub(" ", text).strip()


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """How a text that is longer than the model's limit is read.

    Attributes:
        max_tokens: tokens in a window, the two special ones included.
        overlap: tokens that neighbouring windows share at least.
        max_windows: windows of one text; past that its middle is left out and the text counts as truncated.
    """

    max_tokens: int = 512
    overlap: int = 64
    max_windows: int = 8

    def __post_init__(self) -> None:
        """Refuse a policy that cannot move forward.

        Raises:
            ValueError: a number is out of range.
        """
        if self.max_tokens < 8 or not 0 <= self.overlap <= (self.max_tokens - 2) // 2 or self.max_windows < 1:
            raise ValueError(
                f"windows of {self.max_tokens} tokens, {self.overlap} of them shared, at most {self.max_windows}: "
                "max_tokens must be at least 8, overlap at most half of it, max_windows at least 1"
            )

    def spans(self, length: int) -> tuple[list[tuple[int, int]], bool]:
        """Cut `length` tokens into windows of about equal size.

        Returns:
            The half-open ranges ``[(start, end), …]`` in order, and whether tokens were left out. Equal sizes
            need no padding and give each window the same weight.
        """
        capacity = self.max_tokens - 2
        if length <= capacity:
            return [(0, length)], False
        count = -(-(length - self.overlap) // (capacity - self.overlap))
        if count <= self.max_windows:
            size = -(-(length + (count - 1) * self.overlap) // count)
            starts = [round(index * (length - size) / (count - 1)) for index in range(count)]
            return [(start, start + size) for start in starts], False
        # The verdict stands at the beginning and, above all, at the end of a review.
        tail = (self.max_windows + 1) // 2
        step = capacity - self.overlap
        head_spans = [(index * step, index * step + capacity) for index in range(self.max_windows - tail)]
        tail_spans = [
            (length - index * step - capacity, length - index * step) for index in reversed(range(tail))
        ]
        # Just above the limit they may still touch: then they share less than asked, and nothing is left out.
        reached = head_spans[-1][1] if head_spans else 0
        return head_spans + tail_spans, reached < tail_spans[0][0]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build the policy that an artifact's manifest names; unknown keys are refused.

        Raises:
            ValueError: an unknown key or a value that is no whole number.
        """
        known = asdict(cls())
        for key, value in values.items():
            if key not in known:
                raise ValueError(f"unknown window setting {key!r}; known: {', '.join(known)}")
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"window setting {key!r} must be a whole number, not {value!r}")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text as the model reads it.

    Attributes:
        windows: token ids of each window, special tokens included.
        tokens: tokens of the whole text, special ones not counted.
        unknown: how many of them the vocabulary does not know.
        truncated: whether tokens were left out.
    """

    windows: tuple[tuple[int, ...], ...]
    tokens: int
    unknown: int
    truncated: bool


class TextEncoder:
    """Turns raw texts into windows of token ids; safe to share between threads.

    The Rust tokenizer keeps truncation and padding as state that a call in another thread could change, so
    both are switched off once, at load, and never touched again.
    """

    def __init__(self, tokenizer: Tokenizer, policy: WindowPolicy) -> None:
        """Wrap a WordPiece `tokenizer` that knows ``[CLS]``, ``[SEP]``, ``[PAD]`` and ``[UNK]``.

        Raises:
            ValueError: a special token is missing from the vocabulary.
        """
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.policy = policy
        self._tokenizer = tokenizer
        self.start_id, self.end_id, self.pad_id, self._unknown = (
            self._special(token) for token in ("[CLS]", "[SEP]", "[PAD]", "[UNK]")
        )

    @classmethod
    def from_file(cls, path: Path, policy: WindowPolicy) -> Self:
        """Read a ``tokenizer.json``.

        Raises:
            ValueError: the file is missing or is no tokenizer.
        """
        if not path.is_file():
            raise ValueError(f"no tokenizer at {path.name}: the model's folder must hold it")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # The Rust side raises bare Exception.
            raise ValueError(f"{path.name} is no tokenizer file: {error}") from error
        return cls(tokenizer, policy)

    @property
    def vocabulary_size(self) -> int:
        """How many ids the tokenizer may produce."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """Clean, tokenize and window `texts`, in order."""
        return [self._windows(ids) for ids in self.token_ids(texts)]

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Clean and tokenize `texts`: all ids of each, special tokens not included."""
        encodings = self._tokenizer.encode_batch_fast(
            [clean(text) for text in texts], add_special_tokens=False
        )
        return [encoding.ids for encoding in encodings]

    def _windows(self, ids: list[int]) -> EncodedText:
        spans, truncated = self.policy.spans(len(ids))
        return EncodedText(
            windows=tuple((self.start_id, *ids[start:end], self.end_id) for start, end in spans),
            tokens=len(ids),
            unknown=ids.count(self._unknown),
            truncated=truncated,
        )

    def _special(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer has no {token} token")
        return int(found)


def average_windows(logits: Sequence[Sequence[float]]) -> list[float]:
    """Average the logits of one text's windows, shape ``(windows, labels)`` to ``(labels,)``.

    The windows of a text are of equal size, so a plain mean gives each token about the same weight.
    """
    count = len(logits)
    return [sum(column) / count for column in zip(*logits, strict=True)]
