"""A predictor as a fork would write it: its own files, request and response."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from app.core.errors import InvalidInputError, ModelLoadError
from app.models.health import ModelIdentity
from app.services.artifact import Golden, GoldenExample, Manifest
from app.services.predictor import LoadContext, Predictor

KEYWORD_LOADER = "tests.models.custom:KeywordPredictor"


class ReviewRequest(BaseModel):
    """A review with a title."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str
    review: str


class ReviewResponse(BaseModel):
    """How many kind words there are, and what that means."""

    id: str
    verdict: str
    hits: int
    score: float
    model: ModelIdentity


class KeywordPredictor(Predictor):
    """Counts the kind words of ``words.json``; ``MODEL_PARAMETERS={"enough": 2}`` says how many make it positive."""

    Request = ReviewRequest
    Response = ReviewResponse
    labels = ("negative", "positive")

    def __init__(self, words: frozenset[str], enough: int) -> None:
        self._words = words
        self._enough = enough

    @classmethod
    def load(cls, path: Path, context: LoadContext) -> Self:
        try:
            words = json.loads((path / "words.json").read_text("utf-8"))
        except OSError as error:
            raise ModelLoadError("the folder holds no words.json") from error
        return cls(frozenset(words), int(context.parameters.get("enough", 1)))

    def prepare(self, items: Sequence[Any]) -> list[Any]:
        for item in items:
            if not item.review.strip():
                raise InvalidInputError("the text is blank")
        return [f"{item.title} {item.review}".lower().split() for item in items]

    def predict(self, batch: Sequence[Any]) -> list[Any]:
        outputs = []
        for words in batch:
            hits = sum(word.strip(".,!") in self._words for word in words)
            verdict = "positive" if hits >= self._enough else "negative"
            outputs.append({"verdict": verdict, "hits": hits, "score": hits / len(words)})
        return outputs

    def row(self, item: Any, output: Any) -> dict[str, Any]:
        return {"text": item.review, "sentiment": output["verdict"], "hits": output["hits"]}

    def smoke_item(self) -> Any | None:
        return ReviewRequest(title="A film", review="Good.")


def tiny_keyword(folder: Path) -> Path:
    """Write an artifact for `KeywordPredictor`; load it with ``MODEL_LOADER=tests.models.custom:KeywordPredictor``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.json").write_text(json.dumps(["good", "great", "funny"]), "utf-8")
    bodies = (
        (
            {"title": "Fine", "review": "A good and funny film."},
            {"verdict": "positive", "hits": 2, "score": 1 / 3},
        ),
        ({"title": "No", "review": "A dull film."}, {"verdict": "negative", "hits": 0}),
    )
    examples = tuple(GoldenExample(input=body, output=output) for body, output in bodies)
    Manifest(task="custom", labels=("negative", "positive"), golden=Golden(examples=examples)).write(folder)
    return folder
