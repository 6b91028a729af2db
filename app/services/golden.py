"""Whether a loaded model is the exported one: it must answer its golden examples as its exporter measured."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from app.core.errors import GoldenMismatchError
from app.services.artifact import GoldenExample, ModelFiles
from app.services.predictor import Predictor

_LONGEST = 60


@dataclasses.dataclass(frozen=True, slots=True)
class ModelCheck:
    """How a model was checked before it is served.

    Attributes:
        kind: `golden`: it answered its examples; `smoke`: it answered something finite; `none`: it was not asked.
        examples: how many it answered.
        largest_difference: of a probability or number from the expected one; None where none was expected.
    """

    kind: Literal["golden", "smoke", "none"]
    examples: int = 0
    largest_difference: float | None = None


def check_model(predictor: Predictor, files: ModelFiles) -> ModelCheck:
    """Ask the model its golden examples, or its smoke item where the artifact brings none.

    Raises:
        GoldenMismatchError: an answer is not the expected one; names the example by its number, from 1, never by
            its text.
    """
    golden = files.manifest.golden
    if not golden.examples:
        return _smoke(predictor)
    differences: list[float] = []
    for number, example in enumerate(golden.examples, start=1):
        try:
            differences += _differences(predictor, example, golden.tolerance)
        except _Mismatch as error:
            raise GoldenMismatchError(
                f"golden example {number} of {len(golden.examples)}: {error}{_warnings(predictor)}"
            ) from error.__cause__
    return ModelCheck("golden", len(golden.examples), max(differences, default=None))


class _Mismatch(Exception):  # noqa: N818 - it never leaves this module
    pass


def _smoke(predictor: Predictor) -> ModelCheck:
    item = predictor.smoke_item()
    if item is None:
        return ModelCheck("none")
    try:
        (output,) = predictor.predict(predictor.prepare([item]))
    except Exception as error:
        raise GoldenMismatchError(
            f"the model failed on a first prediction: {_reason(error)}{_warnings(predictor)}"
        ) from error
    if not _finite(output):
        raise GoldenMismatchError("the model's first prediction holds a number that is not finite")
    return ModelCheck("smoke", 1)


def _differences(predictor: Predictor, example: GoldenExample, tolerance: float) -> list[float]:
    """Return how far the numbers of an answer are from the expected ones, all of them within the tolerance."""
    if example.label is None and not example.confidences and example.output is None:
        raise _Mismatch("it expects nothing: give a label, confidences or output")
    output, reply = _answer(predictor, example.input)
    if example.label is not None and (label := _part(output, reply, "label")) != example.label:
        raise _Mismatch(f"expected the label {example.label!r}, got {_short(label)}")
    differences = []
    confidences = _part(output, reply, "confidences")
    for label, expected in example.confidences.items():
        got = confidences.get(label) if isinstance(confidences, Mapping) else None
        differences.append(_compare(f"confidence of {label}", expected, got, tolerance))
    for name, expected in (example.output or {}).items():
        differences += _compare_all(name, expected, reply.get(name), tolerance)
    return differences


def _answer(predictor: Predictor, content: Any) -> tuple[Any, dict[str, Any]]:
    """Ask as a request does; return the output and the reply."""
    body = (
        content
        if isinstance(content, dict)
        else {"text" if isinstance(content, str) else "features": content}
    )
    try:
        request = predictor.Request.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise _Mismatch(
            f"its input is not what the model takes: {place + ': ' if place else ''}{message}"
        ) from None
    try:
        items = predictor.split(request)
        outputs = predictor.predict(predictor.prepare(items))
        return outputs[0], predictor.join(request, items, outputs)
    except Exception as error:
        raise _Mismatch(f"the model failed: {_reason(error)}") from error


def _part(output: Any, reply: Mapping[str, Any], name: str) -> Any:
    if isinstance(output, Mapping) and name in output:
        return output[name]
    return getattr(output, name, reply.get(name))


def _compare_all(path: str, expected: Any, got: Any, tolerance: float) -> list[float]:
    """Compare nested values: numbers within the tolerance, anything else exactly."""
    if isinstance(expected, Mapping):
        inner = got if isinstance(got, Mapping) else {}
        return [
            difference
            for key, value in expected.items()
            for difference in _compare_all(f"{path}.{key}", value, inner.get(key), tolerance)
        ]
    if isinstance(expected, list):
        if not isinstance(got, (list, tuple)) or len(got) != len(expected):
            raise _Mismatch(f"{path}: expected a list of {len(expected)}, got {_short(got)}")
        return [
            difference
            for index, (one, other) in enumerate(zip(expected, got, strict=True))
            for difference in _compare_all(f"{path}[{index}]", one, other, tolerance)
        ]
    if isinstance(expected, (int, float)) and not isinstance(expected, bool):
        return [_compare(path, expected, got, tolerance)]
    if got != expected:
        raise _Mismatch(f"{path}: expected {_short(expected)}, got {_short(got)}")
    return []


def _compare(what: str, expected: float, got: Any, tolerance: float) -> float:
    if got is None or isinstance(got, (str, bool)):
        raise _Mismatch(f"{what}: expected {expected:.6g}, got {_short(got)}")
    difference = abs(float(got) - expected)
    if not difference <= tolerance:  # NaN is within no tolerance.
        raise _Mismatch(
            f"{what}: expected {expected:.6g}, got {float(got):.6g}, {difference:.2g} apart, "
            f"at most {tolerance:g} is allowed"
        )
    return difference


def _finite(value: Any) -> bool:
    """Return whether every number in nested containers, dataclasses and models is finite."""
    if isinstance(value, BaseModel):
        value = value.model_dump()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return all(_finite(inner) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return all(_finite(inner) for inner in value)
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    return not isinstance(value, float) or math.isfinite(value)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _warnings(predictor: Predictor) -> str:
    found = predictor.describe().get("warnings")
    return f" (when it was loaded: {'; '.join(found)})" if found else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
