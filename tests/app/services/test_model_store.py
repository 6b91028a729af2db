"""Copies on disk: damaged ones, those of another project, many processes at once."""

import threading
from pathlib import Path

import pytest

from app.core import errors
from app.services.artifact import ModelFiles
from app.services.registry import obtain_model
from tests.app.services.pulling import FILES, SettingsOf, content, leftovers
from tests.wandb_server import WandbServer


@pytest.mark.usefixtures("quick_client")
@pytest.mark.parametrize(
    "harm", ["bytes", "missing", "extra", "link", "hard link", "linked folder", "record"]
)
def test_a_damaged_copy_is_downloaded_again(
    model: WandbServer, pull_settings: SettingsOf, harm: str, tmp_path: Path, log_lines: list[str]
) -> None:
    folder = obtain_model(pull_settings()).path
    if harm == "bytes":
        (folder / "model.bin").write_bytes(FILES["model.bin"][:-1] + b"!")
    elif harm == "missing":
        (folder / "model.bin").unlink()
    elif harm == "extra":
        (folder / "vocab" / "more.txt").touch()
    elif harm == "link":
        (folder / "model.bin").rename(tmp_path / "elsewhere")
        (folder / "model.bin").symlink_to(tmp_path / "elsewhere")
    elif harm == "hard link":
        (tmp_path / "elsewhere").hardlink_to(folder / "model.bin")
    elif harm == "linked folder":
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        (folder.parent / "v0.json").write_text("{")
    with pytest.raises(errors.UnreachableError):
        obtain_model(pull_settings(model_version="v0", wandb_base_url="http://127.0.0.1:9"))
    pulled = obtain_model(pull_settings(model_version="latest" if harm == "bytes" else "v0"))
    assert (pulled.path, content(pulled.path)) == (folder, FILES)
    assert not folder.is_symlink()
    assert any("damaged" in line for line in log_lines) is (harm == "bytes")
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("quick_client")
def test_a_copy_serves_only_the_project_and_server_it_was_pulled_from(
    model: WandbServer, pull_settings: SettingsOf
) -> None:
    obtain_model(pull_settings(model_version="v0"))
    model.publish("acme/other/sentiment", {"model.bin": b"another project's"})
    pulled = obtain_model(pull_settings(project_name="other", model_version="v0"))
    assert (content(pulled.path), pulled.artifact) == (
        {"model.bin": b"another project's"},
        "acme/other/sentiment:v0",
    )


@pytest.mark.usefixtures("quick_client")
def test_many_at_once_get_one_whole_copy(
    model: WandbServer, pull_settings: SettingsOf, tmp_path: Path
) -> None:
    model.set_fault("download", path="model.bin", delay=0.2)
    pulled: list[ModelFiles] = []
    threads = [
        threading.Thread(target=lambda: pulled.append(obtain_model(pull_settings()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(pulled) == 4
    assert {files.path for files in pulled} == {tmp_path / "models" / "sentiment" / "v0"}
    assert content(pulled[0].path) == FILES
    assert leftovers(tmp_path) == []


# What is refused, and how
