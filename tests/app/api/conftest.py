"""An app with a small model, and a client for it, without sockets."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.core.config import Settings
from app.main import create_app
from tests.app.api.client import AppClient

MakeClient = Callable[..., AppClient]


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """`make_settings(max_texts=2)`: settings for the words model in an empty folder, whatever the environment says."""

    def make(**changes: Any) -> Settings:
        (tmp_path / "models" / "words").mkdir(parents=True, exist_ok=True)
        (tmp_path / "models" / "words" / "words.txt").write_text("good\n")
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
def make_client(make_settings: Callable[..., Settings]) -> Iterator[MakeClient]:
    """`make_client(max_texts=2)`: a client of a started app. What the app raises reaches the test."""
    with ExitStack() as stack:

        def make(**changes: Any) -> AppClient:
            return stack.enter_context(AppClient(create_app(make_settings(**changes))))

        yield make


@pytest.fixture
def client(make_client: MakeClient) -> AppClient:
    """A client of an app with default settings and the words model."""
    return make_client()
