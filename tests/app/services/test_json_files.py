"""JSON files whose author is not to be trusted."""

import pytest

from app.core.errors import ModelLoadError
from app.services import json_files
from app.services.artifact import MANIFEST_NAME, read_manifest
from app.services.json_files import read_json
from app.services.outputs import read_config


def test_what_is_there_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1]}')
    assert read_json(tmp_path / "a.json") == {"a": [1]}


@pytest.mark.parametrize(
    "content", [b"{", b"\xff", b"", b"[" * 200_000], ids=["cut", "bytes", "empty", "deep"]
)
@pytest.mark.parametrize(
    ("name", "read"),
    [(MANIFEST_NAME, read_manifest), ("config.json", read_config)],
    ids=["manifest", "config"],
)
def test_a_file_that_cannot_be_read_is_one_plain_refusal(tmp_path, name, read, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelLoadError, match=name) as caught:
        read(tmp_path)
    assert len(str(caught.value)) < 300


def test_a_file_larger_than_any_description_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "_MOST_BYTES", 1 << 20)
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate((1 << 20) + 1)
    with pytest.raises(ModelLoadError, match="config.json is larger than 1 MiB"):
        read_config(tmp_path)
