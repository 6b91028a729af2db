"""What went wrong for others, tried here. Each test is named for its row in docs/reliability.md."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.app.conftest import client, gate, log_records, make_client, make_settings
from tests.app.services.conftest import client_here, model, pull_settings, quick_client

if TYPE_CHECKING:
    from tests.app.api.client import AppClient

__all__ = [
    "client",
    "client_here",
    "gate",
    "log_records",
    "make_client",
    "make_settings",
    "model",
    "pull_settings",
    "quick_client",
]


@pytest.fixture
def serve_folder(tmp_path: Path) -> "Iterator[Callable[..., AppClient]]":
    """`serve_folder(folder, "joblib")`: a client of an app with that model; its digest is given where one is needed."""
    from app.core.config import Settings
    from app.core.errors import ConfigurationError
    from app.main import create_app
    from app.services.registry import obtain_model
    from tests.app.api.client import AppClient

    with ExitStack() as stack:

        def serve(folder: Path, loader: str = "auto", **changes: Any) -> AppClient:
            values: dict[str, Any] = {
                "model_source": "local",
                "local_model_dir": folder.parent,
                "local_model_name": folder.name,
                "model_loader": loader,
                "state_dir": tmp_path / "state",
                "inference_log": False,
                "inference_threads": 1,
                **changes,
            }
            try:
                obtain_model(Settings(_env_file=None, **values))
            except ConfigurationError as error:
                values["model_digest"] = str(error).rpartition("=")[2]
            return stack.enter_context(AppClient(create_app(Settings(_env_file=None, **values))))

        yield serve
