"""What a labelled text data set is made of: lengths, words, HTML, films, and which words speak for a class.

Everything here counts; nothing is trained. The texts are cleaned as the model sees them, except where the
question is what cleaning takes away.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.services.text import clean
from ml.dataset import Dataset, DatasetError, load

_ARCHIVE = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
_WORD = r"\b\w[\w']*\b"
_FIND_WORDS = re.compile(_WORD)
_TAG = re.compile(r"</?([a-z][a-z0-9]*)\b[^<>]{0,200}>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});", re.IGNORECASE)


def read_splits(path: Path) -> tuple[Dataset, Dataset]:
    """Read the training and the test split from one place.

    Args:
        path: a folder with ``imdb_train`` and ``imdb_test`` as Parquet or CSV, one of the two files, an
            ``aclImdb`` folder, or its archive.

    Raises:
        DatasetError: a split is missing or cannot be read.
    """
    folder = path.parent if path.suffix in {".parquet", ".csv"} else path
    for ending in (".parquet", ".csv"):
        files = [folder / f"imdb_{split}{ending}" for split in ("train", "test")]
        if all(file.is_file() for file in files):
            return load(files[0]), load(files[1])
    if folder != path:
        raise DatasetError(f"{path.name}: expected imdb_train and imdb_test beside each other")
    return load(path, "train"), load(path, "test")


def locate(named: str | None, root: Path) -> Path:
    """Return where the data lie, below the working folder or `root`: where `named` says, else in ``data/``.

    Raises:
        DatasetError: nothing there; the message says where to get the data.
    """
    choices = (named,) if named else ("data/imdb_train.parquet", "data/aclImdb", "data/aclImdb_v1.tar.gz")
    for choice in choices:
        for folder in (Path.cwd(), root):
            path = folder / Path(choice).expanduser()
            if path.exists():
                return path
    raise DatasetError(f"no data at {' or '.join(choices)}: get {_ARCHIVE}, and name it in MARQUEE_DATA")


def words(text: str) -> list[str]:
    """Return the words of a text as the model sees it, in lower case, punctuation left out."""
    return _FIND_WORDS.findall(clean(text).lower())


@dataclass(frozen=True)
class Reading:
    """What a model reads that takes the first `window` tokens of each text and no more.

    Attributes:
        window: tokens, the two special ones included.
        whole: share of the texts that are read to the end.
        tokens: share of all tokens that are read.
    """

    window: int
    whole: float
    tokens: float


def cut_at(lengths: np.ndarray, windows: Iterable[int]) -> list[Reading]:
    """Say what is read of texts of these lengths (special tokens not counted) at each size of window."""
    return [
        Reading(
            window=window,
            whole=float((lengths <= window - 2).mean()),
            tokens=float(np.minimum(lengths, window - 2).sum() / max(1, lengths.sum())),
        )
        for window in windows
    ]


@dataclass(frozen=True)
class Vocabulary:
    """The words of a set of texts, most frequent first.

    Attributes:
        counts: occurrences of each word, falling.
    """

    words: tuple[str, ...]
    counts: np.ndarray

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]]) -> "Vocabulary":
        """Count the words of texts that are already split into words."""
        found = Counter(word for text in texts for word in text)
        ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        return cls(
            tuple(word for word, _ in ordered), np.array([count for _, count in ordered], dtype=np.int64)
        )

    @property
    def total(self) -> int:
        """Running words."""
        return int(self.counts.sum())

    def coverage(self) -> np.ndarray:
        """Return the share of the running words that the first 1, 2, … words make up; shape ``(words,)``."""
        return np.asarray(np.cumsum(self.counts) / max(1, self.total))


def tags(texts: Iterable[str]) -> Counter[str]:
    """Count, for each HTML tag, the raw texts that hold it."""
    return Counter(name for text in texts for name in {found.lower() for found in _TAG.findall(text)})


def entities(texts: Iterable[str]) -> Counter[str]:
    """Count, for each HTML entity, the raw texts that hold it."""
    return Counter(name for text in texts for name in {found.lower() for found in _ENTITY.findall(text)})


def film_tells(data: Dataset) -> float:
    """Return how often the other reviews of its film alone tell a review's label.

    Each label is guessed by the majority of the film's other reviews; a tie, or no other review, counts half.
    Texts play no part: what lies above 0.5 is what a split that is blind to films would leak.

    Raises:
        DatasetError: films are not known.
    """
    if not data.films:
        raise DatasetError(f"{data.name}: films are not known")
    positive: defaultdict[str, int] = defaultdict(int)
    reviews = Counter(data.films)
    for film, label in zip(data.films, data.labels.tolist(), strict=True):
        positive[film] += label
    right = 0.0
    for film, label in zip(data.films, data.labels.tolist(), strict=True):
        others, likes = reviews[film] - 1, positive[film] - label
        right += 0.5 if 2 * likes == others else float((2 * likes > others) == bool(label))
    return right / max(1, len(data))


@dataclass(frozen=True)
class TermScores:
    """How strongly words and two-word phrases speak for a class.

    Attributes:
        terms: words and phrases, in alphabetical order.
        log_odds: log odds of the term in positive texts minus those in negative ones; shape ``(terms,)``.
        z: the same in standard errors, which ranks frequent and rare terms fairly; shape ``(terms,)``.
        texts: how many texts hold the term; shape ``(terms,)``.
    """

    terms: tuple[str, ...]
    log_odds: np.ndarray
    z: np.ndarray
    texts: np.ndarray
    rows: dict[str, int] = field(repr=False)

    def strongest(self, count: int, size: int) -> tuple[list[str], list[str]]:
        """Return the `count` terms of `size` words that speak most for negative, and for positive."""
        chosen = np.array(
            [row for row, term in enumerate(self.terms) if term.count(" ") == size - 1], dtype=np.int64
        )
        order = chosen[np.argsort(self.z[chosen], kind="stable")]
        negative = [self.terms[row] for row in order[:count] if self.z[row] < 0]
        positive = [self.terms[row] for row in order[::-1][:count] if self.z[row] > 0]
        return negative, positive


def score_terms(data: Dataset, *, min_texts: int, min_films: int = 1, prior: float = 0.1) -> TermScores:
    """Compare the classes word by word: log odds with an informative prior (Monroe, Colaresi, Quinn 2008).

    A term counts once a text, so that one text that repeats it has one voice.

    Args:
        data: texts with both labels.
        min_texts: leave out terms that fewer texts hold.
        min_films: leave out terms that stand in the reviews of fewer films, such as names; needs films.
        prior: weight of the prior, that the classes are alike, as a share of the data.

    Raises:
        DatasetError: no term is frequent enough.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    counter = CountVectorizer(ngram_range=(1, 2), min_df=min_texts, binary=True, token_pattern=_WORD)
    try:
        present = counter.fit_transform([clean(text) for text in data.texts])
    except ValueError as error:
        raise DatasetError(f"{data.name}: no word stands in {min_texts} texts") from error
    terms = counter.get_feature_names_out()
    if data.films and min_films > 1:
        kept = _films_of_terms(present, data.films) >= min_films
        present, terms = present[:, kept], terms[kept]
    sides = [
        np.asarray(present[data.labels == label].sum(axis=0), dtype=np.float64).ravel() for label in (0, 1)
    ]
    expected = prior * (sides[0] + sides[1])
    log_odds, variance = np.zeros(len(terms)), np.zeros(len(terms))
    for sign, side in zip((-1, 1), sides, strict=True):
        with_prior = side + expected * 0.5
        log_odds += sign * np.log(with_prior / (with_prior.sum() - with_prior))
        variance += 1 / with_prior
    return TermScores(
        terms=tuple(terms.tolist()),
        log_odds=log_odds,
        z=log_odds / np.sqrt(variance),
        texts=(sides[0] + sides[1]).astype(np.int64),
        rows={term: row for row, term in enumerate(terms.tolist())},
    )


def verdict_by_position(data: Dataset, scores: TermScores, parts: int, min_words: int = 100) -> np.ndarray:
    """Say where in a text its verdict stands.

    Each text is cut into `parts` of equal length and each part is judged alone, by the sum of its words' log
    odds; a part without a known word counts half.

    Args:
        data: texts that `scores` was not made from.
        scores: what each word speaks for.
        parts: how many.
        min_words: shorter texts are left out.

    Returns:
        The share of the texts whose part agrees with their label; shape ``(parts,)``; NaN without texts.
    """
    right, texts = np.zeros(parts), 0
    for text, label in zip(data.texts, data.labels.tolist(), strict=True):
        found = words(text)
        if len(found) < max(min_words, parts):
            continue
        texts += 1
        weights = [scores.log_odds[scores.rows[word]] if word in scores.rows else 0.0 for word in found]
        for part, chosen in enumerate(np.array_split(np.array(weights), parts)):
            total = float(chosen.sum())
            right[part] += 0.5 if total == 0 else float((total > 0) == bool(label))
    return right / texts if texts else np.full(parts, np.nan)


def _films_of_terms(present: "np.ndarray", films: Sequence[str]) -> np.ndarray:
    """Count the films in whose reviews each term stands; `present` is a sparse matrix ``(texts, terms)``."""
    from scipy.sparse import csr_matrix

    names = {film: row for row, film in enumerate(sorted(set(films)))}
    about = csr_matrix(
        (np.ones(len(films), dtype=np.int32), ([names[film] for film in films], range(len(films)))),
        shape=(len(names), len(films)),
    )
    reviews = about @ present
    reviews.data[:] = 1
    return np.asarray(reviews.sum(axis=0)).ravel()
