"""Data sets: what is read, what is refused and in which words, and that nothing leaks between splits."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pandas
import pytest

from ml import dataset
from ml.dataset import Dataset, DatasetError
from ml.training_data import save
from tests.ml.samples import sentences

REVIEWS = {
    "train/pos/0_9.txt": "A warm and clever film.<br />I loved it.",
    "train/pos/1_10.txt": "The best evening of the year.",
    "train/pos/2_7.txt": "Better than its poster.",
    "train/neg/0_2.txt": "Two hours of nothing.",
    "train/neg/1_4.txt": "The jokes were old in my grandfather's time.",
    "train/unsup/0_0.txt": "Nobody has said what this one is.",
    "train/urls_pos.txt": "http://films/title/tt0000001/usercomments\n" * 2
    + "http://films/title/tt0000002/x\n",
    "train/urls_neg.txt": "http://films/title/tt0000003/x\nhttp://films/title/tt0000001/x\n",
    "test/pos/0_8.txt": "Seen twice, liked it both times.",
    "test/neg/0_1.txt": "I asked for my money back.",
    "test/neg/1_3.txt": "Caf\u00e9 scenes without end.",
    "README": "Not a review.",
}


def write_folder(tmp_path: Path) -> Path:
    for name, text in REVIEWS.items():
        path = tmp_path / "aclImdb" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return tmp_path / "aclImdb"


def write_archive(tmp_path: Path) -> Path:
    path = tmp_path / "aclImdb_v1.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in reversed(REVIEWS.items()):  # Archives are in no order.
            entry = tarfile.TarInfo(f"aclImdb/{name}")
            content = text.encode()
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture(params=[write_folder, write_archive])
def reviews(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The layout of the public review data, as a folder and as the archive that it comes in."""
    return request.param(tmp_path)


class TestReviews:
    def test_texts_labels_ratings_and_films_stand_in_order(self, reviews):
        data = dataset.load(reviews, "train")
        assert data.name == f"{reviews.name}:train"
        assert data.texts == tuple(
            REVIEWS[f"train/{name}.txt"] for name in ("neg/0_2", "neg/1_4", "pos/0_9", "pos/1_10", "pos/2_7")
        )
        assert data.labels.tolist() == [0, 0, 1, 1, 1]
        assert data.ratings == (2, 4, 9, 10, 7)
        assert data.films == ("tt0000003", "tt0000001", "tt0000001", "tt0000001", "tt0000002")

    def test_a_split_without_a_list_of_films_has_none(self, reviews):
        data = dataset.load(reviews, "test")
        assert (len(data), data.films) == (3, ())
        assert "Caf\u00e9 scenes without end." in data.texts

    def test_the_split_must_be_named_where_there_are_two(self, reviews):
        with pytest.raises(DatasetError, match="holds test and train: name the split"):
            dataset.load(reviews)

    def test_both_forms_have_one_digest(self, reviews):
        expected = Dataset(
            "again",
            tuple(REVIEWS[name] for name in ("test/neg/0_1.txt", "test/neg/1_3.txt", "test/pos/0_8.txt")),
            np.array([0, 0, 1]),
        )
        assert dataset.load(reviews, "test").digest() == expected.digest()

    def test_says_what_a_folder_without_reviews_should_hold(self, tmp_path):
        with pytest.raises(DatasetError, match=r"no reviews named train/pos\|neg/ID_RATING.txt"):
            dataset.load(tmp_path, "train")

    @pytest.mark.parametrize("content", [b"no archive", b""])
    def test_says_that_an_archive_is_none(self, tmp_path, content):
        path = tmp_path / "broken.tar.gz"
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=r"broken.tar.gz is no archive, or damaged"):
            dataset.load(path, "train")

    def test_says_that_an_archive_is_cut_off(self, tmp_path):
        path = tmp_path / "cut.tar.gz"
        path.write_bytes(write_archive(tmp_path).read_bytes()[:-200])
        with pytest.raises(DatasetError, match="damaged"):
            dataset.load(path, "train")


@pytest.fixture(params=["csv", "parquet"])
def table(request: pytest.FixtureRequest, tmp_path: Path):
    """Write columns as CSV and as Parquet."""

    def write(**columns: list[object]) -> Path:
        path = tmp_path / f"texts.{request.param}"
        frame = pandas.DataFrame(columns)
        if request.param == "csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path)
        return path

    return write


class TestTables:
    def test_reads_texts_labels_films_and_ratings(self, table):
        data = dataset.load(
            table(text=["a fine film", "so, so"], label=[1, 0], movie=["tt1", "tt2"], rating=[8, 3])
        )
        assert (data.name, data.texts, data.labels.tolist()) == ("texts", ("a fine film", "so, so"), [1, 0])
        assert (data.films, data.ratings) == (("tt1", "tt2"), (8, 3))

    @pytest.mark.parametrize("labels", [["Positive", "negative"], ["pos", "NEG"], [1.0, 0.0], ["1", "0"]])
    def test_knows_several_names_of_the_labels(self, table, labels):
        assert dataset.load(table(text=["good", "bad"], label=labels)).labels.tolist() == [1, 0]

    def test_words_that_mean_nothing_to_a_spreadsheet_are_texts(self, table):
        assert dataset.load(table(text=["NA", "null", "nan"], label=[0, 1, 0])).texts == ("NA", "null", "nan")

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"text": ["a"]}, "texts.{kind}: no column label; found text"),
            ({"review": ["a"], "stars": [1]}, "no column label, text; found review, stars"),
            (
                {"text": ["a", "b"], "label": ["good", "bad"]},
                "unknown labels ['bad', 'good']; known: 0, 1, neg",
            ),
            ({"text": ["a", "b"], "label": [1, 2]}, "unknown labels ['2']"),
            ({"text": ["a"], "label": [1], "rating": [7.5]}, "a rating is no whole number"),
        ],
    )
    def test_says_what_is_wrong(self, table, columns, message):
        path = table(**columns)
        with pytest.raises(DatasetError) as caught:
            dataset.load(path)
        assert message.format(kind=path.suffix[1:]) in str(caught.value)

    def test_says_that_texts_are_missing(self, tmp_path):
        pandas.DataFrame({"text": ["a", None], "label": [1, 0]}).to_parquet(tmp_path / "gaps.parquet")
        with pytest.raises(DatasetError, match=r"gaps\.parquet: 1 rows have no text"):
            dataset.load(tmp_path / "gaps.parquet")

    @pytest.mark.parametrize("name", ["broken.parquet", "broken.csv"])
    def test_says_that_a_file_cannot_be_read(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(DatasetError, match=f"{name} cannot be read") as caught:
            dataset.load(tmp_path / name)
        assert "\n" not in str(caught.value)

    def test_a_saved_data_set_is_read_back_whole(self, tmp_path):
        data = sentences(6)
        save(data, tmp_path / "made.parquet")
        back = dataset.load(tmp_path / "made.parquet")
        assert (back.digest(), back.films) == (data.digest(), data.films)


def test_says_that_there_is_nothing(tmp_path):
    with pytest.raises(DatasetError, match=r"no data at .*absent\.csv"):
        dataset.load(tmp_path / "absent.csv")


def test_says_which_formats_it_reads(tmp_path):
    (tmp_path / "texts.xlsx").touch()
    with pytest.raises(DatasetError, match=r"expected .parquet, .csv, an aclImdb folder or its .tar.gz"):
        dataset.load(tmp_path / "texts.xlsx")


def made(*rows: tuple[str, int]) -> Dataset:
    return Dataset("made", tuple(text for text, _ in rows), np.array([label for _, label in rows]))


class TestDuplicates:
    def test_case_markup_and_punctuation_make_no_difference(self):
        assert dataset.fingerprint("It's<br />GOOD!") == dataset.fingerprint("it s good")
        assert dataset.fingerprint("not good") != dataset.fingerprint("good")

    def test_the_first_stays_and_contradictions_go(self):
        data = made(("A fine film.", 1), ("a fine film", 1), ("so so", 1), ("So so!", 0), ("dull", 0))
        assert dataset.without_duplicates(data).texts == ("A fine film.", "dull")

    def test_texts_of_another_split_go(self):
        data = made(("A fine film.", 1), ("dull", 0))
        left = dataset.without_texts_of(data, [made(("a FINE film", 0)), made(("other", 1))])
        assert left.texts == ("dull",)

    def test_check_counts_them(self):
        report = dataset.check(made(("fine", 1), ("Fine.", 1), ("so", 1), ("so", 0)))
        assert (report.rows, report.positive_share, report.duplicates, report.contradictions) == (
            4,
            0.75,
            2,
            1,
        )
        assert report.problems == ()

    def test_check_names_what_forbids_training(self):
        report = dataset.check(made(("fine", 1), ("<br />", 1)), expected_rows=3)
        assert report.problems == (
            "2 rows, expected 3",
            "only one class is present",
            "1 texts are blank after cleaning",
        )


class TestSplit:
    def test_no_film_is_on_both_sides(self):
        data = sentences(200, films=40)
        training, validation = dataset.split_by_film(data, 0.2, seed=1)
        assert not set(training.films) & set(validation.films)
        assert sorted(training.texts + validation.texts) == sorted(data.texts)
        assert 40 <= len(validation) <= 46

    def test_the_seed_decides(self):
        data = sentences(60)
        one, again, other = (dataset.split_by_film(data, 0.3, seed)[1].digest() for seed in (1, 1, 2))
        assert one == again != other

    def test_without_films_equal_texts_stay_together(self):
        data = made(*[(f"film {index // 2}{'!' * (index % 2)}", index % 2) for index in range(40)])
        training, validation = dataset.split_by_film(data, 0.25, seed=0)
        sides = [{dataset.fingerprint(text) for text in part.texts} for part in (training, validation)]
        assert not sides[0] & sides[1]
        assert len(validation) == 10


class TestDataset:
    def test_take_keeps_what_belongs_together(self):
        data = Dataset("made", ("a", "b", "c"), np.array([0, 1, 1]), ("x", "y", "z"), (1, 8, 9)).take([2, 0])
        assert (data.texts, data.labels.tolist(), data.films, data.ratings) == (
            ("c", "a"),
            [1, 0],
            ("z", "x"),
            (9, 1),
        )

    def test_a_sample_is_fixed_by_its_seed_and_keeps_the_order(self):
        data = sentences(50)
        sample = data.sample(10, 3)
        assert sample.texts == data.sample(10, 3).texts != data.sample(10, 4).texts
        assert [data.texts.index(text) for text in sample.texts] == sorted(
            data.texts.index(text) for text in sample.texts
        )
        assert data.sample(51, 3) is data

    def test_the_digest_tells_texts_labels_and_order_apart(self):
        one = made(("ab", 1), ("c", 0))
        others = [
            made(("a", 1), ("bc", 0)),
            made(("ab", 0), ("c", 0)),
            made(("c", 0), ("ab", 1)),
            made(("ab", 1)),
        ]
        assert one.digest() == made(("ab", 1), ("c", 0)).digest()
        assert len({data.digest() for data in (one, *others)}) == 5
        assert one.digest().startswith("sha256:")

    def test_joining_keeps_films_only_where_all_parts_know_them(self):
        known, unknown = sentences(4), made(("x", 1))
        assert dataset.join("both", [known, known]).films == known.films * 2
        joined = dataset.join("both", [known, unknown])
        assert (joined.name, len(joined), joined.films, joined.labels[-1]) == ("both", 5, (), 1)
