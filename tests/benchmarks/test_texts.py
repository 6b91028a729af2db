"""Drawn texts have the lengths of the mix, in the model's own tokens."""

from pathlib import Path
from statistics import mean, median

import pytest

from app.core.config import EMBEDDED_MODEL_DIR
from app.services.text import TextEncoder, WindowPolicy
from benchmarks import texts


@pytest.mark.parametrize(("mix", "middle", "average"), [("imdb", 220, 296), ("short", 8, 10)])
def test_lengths_follow_the_quantiles(mix, middle, average):
    found = texts.lengths(mix, 2000)
    assert median(found) == pytest.approx(middle, rel=0.05)
    assert mean(found) == pytest.approx(average, rel=0.12)
    assert min(found) >= texts.QUANTILES[mix][0][1]
    assert max(found) <= texts.QUANTILES[mix][-1][1]


def test_few_texts_are_spread_over_the_whole_mix():
    assert sum(length > 319 for length in texts.lengths("imdb", 20)) == 6


def test_a_drawn_text_has_as_many_tokens_as_was_asked():
    encoder = TextEncoder.from_file(EMBEDDED_MODEL_DIR / "tokenizer.json", WindowPolicy())
    sizes = [1, 32, 300]
    assert [len(ids) for ids in encoder.token_ids(texts.draw(sizes))] == sizes


def test_the_same_seed_draws_the_same_texts():
    assert texts.texts("short", 20) == texts.texts("short", 20)
    assert texts.texts("short", 20, seed=2) != texts.texts("short", 20)


def test_texts_of_ones_own_are_taken_from_a_file(tmp_path: Path):
    data = tmp_path / "mine.csv"
    long = "word " * 60
    data.write_text(f"text,label\nI liked it,1\nI did not,0\n{long},1\n", "utf-8")
    assert set(texts.texts("short", 30, data)) == {"I liked it", "I did not"}
    assert len(texts.texts("imdb", 5, data)) == 5
