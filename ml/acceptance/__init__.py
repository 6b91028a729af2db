"""Labelled texts of our own: what a model must get right to be served, and what its report says it does.

All of them were written for this project; none is taken from a data set, so a model cannot have seen them.

- ``sentences.csv``: clear-cut texts for the acceptance test (`ml.accept`).
- ``slices.csv``: negation, mixed verdicts and sarcasm; reported by `ml.evaluate`, never a reason to refuse.
- ``golden.json``: the inputs of an artifact's golden examples; the exporter measures the answers.
"""

import csv
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.services.text import clean

Label = Literal["negative", "positive"]

COLUMNS = ("id", "text", "label", "kind")
LABELS: tuple[Label, ...] = ("negative", "positive")
SENTENCE_KINDS = ("plain", "negation", "contrast", "short", "html", "caps", "emoji", "long")
SLICE_KINDS = ("negation", "mixed", "sarcasm")

_FOLDER = Path(__file__).resolve().parent
_ID = re.compile(r"[a-z]+(?:-[a-z]+)*-\d+")


class AcceptanceError(ValueError):
    """A file of texts is malformed; the message names the file, the row and what is wrong."""


@dataclass(frozen=True, slots=True)
class AcceptanceText:
    """One labelled text.

    Attributes:
        id: such as ``contrast-07``; unique in its file and never given to another text.
        text: as a client would send it, HTML and capitals included.
        label: what a careful reader says of it.
        kind: what is difficult about it.
    """

    id: str
    text: str
    label: Label
    kind: str


def load_sentences() -> tuple[AcceptanceText, ...]:
    """Return the texts of the acceptance test, in the file's order."""
    return read_texts(_FOLDER / "sentences.csv", SENTENCE_KINDS)


def load_slices() -> tuple[AcceptanceText, ...]:
    """Return the texts with negation, mixed verdicts and sarcasm, in the file's order."""
    return read_texts(_FOLDER / "slices.csv", SLICE_KINDS)


def golden_inputs() -> tuple[str, ...]:
    """Return the inputs of the golden examples, in the file's order."""
    return read_inputs(_FOLDER / "golden.json")


def read_texts(path: Path, kinds: Collection[str]) -> tuple[AcceptanceText, ...]:
    """Read a CSV file with the columns ``id,text,label,kind``.

    Args:
        path: the file, UTF-8.
        kinds: the kinds that may occur in it.

    Raises:
        AcceptanceError: it is missing, no such CSV, or a row is not acceptable.
    """
    texts: list[AcceptanceText] = []
    ids: set[str] = set()
    known: set[str] = set()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            if tuple(header) != COLUMNS:
                raise AcceptanceError(
                    f"{path.name}: the columns must be {','.join(COLUMNS)}, not {','.join(header)}"
                )
            for row in rows:
                text = _text_of(row, kinds, f"{path.name}, line {rows.line_num}")
                key = clean(text.text).casefold()
                if text.id in ids or key in known:
                    what = f"the id {text.id}" if text.id in ids else f"the text of {text.id}"
                    raise AcceptanceError(
                        f"{path.name}, line {rows.line_num}: {what} stands in an earlier row, too"
                    )
                ids.add(text.id)
                known.add(key)
                texts.append(text)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AcceptanceError(f"cannot read {path.name}: {error}") from error
    if not texts:
        raise AcceptanceError(f"{path.name} holds no text")
    return tuple(texts)


def read_inputs(path: Path) -> tuple[str, ...]:
    """Read a JSON file that is a list of different, non-blank texts.

    Raises:
        AcceptanceError: it is missing or something else.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise AcceptanceError(f"cannot read {path.name}: {error}") from error
    if not isinstance(content, list) or not content:
        raise AcceptanceError(f"{path.name} must be a list of texts")
    for position, text in enumerate(content):
        if not isinstance(text, str) or not clean(text):
            raise AcceptanceError(f"{path.name}: entry {position} is no text, or blank")
    if len(set(content)) != len(content):
        raise AcceptanceError(f"{path.name} holds a text twice")
    return tuple(content)


def _text_of(row: list[str], kinds: Collection[str], place: str) -> AcceptanceText:
    if len(row) != len(COLUMNS):
        raise AcceptanceError(
            f"{place}: {len(row)} columns instead of {len(COLUMNS)}; is a text with a comma not quoted?"
        )
    name, text, label, kind = row
    if not _ID.fullmatch(name):
        raise AcceptanceError(f"{place}: the id {name!r} must look like contrast-07")
    if not clean(text):
        raise AcceptanceError(f"{place}: {name} has a blank text")
    if label not in LABELS:
        raise AcceptanceError(f"{place}: {name} has the label {label!r}; known: {', '.join(LABELS)}")
    if kind not in kinds:
        raise AcceptanceError(f"{place}: {name} has the kind {kind!r}; known: {', '.join(kinds)}")
    return AcceptanceText(name, text, label, kind)
