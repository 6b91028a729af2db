import re
from pathlib import Path

import pytest

from app.services.text import clean
from ml.acceptance import (
    SENTENCE_KINDS,
    SLICE_KINDS,
    AcceptanceError,
    AcceptanceText,
    golden_inputs,
    load_sentences,
    load_slices,
    read_inputs,
    read_texts,
)

MARKUP = re.compile(r"<[^>]*>|&#?\w+;")
WINDOW = 510


def pieces(text: str) -> int:
    """Words and punctuation marks: a WordPiece tokenizer makes at least as many tokens."""
    return len(re.findall(r"\w+|[^\w\s]", clean(text)))


def of_kind(texts: tuple[AcceptanceText, ...], kind: str) -> list[str]:
    return [text.text for text in texts if text.kind == kind]


class TestSentences:
    texts = load_sentences()

    def test_are_enough_and_of_every_kind(self):
        assert len(self.texts) >= 140
        for kind in SENTENCE_KINDS:
            assert len(of_kind(self.texts, kind)) >= 10, kind

    @pytest.mark.parametrize("kind", [None, *SENTENCE_KINDS])
    def test_are_balanced(self, kind):
        labels = [text.label for text in self.texts if kind in (None, text.kind)]
        assert 0.45 <= labels.count("positive") / len(labels) <= 0.55

    def test_no_kind_alone_can_pass_for_most_of_them(self):
        assert max(len(of_kind(self.texts, kind)) for kind in SENTENCE_KINDS) < len(self.texts) / 2

    def test_long_ones_are_reviews_and_some_are_read_in_several_windows(self):
        sizes = [pieces(text) for text in of_kind(self.texts, "long")]
        assert len(sizes) >= 10
        assert all(120 <= size <= 2 * WINDOW for size in sizes)
        assert sum(size > WINDOW for size in sizes) >= 2

    def test_only_long_ones_are_long(self):
        assert max(len(text.text.split()) for text in self.texts if text.kind != "long") <= 40

    def test_only_the_html_ones_hold_markup_and_all_of_those_do(self):
        for text in self.texts:
            assert bool(MARKUP.search(text.text)) == (text.kind == "html"), text.id
            assert not MARKUP.search(clean(text.text)), text.id

    def test_are_what_their_kind_says(self):
        assert all(text == text.upper() for text in of_kind(self.texts, "caps"))
        assert all(1 <= len(text.split()) <= 3 for text in of_kind(self.texts, "short"))
        assert all(
            re.search("[\u2600-\u27bf\U0001f300-\U0001faff]", text) for text in of_kind(self.texts, "emoji")
        )


class TestSlices:
    texts = load_slices()

    def test_hold_twenty_or_more_of_each_kind_with_both_verdicts(self):
        for kind in SLICE_KINDS:
            labels = [text.label for text in self.texts if text.kind == kind]
            assert len(labels) >= 20
            assert min(labels.count("positive"), labels.count("negative")) >= 8

    def test_cleaning_takes_no_word_away(self):
        for text in self.texts:
            assert clean(text.text) == text.text, text.id


class TestGoldenInputs:
    texts = golden_inputs()

    def test_are_few_and_short_but_for_one_of_several_windows(self):
        assert 18 <= len(self.texts) <= 24
        assert sum(pieces(text) > WINDOW for text in self.texts) == 1
        assert sum(80 <= len(text.split()) <= 130 for text in self.texts) == 2
        assert sum(5 <= len(text.split()) <= 25 for text in self.texts) > len(self.texts) / 2

    def test_hold_markup_emoji_capitals_and_a_single_word(self):
        assert any(MARKUP.search(text) for text in self.texts)
        assert any(re.search("[\U0001f300-\U0001faff]", text) for text in self.texts)
        assert any(text == text.upper() for text in self.texts)
        assert any(len(text.split()) == 1 for text in self.texts)


def test_no_text_stands_in_two_files_and_none_is_padded():
    texts = [text.text for text in (*load_sentences(), *load_slices())] + list(golden_inputs())
    assert len({clean(text).casefold() for text in texts}) == len(texts)
    for text in texts:
        assert text == text.strip()
        assert "  " not in text


class TestReadTexts:
    def read(
        self, folder: Path, *rows: str, header: str = "id,text,label,kind"
    ) -> tuple[AcceptanceText, ...]:
        path = folder / "texts.csv"
        path.write_text("\n".join([header, *rows]) + "\n", "utf-8")
        return read_texts(path, ("plain", "html"))

    def test_keeps_order_quotes_and_markup(self, tmp_path):
        assert self.read(
            tmp_path, 'plain-2,"Good, ""really"" good",positive,plain', "html-1,Bad<br />,negative,html"
        ) == (
            AcceptanceText("plain-2", 'Good, "really" good', "positive", "plain"),
            AcceptanceText("html-1", "Bad<br />", "negative", "html"),
        )

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("plain-1,good,positive", r"line 2: 3 columns instead of 4"),
            ("plain-1,good, really,positive,plain", r"line 2: 5 columns instead of 4.*comma not quoted"),
            ("Plain 1,good,positive,plain", r"the id 'Plain 1' must look like"),
            ("plain-1,<br /> &nbsp;,positive,plain", "plain-1 has a blank text"),
            ("plain-1,good,Positive,plain", "the label 'Positive'; known: negative, positive"),
            ("plain-1,good,positive,plane", "the kind 'plane'; known: plain, html"),
        ],
    )
    def test_names_the_row_and_what_is_wrong(self, tmp_path, row, message):
        with pytest.raises(AcceptanceError, match=message):
            self.read(tmp_path, row)

    def test_refuses_an_id_or_a_text_that_was_there_before(self, tmp_path):
        with pytest.raises(AcceptanceError, match="line 3: the id plain-1 stands in an earlier"):
            self.read(tmp_path, "plain-1,good,positive,plain", "plain-1,bad,negative,plain")
        with pytest.raises(AcceptanceError, match="line 3: the text of plain-2 stands in an earlier"):
            self.read(tmp_path, "plain-1,good,positive,plain", "plain-2,Good ,negative,plain")

    def test_refuses_other_columns_and_an_empty_file(self, tmp_path):
        with pytest.raises(AcceptanceError, match="the columns must be id,text,label,kind, not text,label"):
            self.read(tmp_path, header="text,label")
        with pytest.raises(AcceptanceError, match="holds no text"):
            self.read(tmp_path)

    def test_refuses_a_file_that_is_missing_or_no_text(self, tmp_path):
        with pytest.raises(AcceptanceError, match=r"cannot read texts\.csv"):
            read_texts(tmp_path / "texts.csv", ("plain",))
        (tmp_path / "texts.csv").write_bytes(b"id,text,label,kind\nplain-1,\xff,positive,plain\n")
        with pytest.raises(AcceptanceError, match=r"cannot read texts\.csv"):
            read_texts(tmp_path / "texts.csv", ("plain",))


class TestReadInputs:
    def test_keeps_the_order(self, tmp_path):
        (tmp_path / "golden.json").write_text('["b", "a"]', "utf-8")
        assert read_inputs(tmp_path / "golden.json") == ("b", "a")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("[", "cannot read"),
            ("{}", "must be a list"),
            ("[]", "must be a list"),
            ('["a", 1]', "entry 1 is no text"),
            ('["<br />"]', "entry 0 is no text, or blank"),
            ('["a", "a"]', "a text twice"),
        ],
    )
    def test_refuses_anything_else(self, tmp_path, content, message):
        (tmp_path / "golden.json").write_text(content, "utf-8")
        with pytest.raises(AcceptanceError, match=message):
            read_inputs(tmp_path / "golden.json")
