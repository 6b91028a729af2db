"""Labelled texts from the places they come in: aclImdb folders, the public archive, Parquet, CSV."""

import hashlib
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np

from app.services.text import clean

LABELS = ("negative", "positive")
_LABEL_NAMES = {"0": 0, "1": 1, "neg": 0, "pos": 1, "negative": 0, "positive": 1, "0.0": 0, "1.0": 1}
_REVIEW_FILE = re.compile(r"(?:^|/)(train|test)/(pos|neg)/(\d+)_(\d+)\.txt$")
_URL_LIST = re.compile(r"(?:^|/)(train|test)/urls_(pos|neg)\.txt$")
_FILM = re.compile(r"tt\d+")


class DatasetError(ValueError):
    """The data are not what training or evaluation needs; the message says what to mend."""


@dataclass(frozen=True)
class Dataset:
    """Labelled texts, one row a text.

    Attributes:
        name: where they came from, for reports.
        texts: raw texts, length ``n``.
        labels: 0 negative, 1 positive; int array of shape ``(n,)``.
        films: an identifier of what each text is about, or an empty tuple where that is not known.
        ratings: the author's own rating, 1 to 10, or an empty tuple.
    """

    name: str
    texts: tuple[str, ...]
    labels: np.ndarray
    films: tuple[str, ...] = ()
    ratings: tuple[int, ...] = field(default=())

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.texts)

    def take(self, rows: Iterable[int]) -> Self:
        """Return the rows at these positions, in this order."""
        rows = [int(row) for row in rows]
        return replace(
            self,
            texts=tuple(self.texts[row] for row in rows),
            labels=self.labels[rows],
            films=tuple(self.films[row] for row in rows) if self.films else (),
            ratings=tuple(self.ratings[row] for row in rows) if self.ratings else (),
        )

    def sample(self, count: int, seed: int) -> Self:
        """Return `count` rows drawn without replacement, or all of them where there are fewer."""
        if count >= len(self):
            return self
        return self.take(np.sort(np.random.default_rng(seed).permutation(len(self))[:count]))

    def digest(self) -> str:
        """Return ``sha256:…`` of the labelled texts in order: two reports compare only on equal digests."""
        state = hashlib.sha256()
        for text, label in zip(self.texts, self.labels.tolist(), strict=True):
            state.update(f"{label}\t{len(text)}\t".encode())
            state.update(text.encode("utf-8", "surrogatepass"))
        return f"sha256:{state.hexdigest()}"


def fingerprint(text: str) -> str:
    """Return a key that is equal for texts that differ only in case, punctuation and white space."""
    return hashlib.sha1(
        re.sub(r"\W+", " ", clean(text).lower()).strip().encode(), usedforsecurity=False
    ).hexdigest()


def load(path: Path, split: str | None = None) -> Dataset:
    """Read labelled texts.

    Args:
        path: a ``.parquet`` or ``.csv`` file with columns ``text`` and ``label`` (optionally ``movie`` and
            ``rating``), an ``aclImdb`` folder, or ``aclImdb_v1.tar.gz`` itself.
        split: ``train`` or ``test``: required for the archive and the folder that hold both.

    Raises:
        DatasetError: nothing there, unknown format, a column is missing, an unknown label.
    """
    if not path.exists():
        raise DatasetError(f"no data at {path}")
    if path.is_dir():
        return _from_reviews(path.name, split, _walk_folder(path))
    if path.name.endswith((".tar.gz", ".tgz", ".tar")):
        return _from_reviews(path.name, split, _walk_archive(path))
    if path.suffix in {".parquet", ".csv"}:
        return _from_table(path)
    raise DatasetError(f"{path.name}: expected .parquet, .csv, an aclImdb folder or its .tar.gz")


def _from_table(path: Path) -> Dataset:
    import pandas

    try:
        # "NA" and "null" are words that a review may consist of.
        table = (
            pandas.read_parquet(path)
            if path.suffix == ".parquet"
            else pandas.read_csv(path, keep_default_na=False)
        )
    except (ValueError, OSError) as error:
        raise DatasetError(f"{path.name} cannot be read: {str(error).splitlines()[0]}") from error
    missing = {"text", "label"} - set(table.columns)
    if missing:
        raise DatasetError(
            f"{path.name}: no column {', '.join(sorted(missing))}; found {', '.join(table.columns)}"
        )
    empty = int(table["text"].isna().sum())
    if empty:
        raise DatasetError(f"{path.name}: {empty} rows have no text")
    unknown = sorted({str(label).lower() for label in table["label"].unique()} - set(_LABEL_NAMES))
    if unknown:
        raise DatasetError(f"{path.name}: unknown labels {unknown[:5]}; known: {', '.join(_LABEL_NAMES)}")
    if "rating" in table and not table["rating"].astype(str).str.fullmatch(r"\d+(\.0)?").all():
        raise DatasetError(f"{path.name}: a rating is no whole number")
    return Dataset(
        name=path.stem,
        texts=tuple(table["text"].astype(str)),
        labels=table["label"].astype(str).str.lower().map(_LABEL_NAMES).to_numpy(dtype=np.int64),
        films=tuple(table["movie"].astype(str)) if "movie" in table else (),
        ratings=tuple(table["rating"].astype(float).astype(int)) if "rating" in table else (),
    )


def _walk_folder(root: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(root.rglob("*.txt")):
        name = path.relative_to(root.parent).as_posix()
        if _REVIEW_FILE.search(name) or _URL_LIST.search(name):
            yield name, path.read_bytes()


def _walk_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and (_REVIEW_FILE.search(member.name) or _URL_LIST.search(member.name)):
                    stream = archive.extractfile(member)
                    if stream is not None:
                        yield member.name, stream.read()
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DatasetError(f"{path.name} is no archive, or damaged: {error}") from error


def _from_reviews(name: str, split: str | None, files: Iterable[tuple[str, bytes]]) -> Dataset:
    reviews: list[tuple[str, int, int, str]] = []
    films: dict[str, list[str]] = {}
    found: set[str] = set()
    for path, content in files:
        text = content.decode("utf-8", "replace")
        if match := _URL_LIST.search(path):
            if split in (None, match[1]):
                films[match[2]] = _FILM.findall(text)
        elif match := _REVIEW_FILE.search(path):
            found.add(match[1])
            if split in (None, match[1]):
                reviews.append((match[2], int(match[3]), int(match[4]), text))
    if split is None and len(found) > 1:
        raise DatasetError(f"{name} holds {' and '.join(sorted(found))}: name the split")
    if not reviews:
        raise DatasetError(f"{name}: no reviews named {split or 'train|test'}/pos|neg/ID_RATING.txt")
    reviews.sort(key=lambda review: (review[0], review[1]))
    known = all(review[1] < len(films.get(review[0], ())) for review in reviews)
    return Dataset(
        name=f"{name}:{split}" if split else name,
        texts=tuple(review[3] for review in reviews),
        labels=np.array([_LABEL_NAMES[review[0]] for review in reviews], dtype=np.int64),
        films=tuple(films[review[0]][review[1]] for review in reviews) if known else (),
        ratings=tuple(review[2] for review in reviews),
    )


def join(name: str, parts: Iterable[Dataset]) -> Dataset:
    """Put data sets one after another; films and ratings stay only where every part has them."""
    parts = tuple(parts)
    return Dataset(
        name=name,
        texts=tuple(text for part in parts for text in part.texts),
        labels=np.concatenate([part.labels for part in parts]),
        films=tuple(film for part in parts for film in part.films)
        if all(part.films for part in parts)
        else (),
        ratings=tuple(r for part in parts for r in part.ratings)
        if all(part.ratings for part in parts)
        else (),
    )


def without_texts_of(data: Dataset, others: Iterable[Dataset]) -> Dataset:
    """Drop the rows whose text, case and punctuation aside, also stands in `others`."""
    known = {fingerprint(text) for other in others for text in other.texts}
    return data.take(row for row, text in enumerate(data.texts) if fingerprint(text) not in known)


def without_duplicates(data: Dataset) -> Dataset:
    """Keep the first of equal texts; drop all of them where their labels contradict each other."""
    rows: dict[str, list[int]] = {}
    for row, text in enumerate(data.texts):
        rows.setdefault(fingerprint(text), []).append(row)
    kept = [same[0] for same in rows.values() if len({int(data.labels[row]) for row in same}) == 1]
    return data.take(sorted(kept))


def split_by_film(data: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split into training and validation so that no film is on both sides.

    Where films are not known the split is by text. Validation holds about `share` of the rows.
    """
    keys = data.films or tuple(fingerprint(text) for text in data.texts)
    films = sorted(set(keys))
    sizes = Counter(keys)
    wanted, held_out, rows = share * len(data), set(), 0
    for index in np.random.default_rng(seed).permutation(len(films)):
        if rows >= wanted:
            break
        held_out.add(films[int(index)])
        rows += sizes[films[int(index)]]
    inside = [key in held_out for key in keys]
    return (
        data.take(row for row, held in enumerate(inside) if not held),
        data.take(row for row, held in enumerate(inside) if held),
    )


@dataclass(frozen=True)
class DatasetReport:
    """What `check` found; `problems` is empty where the data may be trained with."""

    rows: int
    positive_share: float
    duplicates: int
    contradictions: int
    blank: int
    problems: tuple[str, ...]


def check(data: Dataset, expected_rows: int | None = None) -> DatasetReport:
    """Count rows, balance, duplicates, contradicting labels and blank texts."""
    groups: dict[str, set[int]] = {}
    for text, label in zip(data.texts, data.labels.tolist(), strict=True):
        groups.setdefault(fingerprint(text), set()).add(label)
    positive = float(data.labels.mean()) if len(data) else 0.0
    blank = sum(not clean(text) for text in data.texts)
    problems = []
    if expected_rows is not None and len(data) != expected_rows:
        problems.append(f"{len(data)} rows, expected {expected_rows}")
    if len(np.unique(data.labels)) < len(LABELS):
        problems.append("only one class is present")
    if blank:
        problems.append(f"{blank} texts are blank after cleaning")
    return DatasetReport(
        rows=len(data),
        positive_share=positive,
        duplicates=len(data) - len(groups),
        contradictions=sum(len(labels) > 1 for labels in groups.values()),
        blank=blank,
        problems=tuple(problems),
    )
