"""What every loader of a model for rows of numbers shares: from a request to rows, from answers to a reply."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel

from app.core.errors import InvalidInputError
from app.models.prediction import TabularReply, TabularRequest
from app.services.predictor import Predictor


@dataclass(frozen=True, slots=True)
class TabularOutput:
    """What a model says of one row.

    Attributes:
        label: the likeliest class; None for a regressor.
        confidences: a probability for each class; empty for a classifier that gives none.
        value: what a regressor answers; None for a classifier.
    """

    label: str | None
    confidences: dict[str, float]
    value: float | None = None


class TabularPredictor(Predictor):
    """Takes one row of numbers or several; subclasses say how rows are predicted."""

    Request: ClassVar[type[BaseModel]] = TabularRequest
    Response: ClassVar[type[BaseModel]] = TabularReply

    features: int
    """How many numbers a row has."""

    smoke_row: list[float] | None = None
    """A row to try the model with; zeros where None."""

    def split(self, request: Any) -> list[Any]:
        """Return the rows of a request."""
        items: list[Any] = request.items
        return items

    def prepare(self, items: Sequence[Any]) -> list[Any]:
        """Hold rows to the number of features.

        Raises:
            InvalidInputError: a row has more or fewer; says how many were expected.
        """
        for position, row in enumerate(items):
            if len(row) != self.features:
                raise InvalidInputError(
                    f"expected {self.features} features, got {len(row)}", position if len(items) > 1 else None
                )
        return list(items)

    @abstractmethod
    def answer(self, rows: Sequence[Sequence[float]]) -> list[TabularOutput]:
        """Return what the model says of each row.

        Raises:
            PredictionFailedError: the model gave a number that is not finite.
        """

    def predict(self, batch: Sequence[Any]) -> list[Any]:
        """Predict rows."""
        return list(self.answer(batch))

    def join(self, request: Any, items: Sequence[Any], outputs: Sequence[Any]) -> dict[str, Any]:
        """Return one prediction, or a list of them where a list was asked."""
        predictions = [_reply(output) for output in outputs]
        return predictions[0] if request.features is not None else {"predictions": predictions}

    def row(self, item: Any, output: Any) -> dict[str, Any]:
        """Return the answer, a column for each confidence, and a column for each feature."""
        return {
            **({"label": output.label} if output.label is not None else {"value": output.value}),
            **{f"confidence_{label}": value for label, value in output.confidences.items()},
            **{f"feature_{index}": value for index, value in enumerate(item)},
        }

    def smoke_item(self) -> Any | None:
        """Return a row to try: a golden one, else zeros."""
        return self.smoke_row or [0.0] * self.features


def finite(values: Sequence[float]) -> bool:
    """Return whether all values are finite."""
    return all(map(math.isfinite, values))


def _reply(output: TabularOutput) -> dict[str, Any]:
    if output.label is None:
        return {"value": output.value}
    return {"label": output.label, "confidences": output.confidences}
