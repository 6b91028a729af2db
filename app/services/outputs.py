"""What the numbers that a model gives mean: names, logits, probabilities."""

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from app.core.errors import ModelLoadError
from app.services.json_files import read_json

_ROUNDING = 1e-3
_PLACEHOLDER = re.compile(r"label_\d+", re.IGNORECASE)


def softmax(logits: Sequence[float]) -> list[float]:
    """Return the probabilities of finite logits."""
    highest = max(logits)
    exponentials = [math.exp(value - highest) for value in logits]
    total = sum(exponentials)
    return [value / total for value in exponentials]


def sigmoid(logit: float) -> float:
    """Return the probability of a finite logit, without overflow."""
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    exponential = math.exp(logit)
    return exponential / (1 + exponential)


class Meaning(StrEnum):
    """What a row of a model's outputs is."""

    PROBABILITY = "the probability of the second class"
    LOGIT = "the logit of the second class"
    PROBABILITIES = "a probability for each class"
    LOGITS = "a logit for each class"


def meaning_of(rows: Sequence[Sequence[float]], activation: str | None = None) -> Meaning:
    """Find out what outputs mean from the last layer's activation, else from a few rows of them.

    Args:
        rows: outputs for some inputs, shape ``(n, k)``; one column is the second of two classes.
        activation: ``sigmoid``, ``softmax``, ``linear``, another name, or None where it is not known.

    Raises:
        ModelLoadError: they are neither logits nor probabilities that sum to 1.
    """
    values = [value for row in rows for value in row]
    inside = all(-_ROUNDING <= value <= 1 + _ROUNDING for value in values)
    if all(len(row) == 1 for row in rows):
        is_logit = activation == "linear" or not inside
        return Meaning.LOGIT if is_logit else Meaning.PROBABILITY
    if inside and all(abs(sum(row) - 1) <= _ROUNDING for row in rows):
        return Meaning.PROBABILITIES
    if activation == "linear" or (activation is None and not inside):
        return Meaning.LOGITS
    raise ModelLoadError(
        f"the outputs ({activation or 'of an unknown activation'}) are neither logits nor probabilities that sum to 1; "
        "several labels at once need a class of one's own (MODEL_LOADER=package.module:Class)"
    )


def probabilities(row: Sequence[float], meaning: Meaning, temperature: float = 1.0) -> list[float]:
    """Return a probability for each class, logits divided by `temperature`; `row` must be finite."""
    if meaning is Meaning.LOGITS:
        return softmax([value / temperature for value in row])
    if meaning is Meaning.LOGIT:
        second = sigmoid(row[0] / temperature)
        return [1 - second, second]
    given = list(row) if meaning is Meaning.PROBABILITIES else [1 - row[0], row[0]]
    if temperature == 1.0:
        return given
    return softmax([math.log(max(value, 1e-12)) / temperature for value in given])


def read_config(folder: Path) -> dict[str, Any]:
    """Return the Hugging Face ``config.json`` of a folder; empty where there is none.

    Raises:
        ModelLoadError: it is no JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        content = read_json(path)
    except ValueError as error:
        raise ModelLoadError(str(error)) from error
    if not isinstance(content, dict):
        raise ModelLoadError("config.json is no JSON object")
    return content


def choose_labels(declared: Sequence[str], config: Mapping[str, Any], outputs: int | None) -> tuple[str, ...]:
    """Return the names of a model's outputs: the manifest's, else ``id2label`` of its ``config.json``.

    Args:
        declared: the manifest's labels.
        config: the content of ``config.json``; empty where there is none.
        outputs: how many the model has; None where it does not tell.

    Raises:
        ModelLoadError: there are no names, or names that say nothing, or more or fewer than outputs.
    """
    labels = tuple(declared) or _names_of(config)
    if not labels:
        raise ModelLoadError(
            "the outputs have no names: give labels in marquee.json, or id2label in config.json, in their order"
        )
    check_labels(labels, outputs)
    return labels


def check_labels(labels: Sequence[str], outputs: int | None) -> None:
    """Hold names to the outputs that they are for.

    Raises:
        ModelLoadError: names that say nothing or occur twice, or more or fewer than outputs.
    """
    if any(_PLACEHOLDER.fullmatch(label) or not label.strip() for label in labels):
        raise ModelLoadError(
            f"the labels {', '.join(labels)} say nothing: give labels in marquee.json, "
            'such as ["negative", "positive"], in the order of the outputs'
        )
    if len(set(labels)) < len(labels):
        raise ModelLoadError(f"a label is given twice: {', '.join(labels)}")
    if outputs is not None and outputs != len(labels):
        raise ModelLoadError(f"the model has {outputs} outputs and {len(labels)} labels: {', '.join(labels)}")


def _names_of(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return ``id2label`` in the order of the ids.

    Raises:
        ModelLoadError: an id is missing or is no whole number.
    """
    names = config.get("id2label")
    if not isinstance(names, dict) or not names:
        return ()
    try:
        by_id = {int(key): str(name) for key, name in names.items()}
        return tuple(by_id[index] for index in range(len(names)))
    except (KeyError, ValueError) as error:
        raise ModelLoadError("id2label in config.json must name the ids 0, 1, … without a gap") from error
