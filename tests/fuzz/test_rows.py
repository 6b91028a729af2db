"""Whatever a row of the inference log holds: it becomes flat JSON, as short as asked, addresses and cards masked."""

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.core.config import Settings
from app.services.inference_rows import encode_row
from app.services.privacy import TextPrivacy, mask

ANYTHING = st.text(st.characters(), max_size=60)
WORDS = st.text(st.sampled_from("abc XYZ,.!\n\u00e9\ud83d0123456789-+@"), max_size=40)
NAMES = st.text(st.sampled_from("abcdefgh"), min_size=1, max_size=8)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), ANYTHING, st.binary(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)


@given(st.dictionaries(ANYTHING, VALUES, max_size=8))
def test_any_row_becomes_flat_json(row: dict[str, Any]) -> None:
    content, changed = encode_row(row)
    columns = json.loads(content, parse_constant=lambda name: 1 / 0)
    assert changed >= 0
    for name, value in columns.items():
        assert name
        assert not name.startswith("_")
        assert isinstance(value, (str, int, float, bool))
        assert not isinstance(value, float) or math.isfinite(value)


@given(st.sampled_from(["masked", "hash", "none", "full"]), ANYTHING, st.integers(0, 40))
def test_what_is_kept_of_a_text_is_no_longer_than_allowed_and_can_be_written(
    mode: Any, text: str, limit: int
) -> None:
    settings = Settings(_env_file=None, log_text=mode, log_text_characters=limit)
    kept = TextPrivacy(settings).protect(text)
    kept.encode("utf-8")
    assert len(kept) <= (len("hmac-sha256:") + 64 if mode == "hash" else limit)
    assert mode != "none" or kept == ""


@given(NAMES, NAMES, st.sampled_from(["com", "org", "co.uk"]), WORDS, WORDS, st.integers(0, 120))
def test_no_address_is_left_wherever_the_text_is_cut(
    user: str, host: str, end: str, before: str, after: str, limit: int
) -> None:
    address = f"{user}@{host}.{end}"
    kept = mask(f"{before} {address} {after}", limit)
    assert address not in kept


@given(
    st.integers(3, 6), st.lists(st.integers(0, 9), min_size=14, max_size=17), st.sampled_from(["", " ", "-"])
)
def test_no_card_number_is_left(first: int, rest: list[int], separator: str) -> None:
    digits = [first, *rest][: 15 if separator else 18]
    total = sum(
        digit if place % 2 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(reversed(digits))
    )
    number = "".join(map(str, [*digits, -total % 10]))
    written = separator.join(number[start : start + 4] for start in range(0, len(number), 4))
    assert written not in mask(f"paid with {written} yesterday")
