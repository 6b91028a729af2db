"""When a model may be asked, and what the callers hear when it may not."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Sequence
from typing import Any

import pytest

from app.core.config import Settings
from app.core.errors import DeadlineError, ModelLoadError, NotReadyError, StartupError
from app.services import model_server
from app.services.model_server import ModelServer
from app.services.running_model import load_checked
from tests import models


def settings(folder, **changes: Any) -> Settings:
    values = {
        "model_source": "local",
        "local_model_dir": folder,
        "local_model_name": "keyword",
        "model_loader": models.KEYWORD_LOADER,
        "inference_log": False,
        "state_dir": folder / "state",
    }
    return Settings(_env_file=None, **(values | changes))


@pytest.fixture
def model_folder(tmp_path):
    models.tiny_keyword(tmp_path / "keyword")
    return tmp_path


def item(review: str = "A good film.") -> Any:
    return models.KeywordPredictor.Request(title="One", review=review)


def test_it_is_ready_only_after_the_golden_examples(model_folder):
    server = ModelServer(settings(model_folder))

    async def scenario() -> None:
        assert server.state == "starting"
        with pytest.raises(NotReadyError, match="not loaded yet"):
            await server.predict([item()])
        await server.start()
        assert (server.state, server.reason) == ("ready", "")
        assert server.check is not None
        assert (server.check.kind, server.check.examples) == ("golden", 2)
        (served,) = await server.predict([item()])
        assert served.output["verdict"] == "positive"
        assert await server.stop(5)

    asyncio.run(scenario())
    assert set(server.timings) == {"obtain", "load", "check"}


def test_a_load_that_was_begun_early_is_awaited_and_not_repeated(model_folder, monkeypatch):
    loads = []
    obtain = model_server.obtain_model
    monkeypatch.setattr(model_server, "obtain_model", lambda *given: loads.append(1) or obtain(*given))
    server = ModelServer(settings(model_folder))
    server.begin()

    async def scenario() -> None:
        await server.start()
        (served,) = await server.predict([item()])
        assert served.output["verdict"] == "positive"
        assert await server.stop(5)

    asyncio.run(scenario())
    assert loads == [1]


def test_a_model_that_was_loaded_early_goes_when_it_is_swapped_out(model_folder):
    server = ModelServer(settings(model_folder))
    server.begin()

    async def scenario() -> weakref.ref[Any]:
        await server.start()
        first = weakref.ref(server.predictor)
        assert await server._swap(load_checked(server.files, server._settings))
        assert await server.stop(5)
        return first

    first = asyncio.run(scenario())
    gc.collect()
    assert first() is None


def test_a_load_that_was_begun_early_fails_where_it_is_awaited(model_folder):
    (model_folder / "keyword" / "words.json").unlink()
    server = ModelServer(settings(model_folder))
    server.begin()
    with pytest.raises(ModelLoadError, match=r"no words\.json"):
        asyncio.run(server.start())
    assert server.state == "failed"


def test_a_model_that_cannot_be_loaded_leaves_the_reason(model_folder):
    (model_folder / "keyword" / "words.json").unlink()
    server = ModelServer(settings(model_folder))
    with pytest.raises(ModelLoadError, match=r"no words\.json"):
        asyncio.run(server.start())
    assert server.state == "failed"
    assert "words.json" in server.reason


def test_wrong_golden_answers_never_become_ready(model_folder):
    manifest = model_folder / "keyword" / "marquee.json"
    manifest.write_text(manifest.read_text("utf-8").replace('"hits": 2', '"hits": 3'), "utf-8")
    server = ModelServer(settings(model_folder))
    with pytest.raises(StartupError, match="golden example"):
        asyncio.run(server.start())
    assert server.state == "failed"


def test_a_prediction_past_its_deadline_is_given_up(model_folder):
    server = ModelServer(settings(model_folder, request_timeout_seconds=0.05))
    release = threading.Event()

    async def scenario() -> None:
        await server.start()
        assert server.predictor is not None

        def slow(batch: Sequence[Any]) -> list[Any]:
            release.wait(10)
            return [{"verdict": "positive", "hits": 1, "score": 1.0} for _ in batch]

        server.predictor.predict = slow  # type: ignore[method-assign]
        with pytest.raises(DeadlineError, match=r"within 0\.05 s"):
            await server.predict([item()])
        release.set()
        await server.stop(5)

    asyncio.run(scenario())


def test_after_stop_nothing_is_taken(model_folder):
    server = ModelServer(settings(model_folder))

    async def scenario() -> None:
        await server.start()
        assert await server.stop(5)
        with pytest.raises(NotReadyError, match="stopping"):
            await server.predict([item()])

    asyncio.run(scenario())
    assert server.state == "stopping"
