"""What the inference log keeps of a text: masked, hashed, nothing or all of it, and never more than its limit.

Masking goes by patterns, not by understanding: e-mail addresses, phone numbers and payment card numbers go; names,
postal addresses and whatever else tells who somebody is stay. A library that knows every country's numbering plan
finds more phone numbers, but takes milliseconds a text; these patterns take microseconds, and no text can make them
take more than a time proportional to its length.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator

from app.core.config import Settings

_EMAIL = re.compile(r"(?<![\w.+%'-])[\w.+%'-]++@[\w-]++(?:\.[\w-]++)++")

_SEVEN_DIGITS = re.compile(r"\d(?:\D{0,3}\d){6}")
_GAP = r"[ \u00a0\u202f.\u2010-\u2013-]"
_SEPARATOR = r"[ \u00a0\u202f./()\u2010-\u2013-]"

_DIGIT_RUN = re.compile(rf"(?<![\w.,])\d(?:{_GAP}{{0,2}}\d){{12,}}+(?!\w)")
_DIGITS = re.compile(r"\d+")
_CARD_START = re.compile("2[2-7]|[3-6]")
_CARD_LENGTHS = range(13, 20)
_CARD_GROUP = 3

_PHONE = re.compile(
    rf"""(?:
        # International: +49 30 1234567, +1 (555) 123-4567.
        (?<!\w) \+ \d (?:{_SEPARATOR}{{0,3}}\d){{6,14}}
        # An area code in brackets: (555) 123-4567, (030) 1234567.
      | \( [2-9]\d{{2}} \) {_GAP}? \d{{3}} {_GAP}? \d{{4}}
      | \( 0[1-9]\d{{0,4}} \) (?:{_SEPARATOR}{{0,2}}\d){{5,8}}
      | (?<![\w.,$€£¥\#/@]) (?:
            # 0044 20 7946 0958; not agent 007 with a year after him.
            00 (?!7\b) [1-9] (?:{_SEPARATOR}{{0,3}}\d){{7,13}}
            # With a trunk zero: 020 7946 0958, 06 12 34 56 78, 0171/1234567; not 01.02.2003.
          | (?! \d{{1,2}}[./-]\d{{1,2}}[./-]\d{{2,4}} (?!\d|[./-]\d) ) 0[1-9] (?:{_SEPARATOR}{{0,2}}\d){{7,10}}
            # North America: 1-555-123-4567, 555.123.4567, 555-0123; not 300-1000.
          | (?:1{_GAP})? \(? [2-9]\d{{2}} \)? {_GAP} \d{{3}} {_GAP} \d{{4}}
          | [2-9]\d{{2}} - (?!\d{{2}}00) \d{{4}}
            # In groups without a zero, as in India and China: 98765 43210, 138 1234 5678.
          | [6-9]\d{{4}} {_GAP} \d{{5}}
          | 1[3-9]\d {_GAP} \d{{4}} {_GAP} \d{{4}}
            # In one go.
          | [1-9]\d{{9,11}}
        )
    )(?![\w%]|[.,:/-]\d)""",
    re.VERBOSE,
)

_SURROGATE = re.compile("[\ud800-\udfff]")

_MARGIN = 400
"""Characters past the limit that are looked at too, so that an address or number across it is seen whole."""


class TextPrivacy:
    """Applies LOG_TEXT and LOG_TEXT_CHARACTERS, before a text is written anywhere."""

    def __init__(self, settings: Settings) -> None:
        """Read the settings; without LOG_HASH_KEY a key is drawn, and hashes of two instances can't be compared."""
        self._mode = settings.log_text
        self._limit = settings.log_text_characters
        key = settings.log_hash_key
        self._key = key.get_secret_value().encode() if key else secrets.token_bytes(32)

    def protect(self, text: str) -> str:
        """Return what may be stored of a text: masked and cut, cut, its hash (``hmac-sha256:…``), or nothing."""
        if self._mode == "none":
            return ""
        if self._mode == "hash":
            return f"hmac-sha256:{hmac.new(self._key, _encode(text), hashlib.sha256).hexdigest()}"
        text = _SURROGATE.sub("\ufffd", text[: self._limit + _MARGIN])
        return mask(text, self._limit) if self._mode == "masked" else text[: self._limit]


def mask(text: str, limit: int | None = None) -> str:
    """Return the text with ``[email]``, ``[phone]`` and ``[card]`` in the places of what they name.

    Args:
        text: any text.
        limit: longest result; what is found across it is masked too.
    """
    parts, position = [], 0
    end = len(text) if limit is None else min(limit, len(text))
    for start, stop, name in _found(text):
        if start >= end:
            break
        if start >= position:
            parts += [text[position:start], f"[{name}]"]
        position = max(position, stop)
    parts.append(text[position : max(position, end)])
    return "".join(parts)[:limit]


def _found(text: str) -> list[tuple[int, int, str]]:
    """Return start, end and name of what is to be masked, by start; they may overlap."""
    found = []
    if "@" in text:
        found += [(*match.span(), "email") for match in _EMAIL.finditer(text)]
    if _SEVEN_DIGITS.search(text):
        cards = list(_cards(text))
        found += cards
        found += [
            (*match.span(), "phone")
            for match in _PHONE.finditer(text)
            if not any(start < match.end() and match.start() < stop for start, stop, _ in cards)
        ]
    return sorted(found)


def _cards(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield the places of payment card numbers: 13 to 19 digits, in one go or in groups, that pass Luhn's check."""
    for run in _DIGIT_RUN.finditer(text):
        groups = [(match.start(), match.end()) for match in _DIGITS.finditer(text, *run.span())]
        first = 0
        while first < len(groups):
            last = _card_end(text, groups, first)
            if last is None:
                first += 1
            else:
                yield groups[first][0], groups[last][1], "card"
                first = last + 1


def _card_end(text: str, groups: list[tuple[int, int]], first: int) -> int | None:
    """Return the index of the group with which a card number that begins with group `first` ends."""
    if not _CARD_START.match(text, groups[first][0]):
        return None
    digits = ""
    for index in range(first, len(groups)):
        start, stop = groups[index]
        digits += text[start:stop]
        if stop - start < _CARD_GROUP or len(digits) >= _CARD_LENGTHS.stop:
            return None
        if len(digits) in _CARD_LENGTHS and passes_luhn(digits):
            return index
    return None


def passes_luhn(digits: str) -> bool:
    """Whether the check digit at the end of a card number is right (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _encode(text: str) -> bytes:
    return _SURROGATE.sub("\ufffd", text).encode()
