"""Familiar pairs: known from text to text, blind to length, and small enough for a manifest."""

import random

import pytest

from app.services.familiarity import PairFilter, filter_of


def window(ids):
    return (101, *ids, 102)


def test_the_share_is_that_of_the_most_frequent_pairs():
    pairs = PairFilter.build([[1, 2, 3], [1, 2, 4], [1, 2, 3]], pairs=2)  # (1, 2) and (2, 3), not (2, 4)
    assert pairs.share([window([1, 2, 3])]) == 1
    assert pairs.share([window([1, 2, 4])]) == 0.5
    assert pairs.share([window([3, 2, 1])]) == 0


def test_windows_count_together_and_special_tokens_do_not():
    pairs = PairFilter.build([[7, 8]])
    assert pairs.share([window([7, 8]), window([8, 7, 9])]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("windows", [[], [window([])], [window([5])]])
def test_a_text_without_two_tokens_has_no_share(windows):
    assert PairFilter.build([[1, 2]]).share(windows) is None


def test_shuffled_words_are_less_familiar_though_length_and_words_are_the_same():
    generator = random.Random(0)
    phrases = [[generator.randrange(30_000) for _ in range(6)] for _ in range(200)]
    texts = [[word for _ in range(30) for word in generator.choice(phrases)] for _ in range(50)]
    pairs = PairFilter.build(texts)
    mixed = texts[0][:]
    generator.shuffle(mixed)
    assert pairs.share([window(texts[0])]) > 0.8
    assert pairs.share([window(mixed)]) < 0.2


def test_it_travels_as_a_few_kilobytes_of_text():
    generator = random.Random(0)
    texts = [[generator.randrange(30_000) for _ in range(400)] for _ in range(30)]
    pairs = PairFilter.build(texts)
    text = pairs.encode()
    assert len(text) < 8_000
    again = PairFilter.decode(text)
    assert [again.share([window(ids)]) for ids in texts] == [pairs.share([window(ids)]) for ids in texts]


@pytest.mark.parametrize("text", ["", "?", "AAAA", "é", PairFilter(bytes(1 << 16)).encode()[:-8]])
def test_what_is_no_filter_is_refused(text):
    with pytest.raises(ValueError, match="filter"):
        PairFilter.decode(text)


def test_a_reference_may_have_none():
    assert filter_of({}) is None
    assert filter_of({"familiar_pairs": {"edges": []}}) is None
    assert filter_of({"familiar_pairs": {"filter": PairFilter.build([[1, 2]]).encode()}}) is not None
