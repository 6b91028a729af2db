"""What the numbers that a model gives mean: names, logits, probabilities."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.core.errors import ModelLoadError

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


def read_config(folder: Path) -> dict[str, Any]:
    """Return the Hugging Face ``config.json`` of a folder; empty where there is none.

    Raises:
        ModelLoadError: it is no JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelLoadError(f"config.json is no JSON: {error}") from error
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
