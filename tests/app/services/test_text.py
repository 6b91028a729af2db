"""Cleaning, tokenizing and windows: the code that training and serving share."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from app.services.text import TextEncoder, WindowPolicy, average_windows, clean

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "fine", "film", "not", "dull", "!", ",", "."]
PAD, UNKNOWN, START, END = 0, 1, 2, 3


def word_pieces() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def encoder(policy: WindowPolicy | None = None) -> TextEncoder:
    return TextEncoder(word_pieces(), policy or WindowPolicy())


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("A film.<br /><br />Not dull.", "A film. Not dull."),
        ("Tom &amp; Jerry&#39;s <i>best</i>", "Tom & Jerry's best"),
        ("I <3 it, 5 < 6 > 4", "I <3 it, 5 < 6 > 4"),
        ("<sarcasm> great </sarcasm>", "<sarcasm> great </sarcasm>"),
        ("half an emoji \ud83d here", "half an emoji \ufffd here"),
        ("zero\u200bwidth and soft\u00adhyphen \ufeff", "zerowidth and softhyphen"),
        ("e\u0301tude", "\u00e9tude"),
        ("  lines\r\nand\ttabs\x0b ", "lines and tabs"),
        ("bell\x07 and escape\x1b[0m", "bell and escape[0m"),
        ("not never no n't", "not never no n't"),
        ("\u200b \u2060\n", ""),
        ("<br />", ""),
        ("\U0001f600", "\U0001f600"),
    ],
)
def test_cleaning(raw, cleaned):
    assert clean(raw) == cleaned


@given(st.text(max_size=300))
def test_a_cleaned_text_is_encodable_and_stays_as_it_is(text):
    once = clean(text)
    once.encode("utf-8")
    assert once == once.strip()
    if "&" not in once and "<" not in once:  # An escaped tag is unescaped to a tag only by a second pass.
        assert clean(once) == once


@pytest.mark.parametrize("length", [0, 1, 509, 510, 511, 512, 513, 956, 957, 3000, 3632])
def test_windows_cover_every_token_with_shared_ones_between_neighbours(length):
    policy = WindowPolicy()
    spans, truncated = policy.spans(length)
    assert not truncated
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert len({end - start for start, end in spans}) == 1, "equal sizes need no padding"
    assert all(end - start <= 510 for start, end in spans)
    for (_, end), (start, _) in pairwise(spans):
        assert end - start >= policy.overlap - 1


def test_a_text_past_the_last_window_keeps_head_and_tail_and_says_so():
    spans, truncated = WindowPolicy(max_windows=4).spans(10_000)
    assert truncated
    assert spans == [(0, 510), (446, 956), (9_044, 9_554), (9_490, 10_000)]


def test_a_text_counts_as_truncated_from_the_first_token_that_is_left_out():
    for length, left_out in ((3_633, False), (3_696, False), (3_697, True)):
        spans, truncated = WindowPolicy().spans(length)
        assert (len(spans), truncated) == (8, left_out)
    assert WindowPolicy(max_windows=1).spans(510) == ([(0, 510)], False)
    assert WindowPolicy(max_windows=1).spans(511) == ([(1, 511)], True)


@pytest.mark.parametrize("length", [3200, 3300, 3500, 3631])
def test_no_part_of_a_text_that_just_fits_is_read_twice_as_often(length):
    spans, truncated = WindowPolicy().spans(length)
    assert not truncated
    assert len(spans) == 8
    shared = [end - start for (_, end), (start, _) in pairwise(spans)]
    assert max(shared) - min(shared) <= 1


@pytest.mark.parametrize(("max_windows", "at_the_end"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_past_the_last_window_the_end_gets_half_of_them_or_one_more(max_windows, at_the_end):
    spans, _ = WindowPolicy(max_windows=max_windows).spans(10_000)
    assert sum(start > 5_000 for start, _ in spans) == at_the_end


@given(st.integers(0, 20_000), st.integers(8, 512), st.integers(0, 100), st.integers(1, 10))
def test_windows_of_any_policy_stay_inside_the_text(length, max_tokens, overlap, max_windows):
    overlap = min(overlap, (max_tokens - 2) // 2)
    spans, truncated = WindowPolicy(max_tokens, overlap, max_windows).spans(length)
    assert len(spans) <= max_windows
    assert all(0 <= start <= end <= length and end - start <= max_tokens - 2 for start, end in spans)
    covered = {token for start, end in spans for token in range(start, end)}
    assert truncated == (len(covered) < length)


@pytest.mark.parametrize("numbers", [(7, 0, 1), (512, 256, 1), (512, -1, 1), (512, 64, 0)])
def test_a_policy_that_cannot_move_forward_is_refused(numbers):
    with pytest.raises(ValueError, match="max_tokens must be at least 8"):
        WindowPolicy(*numbers)


def test_a_policy_is_read_from_what_a_training_run_wrote():
    assert WindowPolicy.from_dict({"max_tokens": 128, "overlap": 16}) == WindowPolicy(128, 16, 8)
    with pytest.raises(ValueError, match="'stride'; known: max_tokens, overlap, max_windows"):
        WindowPolicy.from_dict({"stride": 16})
    for value in ("128", 128.0, True, None):
        with pytest.raises(ValueError, match="'max_tokens' must be a whole number, not"):
            WindowPolicy.from_dict({"max_tokens": value})


def test_a_text_is_read_with_its_counts():
    (text,) = encoder().encode(["A FINE film, not dull! zebra"])
    assert text.windows == ((START, 4, 5, 6, 10, 7, 8, 9, UNKNOWN, END),)
    assert (text.tokens, text.unknown, text.truncated) == (8, 1, False)


def test_the_special_tokens_of_a_tokenizer_of_its_own_are_not_added_twice():
    adding = word_pieces()
    adding.post_processor = processors.BertProcessing(("[SEP]", END), ("[CLS]", START))
    assert TextEncoder(adding, WindowPolicy()).encode(["a fine film"]) == encoder().encode(["a fine film"])


def test_a_long_text_is_read_in_windows():
    (text,) = encoder(WindowPolicy(max_tokens=10, overlap=2)).encode(["fine film " * 10])
    assert text.tokens == 20
    assert len(text.windows) == 3
    assert all(window[0] == START and window[-1] == END and len(window) == 10 for window in text.windows)


def test_many_threads_get_what_one_gets():
    shared = encoder(WindowPolicy(max_tokens=16, overlap=4))
    texts = ["a fine film " * count for count in range(1, 60)]
    expected = [shared.encode([text])[0] for text in texts]
    barrier = threading.Barrier(8)

    def work(_: int) -> list:
        barrier.wait()
        return [shared.encode([text])[0] for text in texts]

    with ThreadPoolExecutor(8) as pool:
        assert all(result == expected for result in pool.map(work, range(8)))


def test_a_tokenizer_without_special_tokens_is_refused():
    with pytest.raises(ValueError, match=r"no \[CLS\] token"):
        TextEncoder(Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")), WindowPolicy())


def test_a_tokenizer_file_is_read_with_its_policy(tmp_path):
    word_pieces().save(str(tmp_path / "tokenizer.json"))
    read = TextEncoder.from_file(tmp_path / "tokenizer.json", WindowPolicy(max_tokens=10, overlap=2))
    texts = ["fine film " * 10, "not dull!"]
    assert read.encode(texts) == encoder(WindowPolicy(max_tokens=10, overlap=2)).encode(texts)


def test_a_missing_or_broken_tokenizer_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no tokenizer at tokenizer\.json"):
        TextEncoder.from_file(tmp_path / "tokenizer.json", WindowPolicy())
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer file"):
        TextEncoder.from_file(tmp_path / "tokenizer.json", WindowPolicy())


def test_window_logits_are_averaged():
    assert average_windows([[1.0, 3.0], [3.0, -1.0]]) == [2.0, 1.0]
