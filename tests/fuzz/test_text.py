"""Whatever the text: it is cleaned once and for all, every token is in a window, and no window is too long."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.text import TextEncoder, WindowPolicy, average_windows, clean
from tests import models

MARKUP = st.sampled_from(
    ["<br />", "<b>", "</p>", "&amp;", "&#39;", "&lt;i&gt;", "&amp;amp;", "\ud83d", "\u200b", "\x00", "\r\n"]
)
TEXTS = st.lists(
    st.one_of(st.text(max_size=20), MARKUP, st.sampled_from(["good", "bad", "film"])), max_size=30
).map("".join)


@given(TEXTS)
def test_what_is_cleaned_can_be_written_and_shown(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert cleaned == cleaned.strip()
    assert unicodedata.is_normalized("NFC", cleaned) or "\u200d" not in text
    assert not any(unicodedata.category(character) in {"Cc", "Cs"} for character in cleaned)
    assert "  " not in cleaned


@given(
    st.text(
        st.characters(
            codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Zs", "Zl", "Zp"], exclude_characters="&<"
        )
    )
)
def test_words_are_left_as_they_are(text: str) -> None:
    assert clean(text) == " ".join(unicodedata.normalize("NFC", text).split())


@st.composite
def policies(draw: Any) -> WindowPolicy:
    size = draw(st.integers(8, 600))
    return WindowPolicy(size, draw(st.integers(0, (size - 2) // 2)), draw(st.integers(1, 12)))


@given(policies(), st.integers(0, 3_000))
def test_windows_cover_the_text_from_its_beginning_to_its_end(policy: WindowPolicy, length: int) -> None:
    spans, truncated = policy.spans(length)
    assert 1 <= len(spans) <= policy.max_windows
    assert all(0 <= start <= end <= length and end - start <= policy.max_tokens - 2 for start, end in spans)
    assert spans == sorted(spans)
    assert spans[-1][1] == length
    covered = {token for start, end in spans for token in range(start, end)}
    assert truncated is (len(covered) < length)
    if not truncated:
        assert spans[0][0] == 0
        assert len({end - start for start, end in spans}) == 1, "equal windows weigh the same"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    folder = models.tiny_onnx(tmp_path_factory.mktemp("model"))
    return TextEncoder.from_file(folder / "tokenizer.json", WindowPolicy(16, 4, 3))


@settings(deadline=None)
@given(st.lists(TEXTS, max_size=4))
def test_any_texts_become_windows_of_known_tokens_each_alone(encoder: TextEncoder, texts: list[str]) -> None:
    together = encoder.encode(texts)
    assert [encoder.encode([text])[0] for text in texts] == together
    for encoded in together:
        assert all(2 <= len(window) <= 16 for window in encoded.windows)
        assert all(0 <= token < encoder.vocabulary_size for window in encoded.windows for token in window)
        assert 0 <= encoded.unknown <= encoded.tokens


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2), min_size=1, max_size=8))
def test_an_average_lies_between_its_windows(logits: list[list[float]]) -> None:
    for column, mean in zip(zip(*logits, strict=True), average_windows(logits), strict=True):
        assert min(column) - 1e-6 <= mean <= max(column) + 1e-6
