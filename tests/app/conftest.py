"""An app with a small model, and a client for it, without sockets."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from loguru import Record

    from app.core.config import Settings
    from tests.app.api.client import AppClient

NUMBERS = "tests.app.api.predictors:NumbersPredictor"


@pytest.fixture
def make_settings(tmp_path: Path) -> "Callable[..., Settings]":
    """`make_settings(max_texts=2)`: settings for the words model in an empty folder, whatever the environment says."""
    from app.core.config import Settings

    def make(**changes: Any) -> Settings:
        folder = tmp_path / "models" / "words"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "words.txt").write_text("good\n")
        values: dict[str, Any] = {
            "model_source": "local",
            "local_model_dir": tmp_path / "models",
            "local_model_name": "words",
            "model_loader": "tests.app.api.predictors:WordsPredictor",
            "state_dir": tmp_path / "state",
            "inference_log": False,
        }
        return Settings(_env_file=None, **(values | changes))

    return make


@pytest.fixture
def make_client(make_settings: "Callable[..., Settings]") -> "Iterator[Callable[..., AppClient]]":
    """`make_client(max_texts=2)`: a client of a started app. What the app raises reaches the test."""
    from app.main import create_app
    from tests.app.api.client import AppClient

    with ExitStack() as stack:

        def make(**changes: Any) -> AppClient:
            return stack.enter_context(AppClient(create_app(make_settings(**changes))))

        yield make


@pytest.fixture
def client(make_client: "Callable[..., AppClient]") -> "AppClient":
    """A client of an app with default settings and the words model."""
    return make_client()


@pytest.fixture
def gate() -> "Iterator[Any]":
    """Texts with the word *wait* are answered when this event is set; it is at the test's end."""
    from tests.app.api.predictors import WordsPredictor

    WordsPredictor.gate.clear()
    yield WordsPredictor.gate
    WordsPredictor.gate.set()


@pytest.fixture
def log_records() -> "Iterator[list[Record]]":
    """What is logged during the test."""
    from loguru import logger

    records: list[Record] = []
    sink = logger.add(lambda message: records.append(message.record), level="DEBUG", format="{message}")
    yield records
    logger.remove(sink)
