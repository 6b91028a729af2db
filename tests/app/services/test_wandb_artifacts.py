"""What arrives from W&B: spoilt bytes, manifests that lie, names that leave the folder."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.core import errors
from app.services import wandb_artifacts
from app.services.artifact import manifest_digest
from app.services.registry import obtain_model
from tests.app.services.pulling import FILES, PATH, SettingsOf, content, refused
from tests.wandb_server import WandbServer


@pytest.mark.usefixtures("quick_client")
@pytest.mark.parametrize("effect", ["corrupt", "shorten"])
def test_spoilt_bytes_are_healed_once_and_named_twice(
    model: WandbServer, pull_settings: SettingsOf, effect: str, tmp_path: Path, log_lines: list[str]
) -> None:
    model.set_fault("download", path="model.bin", times=1, **{effect: True})
    assert content(obtain_model(pull_settings()).path) == FILES
    assert sum("did not arrive whole" in line for line in log_lines) == 1
    model.publish(PATH, {"model.bin": b"other bytes, cut or not"})
    model.set_fault("download", path="model.bin", **{effect: True})
    refused(
        pull_settings(),
        errors.DigestMismatchError,
        f"{PATH}:v1 did not arrive whole",
        "model.bin has the digest",
    )
    assert sorted(path.name for path in (tmp_path / "models" / "sentiment").iterdir()) == ["v0", "v0.json"]


@pytest.mark.usefixtures("quick_client")
def test_a_damaged_cache_of_the_client_does_no_harm(
    model: WandbServer, pull_settings: SettingsOf, tmp_path: Path
) -> None:
    import wandb

    api = wandb.Api(api_key=model.api_key, overrides={"base_url": model.url})
    api.artifact(f"{PATH}:v0").download(root=str(tmp_path / "by the client"))
    for path in Path(os.environ["WANDB_CACHE_DIR"]).rglob("*"):
        if path.is_file() and path.read_bytes() == FILES["model.bin"]:
            path.write_bytes(b"damaged")
    assert content(obtain_model(pull_settings()).path) == FILES


@pytest.mark.usefixtures("quick_client")
def test_a_connection_that_breaks_once_is_taken_up_again(
    model: WandbServer, pull_settings: SettingsOf
) -> None:
    model.set_fault("download", path="model.bin", cut=True, times=1)
    assert content(obtain_model(pull_settings()).path) == FILES


@pytest.mark.usefixtures("quick_client")
@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("references", {"ref": "s3://bucket/model.bin"}, "refers to s3://bucket/model.bin"),
        ("/etc/marquee", {}, "leaves the model's folder"),
        ("../outside", {}, "leaves the model's folder"),
        ("a/../../outside", {}, "leaves the model's folder"),
        ("..\\outside", {}, "leaves the model's folder"),
        ("a//b", {}, "leaves the model's folder"),
    ],
)
def test_references_and_names_that_leave_the_folder_are_refused(
    wandb_server: WandbServer, pull_settings: SettingsOf, name: str, change: dict[str, Any], words: str
) -> None:
    store = wandb_server._backend.store
    made = wandb_server.publish(PATH, {name: b"bytes"})
    manifest = json.loads(store.blobs.read(made.manifest or ""))
    manifest["contents"][name] |= change
    store.blobs.write(made.manifest or "", json.dumps(manifest).encode())
    refused(pull_settings(), errors.ArtifactContentError, f"{PATH}:v0", words)
    assert wandb_server.calls("download") == []


@pytest.mark.usefixtures("quick_client")
def test_a_manifest_that_lies_is_refused(model: WandbServer, pull_settings: SettingsOf) -> None:
    store = model._backend.store
    made = model.publish(PATH, {"model.bin": b"right", "more.bin": b"more"})
    manifest = json.loads(store.blobs.read(made.manifest or ""))
    del manifest["contents"]["more.bin"]
    store.blobs.write(made.manifest or "", json.dumps(manifest).encode())
    refused(pull_settings(), errors.DigestMismatchError, f"the manifest of {PATH}:v1 had the digest")


@pytest.mark.usefixtures("quick_client")
def test_a_full_disk_is_seen_before_the_download(
    model: WandbServer, pull_settings: SettingsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(total=1 << 40, used=1 << 40, free=1 << 20)
    monkeypatch.setattr(wandb_artifacts.shutil, "disk_usage", lambda _: free)
    refused(pull_settings(), errors.StorageError, f"{PATH}:v0 needs", "1.0 MiB free", "make room")
    assert model.calls("download") == []


@pytest.mark.usefixtures("quick_client")
@pytest.mark.parametrize("right", [True, False])
def test_files_with_the_newer_kind_of_digest_are_verified_by_the_client(
    wandb_server: WandbServer, pull_settings: SettingsOf, tmp_path: Path, right: bool
) -> None:
    from wandb.sdk.lib.hashutil import xxh128_string

    store = wandb_server._backend.store
    made = wandb_server.publish(PATH, {"model.bin": b"bytes"})
    manifest = json.loads(store.blobs.read(made.manifest or ""))
    digest = xxh128_string("bytes" if right else "other")
    manifest["contents"]["model.bin"] |= {"digest": digest, "extra": {"alg": "XXH128"}}
    store.blobs.write(made.manifest or "", json.dumps(manifest).encode())
    store.artifacts[made.id].digest = manifest_digest({"model.bin": digest})
    if not right:
        refused(pull_settings(), errors.DigestMismatchError, "model.bin")
        return
    pulled = obtain_model(pull_settings())
    assert pulled.model.digest == store.artifacts[made.id].digest
    assert content(pulled.path) == {"model.bin": b"bytes"}
    assert obtain_model(pull_settings(model_version="v0", wandb_api_key=None)) == pulled
