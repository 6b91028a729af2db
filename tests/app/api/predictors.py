"""Small models of the tests' own, loaded by name as anybody's class would be."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.core.errors import InvalidInputError, ModelLoadError
from app.services.predictor import LoadContext, Predictor


class WordsRequest(BaseModel):
    """One text or several."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"text": "A good film."}]})

    text: str | None = None
    texts: list[str] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.text is None) == (self.texts is None):
            raise ValueError("give either text or texts")
        return self


class WordsResponse(BaseModel):
    """What a text says."""

    id: str
    text: str
    sentiment: str
    model: dict[str, str]


class WordsPredictor(Predictor):
    """Finds a text positive that has the word *good*; sleeps, fails or answers NaN when the text says so."""

    Request = WordsRequest
    Response = WordsResponse
    labels = ("negative", "positive")
    gate = threading.Event()

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked = 0

    @classmethod
    def load(cls, path: Path, context: LoadContext) -> Self:
        time.sleep(context.parameters.get("load_seconds", 0))
        if message := context.parameters.get("refuse"):
            raise ModelLoadError(message)
        return cls(context.parameters.get("seconds", 0))

    def split(self, request: Any) -> list[Any]:
        return [request.text] if request.text is not None else request.texts

    def prepare(self, items: Sequence[Any]) -> list[Any]:
        for position, text in enumerate(items):
            if not text.strip():
                raise InvalidInputError("the text is blank", position if len(items) > 1 else None)
        return list(items)

    def predict(self, batch: Sequence[Any]) -> list[Any]:
        self.asked += len(batch)
        time.sleep(self.seconds)
        if "explode" in batch[0]:
            raise RuntimeError(f"internal detail about {batch[0]}")
        if "wait" in batch[0]:
            self.gate.wait(20)
        score = float("nan") if "undecided" in batch[0] else 0.5
        return [
            {"text": text, "sentiment": "Positive" if "good" in text else "Negative", "score": score}
            for text in batch
        ]

    def join(self, request: Any, items: Sequence[Any], outputs: Sequence[Any]) -> dict[str, Any]:
        return dict(outputs[0]) if request.text is not None else {"predictions": list(outputs)}

    def row(self, item: Any, output: Any) -> dict[str, Any]:
        return {"sentiment": output["sentiment"], "text": item, "characters": len(item)}

    def smoke_item(self) -> Any | None:
        return "A good film."

    def describe(self) -> dict[str, Any]:
        return {"words": 1}


class NumbersRequest(BaseModel):
    """A row of a table."""

    features: list[float]


class NumbersResponse(BaseModel):
    """The row's sum."""

    total: float


class NumbersPredictor(Predictor):
    """Adds three numbers."""

    Request = NumbersRequest
    Response = NumbersResponse

    @classmethod
    def load(cls, path: Path, context: LoadContext) -> Self:
        return cls()

    def prepare(self, items: Sequence[Any]) -> list[Any]:
        for item in items:
            if len(item.features) != 3:
                raise InvalidInputError(f"expected 3 features, got {len(item.features)}")
        return [item.features for item in items]

    def predict(self, batch: Sequence[Any]) -> list[Any]:
        return [{"total": sum(features)} for features in batch]

    def smoke_item(self) -> Any | None:
        return NumbersRequest(features=[1, 2, 3])
