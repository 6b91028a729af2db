"""From a validated request to the reply and the rows: same ids, limits, and no row for what could not be sent."""

import asyncio
import json
from typing import Any

import pytest
from pydantic import create_model

from app.core.config import Settings
from app.core.errors import InvalidInputError, PredictionFailedError, TooLargeError
from app.services.feedback import PredictionIds
from app.services.inference import Inference
from app.services.model_server import ModelServer
from tests import models


class Rows:
    """What an inference log is asked to keep."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def record(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    async def settle(self) -> bool:
        return False

    observe = record


class Fixture:
    """An `Inference` over a loaded tiny model."""

    def __init__(self, folder, loader: str, **changes: Any) -> None:
        settings = Settings(
            _env_file=None,
            model_source="local",
            local_model_dir=folder.parent,
            local_model_name=folder.name,
            model_loader=loader,
            state_dir=folder.parent / "state",
            **changes,
        )
        self.server = ModelServer(settings)
        self.log = Rows()
        self.monitor = Rows()
        self.inference = Inference(settings, self.server, self.log, self.monitor, PredictionIds(settings))

    def ask(self, write=lambda reply: reply, **body: Any) -> Any:
        async def scenario() -> Any:
            await self.server.start()
            try:
                request = self.server.predictor.Request.model_validate(body)
                with self.server.lease() as model:
                    return await self.inference.predict(
                        request, model=model, write=write, request_id="request-1", trace="t" * 32
                    )
            finally:
                await self.server.stop(5)

        return asyncio.run(scenario())


@pytest.fixture
def texts(tmp_path):
    def build(**changes: Any) -> Fixture:
        return Fixture(models.tiny_onnx(tmp_path / "tiny"), "onnx", **changes)

    return build


def test_the_id_of_a_reply_is_the_key_of_its_row(texts):
    fixture = texts()
    reply = fixture.ask(text="a fine film")
    (row,) = fixture.log.rows
    assert row["id"] == reply["id"]
    assert (row["request_id"], row["trace"], row["status"]) == ("request-1", "t" * 32, 200)
    assert row["sentiment"] == reply["sentiment"]
    assert (row["model_version"], row["model_digest"]) == (
        reply["model"]["version"],
        reply["model"]["digest"],
    )
    json.dumps(row, allow_nan=False)


def test_each_entry_of_a_list_has_an_id_and_a_row_of_its_own(texts):
    fixture = texts()
    reply = fixture.ask(texts=["a fine film", "dull", "a fine film"])
    ids = [entry["id"] for entry in reply["predictions"]]
    assert len(set(ids)) == 3
    assert [row["id"] for row in fixture.log.rows] == ids
    assert reply["id"] == "request-1"


def test_a_reply_that_cannot_be_written_leaves_no_row(texts):
    fixture = texts()

    def write(reply: dict[str, Any]) -> Any:
        raise PredictionFailedError("no JSON")

    with pytest.raises(PredictionFailedError):
        fixture.ask(write, text="a fine film")
    assert fixture.log.rows == []


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ({"texts": ["dull"] * 4}, TooLargeError, "4 items in one request, at most 3"),
        ({"text": "x" * 21}, InvalidInputError, "21 characters, at most 20"),
        ({"texts": ["dull", "x" * 21]}, InvalidInputError, "21 characters, at most 20"),
        ({"texts": ["dull", " \n "]}, InvalidInputError, "blank"),
    ],
)
def test_what_is_over_a_limit_is_refused_before_the_model_is_asked(texts, body, error, message):
    fixture = texts(max_texts=3, max_text_characters=20)
    with pytest.raises(error, match=message) as refused:
        fixture.ask(**body)
    assert getattr(refused.value, "position", None) == (
        1 if "texts" in body and error is InvalidInputError else None
    )
    assert fixture.log.rows == []


def test_a_class_gets_only_the_fields_that_its_response_declares(tmp_path, monkeypatch):
    folder = models.tiny_keyword(tmp_path / "keyword")
    reply = Fixture(folder, models.KEYWORD_LOADER).ask(title="One", review="A good film.")
    assert set(reply) == {"id", "verdict", "hits", "score", "model"}
    monkeypatch.setattr(models.KeywordPredictor, "Response", create_model("BareResponse", verdict=(str, ...)))
    reply = Fixture(folder, models.KEYWORD_LOADER).ask(title="One", review="A good film.")
    assert not {"id", "model"} & set(reply)


def test_a_class_that_cannot_describe_a_row_still_answers(tmp_path, monkeypatch):
    def row(self, item: Any, output: Any) -> dict[str, Any]:
        raise KeyError("secret words")

    fixture = Fixture(models.tiny_keyword(tmp_path / "keyword"), models.KEYWORD_LOADER)
    monkeypatch.setattr(models.KeywordPredictor, "row", row)
    assert fixture.ask(title="One", review="A good film.")["verdict"] == "positive"
    (logged,) = fixture.log.rows
    assert logged["row_error"] == "KeyError"
    assert "secret" not in json.dumps(logged)
