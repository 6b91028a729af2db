from pathlib import Path

import numpy as np
import pytest

from ml import explore
from ml.dataset import Dataset, DatasetError


def make(rows: list[tuple[str, int]], films: tuple[str, ...] = ()) -> Dataset:
    return Dataset("made", tuple(text for text, _ in rows), np.array([label for _, label in rows]), films)


def write_csv(path: Path, rows: list[tuple[str, int]]) -> None:
    path.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows), "utf-8")


class TestReadSplits:
    def test_takes_both_tables_of_a_folder_whichever_is_named(self, tmp_path):
        write_csv(tmp_path / "imdb_train.csv", [("a fine film", 1), ("a dull film", 0)])
        write_csv(tmp_path / "imdb_test.csv", [("so so", 0)])
        for path in (tmp_path, tmp_path / "imdb_train.csv", tmp_path / "imdb_test.csv"):
            train, test = explore.read_splits(path)
            assert (len(train), len(test)) == (2, 1)

    def test_reads_the_folders_of_the_public_data_set(self, tmp_path):
        for split in ("train", "test"):
            for kind, rating in (("pos", 9), ("neg", 2)):
                folder = tmp_path / "aclImdb" / split / kind
                folder.mkdir(parents=True)
                (folder / f"0_{rating}.txt").write_text(f"{split} {kind}", "utf-8")
        train, test = explore.read_splits(tmp_path / "aclImdb")
        assert train.texts == ("train neg", "train pos")
        assert test.ratings == (2, 9)

    def test_says_which_file_is_missing(self, tmp_path):
        write_csv(tmp_path / "imdb_train.csv", [("a fine film", 1)])
        with pytest.raises(DatasetError, match="imdb_train and imdb_test beside each other"):
            explore.read_splits(tmp_path / "imdb_train.csv")


class TestLocate:
    def test_takes_what_is_named_below_the_root(self, tmp_path):
        (tmp_path / "reviews").mkdir()
        assert explore.locate("reviews", tmp_path) == tmp_path / "reviews"

    def test_finds_the_archive_where_nothing_is_named(self, tmp_path):
        archive = tmp_path / "data" / "aclImdb_v1.tar.gz"
        archive.parent.mkdir()
        archive.touch()
        assert explore.locate(None, tmp_path) == archive

    def test_says_where_to_get_the_data(self, tmp_path):
        with pytest.raises(
            DatasetError, match=r"no data at elsewhere: get https://ai\.stanford\.edu/.*MARQUEE_DATA"
        ):
            explore.locate("elsewhere", tmp_path)


def test_words_are_those_of_the_cleaned_text():
    assert explore.words("It's  GREAT!<br /><br />Isn&#39;t it?") == ["it's", "great", "isn't", "it"]


def test_a_cut_leaves_room_for_the_special_tokens():
    short, longer = explore.cut_at(np.array([6, 7, 20]), [8, 22])
    assert (short.whole, short.tokens) == (pytest.approx(1 / 3), pytest.approx(18 / 33))
    assert (longer.whole, longer.tokens) == (1.0, 1.0)


def test_vocabulary_is_ordered_and_covers_everything_in_the_end():
    vocabulary = explore.Vocabulary.of([["the", "film", "the"], ["the", "end"]])
    assert vocabulary.words == ("the", "end", "film")
    assert vocabulary.total == 5
    assert vocabulary.coverage().tolist() == pytest.approx([0.6, 0.8, 1.0])


def test_tags_and_entities_count_once_a_text():
    texts = ["a<br />b<BR>c", "<i>d</i> &amp; e &amp; f", "3 < 4 and 5 > 2"]
    assert explore.tags(texts) == {"br": 1, "i": 1}
    assert explore.entities(texts) == {"&amp;": 1}


class TestFilmTells:
    def test_is_sure_where_films_are_of_one_opinion(self):
        data = make([("x", 1)] * 3 + [("y", 0)] * 3, ("a",) * 3 + ("b",) * 3)
        assert explore.film_tells(data) == 1.0

    def test_knows_nothing_of_a_film_with_one_review(self):
        assert explore.film_tells(make([("x", 1), ("y", 0)], ("a", "b"))) == 0.5

    def test_never_counts_the_review_itself(self):
        assert explore.film_tells(make([("x", 1), ("y", 0)], ("a", "a"))) == 0.0

    def test_needs_films(self):
        with pytest.raises(DatasetError, match="films are not known"):
            explore.film_tells(make([("x", 1)]))


class TestScoreTerms:
    ROWS = (("a good film, good", 1), ("a good one", 1), ("not good at all", 0), ("a bad film", 0))

    def test_signs_follow_the_class_and_one_text_has_one_voice(self):
        scores = explore.score_terms(make(list(self.ROWS)), min_texts=1)
        assert scores.texts[scores.rows["good"]] == 3
        assert scores.log_odds[scores.rows["good"]] > 0 > scores.log_odds[scores.rows["not good"]]
        negative, positive = scores.strongest(20, 1)
        assert {"bad", "not"} <= set(negative)
        assert "good" in positive
        assert not {"bad", "not"} & set(positive)

    def test_frequent_terms_rank_above_rare_ones_of_the_same_odds(self):
        rows = [("fine", 1)] * 20 + [("rare fine", 1)] + [("dull", 0)] * 21
        scores = explore.score_terms(make(rows), min_texts=1)
        assert scores.z[scores.rows["fine"]] > scores.z[scores.rows["rare"]] > 0

    def test_phrases_stand_apart_from_words(self):
        scores = explore.score_terms(make(list(self.ROWS)), min_texts=1)
        assert all(term.count(" ") == 1 for side in scores.strongest(20, 2) for term in side)

    def test_what_only_one_film_is_called_goes(self):
        data = make(
            [("zorro good", 1), ("zorro good", 1), ("good", 1), ("bad", 0), ("bad", 0)],
            ("a", "a", "b", "c", "d"),
        )
        scores = explore.score_terms(data, min_texts=1, min_films=2)
        assert set(scores.terms) == {"good", "bad"}

    def test_says_when_nothing_is_frequent_enough(self):
        with pytest.raises(DatasetError, match="no word stands in 50 texts"):
            explore.score_terms(make(list(self.ROWS)), min_texts=50)


class TestVerdictByPosition:
    def test_finds_the_part_that_holds_the_verdict(self):
        scores = explore.score_terms(make([("good", 1)] * 5 + [("bad", 0)] * 5), min_texts=1)
        data = make([("plot " * 9 + "good", 1), ("plot " * 9 + "bad", 0)])
        assert explore.verdict_by_position(data, scores, 2, min_words=4).tolist() == [0.5, 1.0]

    def test_leaves_out_what_is_too_short(self):
        scores = explore.score_terms(make([("good", 1), ("bad", 0)]), min_texts=1)
        assert np.isnan(explore.verdict_by_position(make([("good", 1)]), scores, 2)).all()
