"""What the tests of the registry share: the model that they pull, and how they look at a refusal."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.core import errors
from app.core.config import Settings
from app.services.registry import obtain_model

PATH = "acme/reviews/sentiment"
FILES = {"model.bin": bytes(range(256)) * 40, "vocab/words.txt": b"good\nbad\n"}

SettingsOf = Callable[..., Settings]


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def refused(settings: Settings, kind: type[errors.StartupError], *words: str) -> str:
    """The message of a start that must fail with exactly this class, in one line and without the key."""
    with pytest.raises(errors.StartupError) as caught:
        obtain_model(settings)
    message = str(caught.value)
    assert type(caught.value) is kind, message
    for word in words:
        assert word in message
    assert "\n" not in message
    assert settings.wandb_api_key is None or settings.wandb_api_key.get_secret_value() not in message
    return message


def leftovers(tmp_path: Path) -> list[Path]:
    """Temporary folders that should be gone."""
    return [path for path in tmp_path.rglob(".*") if path.name.endswith(".partial")]
