"""A classifier that says what it is told to say: `tests.ml.keyword_model:KeywordPredictor`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel

from app.core.errors import ModelLoadError
from app.services.predictor import LoadContext, Predictor


class Body(BaseModel):
    text: str


class Reply(BaseModel):
    label: str


@dataclass(frozen=True)
class Output:
    label: str
    confidences: dict[str, float]


class KeywordPredictor(Predictor):
    """Answers with the label of the whole text, else of the first keyword in it, else negative.

    The label `fail` makes it raise.
    """

    Request: ClassVar[type[BaseModel]] = Body
    Response: ClassVar[type[BaseModel]] = Reply
    labels: tuple[str, ...] = ("negative", "positive")

    def __init__(self, words: dict[str, str]) -> None:
        self.words = words

    @classmethod
    def load(cls, path: Path, context: LoadContext) -> Self:
        if not (path / "words.json").is_file():
            raise ModelLoadError("no words.json: this is no keyword model")
        return cls(json.loads((path / "words.json").read_text("utf-8")))

    def predict(self, batch: Sequence[Any]) -> list[Any]:
        return [self._output(text) for text in batch]

    def _output(self, text: str) -> Output:
        label = self.words.get(text) or next(
            (self.words[word] for word in self.words if word in text), "negative"
        )
        if label == "fail":
            raise RuntimeError(f"cannot read {text}")
        return Output(label, {name: float(name == label) for name in self.labels})
