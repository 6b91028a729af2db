"""The registry through the real client against the loopback W&B: what is served, and how each failure reads."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loguru import logger

from app.core import errors
from app.core.config import EMBEDDED_MODEL_DIR, Settings
from app.services import registry, wandb_artifacts, wandb_client
from app.services.artifact import MANIFEST_NAME, Manifest, ModelFiles, model_digest
from app.services.registry import obtain_model, record_use, resolve_version
from tests.fixtures_wandb import ClientAs
from tests.wandb_server import WandbServer, client_environment

PATH = "acme/reviews/sentiment"
FILES = {"model.bin": bytes(range(256)) * 40, "vocab/words.txt": b"good\nbad\n"}
ROOT = Path(__file__).resolve().parents[3]

SettingsOf = Callable[..., Settings]


@pytest.fixture
def settings(wandb_server: WandbServer, tmp_path: Path) -> SettingsOf:
    """`settings(model_version="v0")`: the configuration of a server that pulls from the loopback W&B."""
    usual: dict[str, Any] = {
        "project_name": "reviews",
        "wandb_entity": "acme",
        "wandb_api_key": wandb_server.api_key,
        "wandb_base_url": wandb_server.url,
        "local_model_dir": tmp_path / "models",
        "state_dir": tmp_path / "state",
        "registry_timeout_seconds": 100,
    }
    return lambda **other: Settings(_env_file=None, **{**usual, **other})


@pytest.fixture(scope="module")
def client_here(
    wandb_server_process: WandbServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The real client with all its folders in a temporary one, started once in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name, value in client_environment(wandb_server_process, tmp_path_factory.mktemp("wandb")).items():
            patch.setenv(name, value)
        import wandb

        wandb.teardown()
        yield
        with contextlib.suppress(Exception):
            wandb.teardown()


@pytest.fixture
def quick(client_here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the client answer in this process: the same code without the start of a process for each test."""

    def call(request: dict[str, Any], *, deadline: float, **_: Any) -> dict[str, Any]:
        seconds = min(deadline - time.monotonic(), 4)
        return json.loads(json.dumps(wandb_artifacts.answer({**request, "seconds": seconds}, lambda _: None)))

    monkeypatch.setattr(registry, "call_client", call)


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """The lines that the code under test logs."""
    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message}")
    yield lines
    logger.remove(sink)


@pytest.fixture
def model(wandb_server: WandbServer) -> WandbServer:
    """A W&B that has one version of the model."""
    wandb_server.publish(PATH, FILES, aliases=("production",))
    return wandb_server


def content(folder: Path) -> dict[str, bytes]:
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
    return [path for path in tmp_path.rglob(".*") if path.name.endswith(".partial")]


# What is served


@pytest.mark.usefixtures("quick")
def test_a_version_is_pulled_verified_and_described(
    model: WandbServer, settings: SettingsOf, tmp_path: Path
) -> None:
    manifest = tmp_path / "source"
    manifest.mkdir()
    Manifest(labels=("negative", "positive")).write(manifest)
    files = {**FILES, MANIFEST_NAME: (manifest / MANIFEST_NAME).read_bytes()}
    published = model.publish(PATH, files)
    pulled = obtain_model(settings())
    assert pulled.path == tmp_path / "models" / "sentiment" / "v1"
    assert content(pulled.path) == files
    assert (pulled.model.name, pulled.model.version, pulled.source) == ("sentiment", "v1", "wandb")
    assert pulled.artifact == f"{PATH}:v1"
    assert pulled.manifest.labels == ("negative", "positive")
    assert pulled.has_manifest
    assert pulled.model.digest == published.digest == model_digest(pulled.path)
    assert pulled.path.stat().st_mode & 0o055 == 0o055 & ~_umask()
    assert leftovers(tmp_path) == []
    assert resolve_version(settings(model_version="production")) == registry.ResolvedVersion(
        f"{PATH}:v0", "v0", model.artifact(f"{PATH}:v0").digest
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.usefixtures("quick")
def test_a_model_that_the_client_logged_has_the_same_digest_on_disk(
    wandb_server: WandbServer, settings: SettingsOf, tmp_path: Path
) -> None:
    import wandb

    folder = tmp_path / "trained"
    (folder / "deep" / "er").mkdir(parents=True)
    for number, name in enumerate(["model.bin", "deep/Z.txt", "deep/er/é ü.txt", "deep-2.txt"]):
        (folder / name).write_bytes(os.urandom(number * 1000))
    draft = wandb.Artifact("sentiment", type="model")
    draft.add_dir(str(folder))
    assert model_digest(folder) == draft.digest
    wandb_server.publish(PATH, content(folder))
    pulled = obtain_model(settings())
    assert pulled.model.digest == draft.digest == model_digest(pulled.path)
    assert content(pulled.path) == content(folder)


@pytest.mark.usefixtures("quick")
def test_a_registry_path_serves_what_was_linked(model: WandbServer, settings: SettingsOf) -> None:
    model.publish("acme/reviews/trained", {"model.bin": b"linked"})
    model.link("acme/reviews/trained:v0", "wandb-registry-model/sentiment:production")
    for entity in (None, "acme", "acme-org"):
        pulled = obtain_model(
            settings(project_name="wandb-registry-model", wandb_entity=entity, model_version="production")
        )
        assert pulled.artifact == "acme-org_ent/wandb-registry-model/sentiment:v0"
        assert content(pulled.path) == {"model.bin": b"linked"}


@pytest.mark.usefixtures("quick")
def test_an_alias_that_moves_brings_another_version_and_keeps_the_last(
    model: WandbServer, settings: SettingsOf, log_lines: list[str]
) -> None:
    first = obtain_model(settings())
    again = obtain_model(settings())
    assert again == first
    assert len(model.calls("download", "model.bin")) == 1, "what is on disk is not downloaded again"
    model.publish(PATH, {"model.bin": b"two"})
    second = obtain_model(settings())
    assert (second.model.version, second.model.digest != first.model.digest) == ("v1", True)
    assert content(first.path) == FILES
    long_ago = time.time() - 7200
    os.utime(first.path.parent / "v0.json", (long_ago, long_ago))
    model.publish(PATH, {"model.bin": b"three"})
    third = obtain_model(settings())
    assert sorted(path.name for path in third.path.parent.iterdir()) == ["v1", "v1.json", "v2", "v2.json"]
    assert any("deleted the older versions v0" in line for line in log_lines)


@pytest.mark.usefixtures("quick")
def test_a_pinned_copy_starts_without_w_and_b(
    model: WandbServer, settings: SettingsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled = obtain_model(settings(model_version="v0"))
    monkeypatch.setattr(registry, "call_client", lambda *_, **__: pytest.fail("W&B was asked"))
    assert obtain_model(settings(model_version="v0", wandb_api_key=None)) == pulled
    assert obtain_model(settings(model_version="v0", model_digest=pulled.model.digest.upper())) == pulled


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("harm", ["bytes", "missing", "extra", "link", "linked folder", "record"])
def test_a_damaged_copy_is_downloaded_again(
    model: WandbServer, settings: SettingsOf, harm: str, tmp_path: Path, log_lines: list[str]
) -> None:
    folder = obtain_model(settings()).path
    if harm == "bytes":
        (folder / "model.bin").write_bytes(FILES["model.bin"][:-1] + b"!")
    elif harm == "missing":
        (folder / "model.bin").unlink()
    elif harm == "extra":
        (folder / "vocab" / "more.txt").touch()
    elif harm == "link":
        (folder / "model.bin").rename(tmp_path / "elsewhere")
        (folder / "model.bin").symlink_to(tmp_path / "elsewhere")
    elif harm == "linked folder":
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        (folder.parent / "v0.json").write_text("{")
    with pytest.raises(errors.UnreachableError):
        obtain_model(settings(model_version="v0", wandb_base_url="http://127.0.0.1:9"))
    pulled = obtain_model(settings(model_version="latest" if harm == "bytes" else "v0"))
    assert (pulled.path, content(pulled.path)) == (folder, FILES)
    assert not folder.is_symlink()
    assert any("damaged" in line for line in log_lines) is (harm == "bytes")
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("quick")
def test_a_copy_serves_only_the_project_and_server_it_was_pulled_from(
    model: WandbServer, settings: SettingsOf
) -> None:
    obtain_model(settings(model_version="v0"))
    model.publish("acme/other/sentiment", {"model.bin": b"another project's"})
    pulled = obtain_model(settings(project_name="other", model_version="v0"))
    assert (content(pulled.path), pulled.artifact) == (
        {"model.bin": b"another project's"},
        "acme/other/sentiment:v0",
    )


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("effect", ["corrupt", "shorten"])
def test_spoilt_bytes_are_healed_once_and_named_twice(
    model: WandbServer, settings: SettingsOf, effect: str, tmp_path: Path, log_lines: list[str]
) -> None:
    model.set_fault("download", path="model.bin", times=1, **{effect: True})
    assert content(obtain_model(settings()).path) == FILES
    assert sum("did not arrive whole" in line for line in log_lines) == 1
    model.publish(PATH, {"model.bin": b"other bytes, cut or not"})
    model.set_fault("download", path="model.bin", **{effect: True})
    refused(
        settings(), errors.DigestMismatchError, f"{PATH}:v1 did not arrive whole", "model.bin has the digest"
    )
    assert sorted(path.name for path in (tmp_path / "models" / "sentiment").iterdir()) == ["v0", "v0.json"]


@pytest.mark.usefixtures("quick")
def test_a_damaged_cache_of_the_client_does_no_harm(
    model: WandbServer, settings: SettingsOf, tmp_path: Path
) -> None:
    import wandb

    api = wandb.Api(api_key=model.api_key, overrides={"base_url": model.url})
    api.artifact(f"{PATH}:v0").download(root=str(tmp_path / "by the client"))
    for path in Path(os.environ["WANDB_CACHE_DIR"]).rglob("*"):
        if path.is_file() and path.read_bytes() == FILES["model.bin"]:
            path.write_bytes(b"damaged")
    assert content(obtain_model(settings()).path) == FILES


@pytest.mark.usefixtures("quick")
def test_a_connection_that_breaks_once_is_taken_up_again(model: WandbServer, settings: SettingsOf) -> None:
    model.set_fault("download", path="model.bin", cut=True, times=1)
    assert content(obtain_model(settings()).path) == FILES


@pytest.mark.usefixtures("quick")
def test_many_at_once_get_one_whole_copy(model: WandbServer, settings: SettingsOf, tmp_path: Path) -> None:
    model.set_fault("download", path="model.bin", delay=0.2)
    pulled: list[ModelFiles] = []
    threads = [threading.Thread(target=lambda: pulled.append(obtain_model(settings()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(pulled) == 4
    assert {files.path for files in pulled} == {tmp_path / "models" / "sentiment" / "v0"}
    assert content(pulled[0].path) == FILES
    assert leftovers(tmp_path) == []


# What is refused, and how


@pytest.mark.usefixtures("quick")
def test_failures_are_told_apart(model: WandbServer, settings: SettingsOf, tmp_path: Path) -> None:
    model.publish("acme/reviews/table", {"rows.csv": b"1"}, artifact_type="dataset")
    refused(
        settings(wandb_api_key=None), errors.MissingKeyError, "WANDB_API_KEY is not set", f"{PATH}:latest"
    )
    refused(settings(wandb_api_key="wrong" * 8), errors.WrongKeyError, "refused WANDB_API_KEY (401)")
    refused(settings(wandb_api_key="short"), errors.WrongKeyError, "WANDB_API_KEY is no W&B key", "has 5")
    refused(settings(wandb_api_key="forty!ch" * 5), errors.WrongKeyError, "may only contain")
    refused(settings(project_name="nope"), errors.ProjectNotFoundError, "project 'nope'", "PROJECT_NAME")
    refused(settings(wandb_entity="nobody"), errors.ProjectNotFoundError, "entity 'nobody'", "WANDB_ENTITY")
    refused(
        settings(project_name="wandb-registry-model", wandb_entity="nobody"),
        errors.ProjectNotFoundError,
        "Unable to find organization",
    )
    refused(
        settings(local_model_name="nope"),
        errors.ArtifactNotFoundError,
        "acme/reviews has no artifact 'nope' (models there: sentiment)",
        "LOCAL_MODEL_NAME",
    )
    refused(
        settings(model_version="staging"),
        errors.ArtifactNotFoundError,
        f"{PATH} has no alias or version 'staging' (aliases: latest, production)",
        "MODEL_VERSION",
    )
    refused(settings(local_model_name="table"), errors.ArtifactTypeError, "is an artifact of type 'dataset'")
    refused(
        settings(local_model_name="table", model_version="v9"),
        errors.ArtifactNotFoundError,
        "no alias or version 'v9' (aliases: latest)",
    )
    refused(settings(model_source="wandb", project_name=None), errors.ConfigurationError, "PROJECT_NAME")
    refused(settings(project_name="acme/reviews"), errors.ConfigurationError, "WANDB_ENTITY")
    refused(settings(wandb_base_url="ftp://x"), errors.ConfigurationError, "WANDB_BASE_URL must begin")
    refused(settings(wandb_base_url="http://"), errors.ConfigurationError, "WANDB_BASE_URL")
    assert list((tmp_path / "models").rglob("*.json")) == []


@pytest.mark.usefixtures("quick")
def test_a_registry_collection_that_is_missing_is_named(model: WandbServer, settings: SettingsOf) -> None:
    model.link(f"{PATH}:v0", "wandb-registry-model/sentiment:production")
    there = {"project_name": "wandb-registry-model", "wandb_entity": None}
    refused(
        settings(**there, model_version="staging"),
        errors.ArtifactNotFoundError,
        "wandb-registry-model/sentiment has no alias or version 'staging' (aliases: latest, production)",
    )
    refused(
        settings(**there, local_model_name="nope"),
        errors.ArtifactNotFoundError,
        "wandb-registry-model has no artifact 'nope'",
    )


@pytest.mark.usefixtures("quick")
def test_a_version_that_is_not_committed_is_not_served(model: WandbServer, settings: SettingsOf) -> None:
    model.set_artifact_state(f"{PATH}:v0", "PENDING")
    refused(settings(), errors.NotCommittedError, f"{PATH}:latest is not committed")
    model.set_artifact_state(f"{PATH}:v0", "DELETED")
    refused(settings(), errors.ArtifactNotFoundError, "(aliases: none: it is empty")


@pytest.mark.usefixtures("quick")
def test_a_server_that_does_not_answer_is_not_called_a_wrong_key(
    model: WandbServer, settings: SettingsOf
) -> None:
    down = settings(wandb_base_url="http://127.0.0.1:9")
    refused(down, errors.UnreachableError, "http://127.0.0.1:9 cannot be reached (connection refused)")
    model.set_fault("graphql", operation="Viewer", status=503)
    refused(settings(), errors.UnreachableError, f"{model.url} cannot be reached (it answers 503)")
    model.clear_faults()
    model.set_fault("graphql", operation="Viewer", status=404)
    refused(settings(), errors.UnreachableError, "answered 404: check that WANDB_BASE_URL is a W&B server")
    model.clear_faults()
    model.set_fault("graphql", operation="ArtifactMembershipByName", hang=True)
    refused(settings(), errors.UnreachableError, "it answers 200, but did not answer the client in time")


@pytest.mark.usefixtures("quick")
def test_what_the_key_may_not_do_is_called_permission(model: WandbServer, settings: SettingsOf) -> None:
    for fault in (
        {"kind": "graphql", "operation": "Viewer", "status": 403},
        {"kind": "graphql", "operation": "ArtifactMembershipByName", "status": 403},
        {
            "kind": "graphql",
            "operation": "ArtifactMembershipByName",
            "status": 200,
            "message": "permission denied",
        },
        {"kind": "graphql", "operation": "GetArtifactMembershipFileUrls", "status": 403},
        {"kind": "manifest", "status": 403},
        {"kind": "download", "path": "model.bin", "status": 403},
    ):
        model.set_fault(**fault)
        refused(settings(), errors.PermissionDeniedError, "denied access to", "invited to the project")
        model.clear_faults()
    model.set_fault("graphql", operation="ArtifactMembershipByName", status=401)
    refused(settings(), errors.WrongKeyError, "(401)")
    model.clear_faults()
    model.set_fault("graphql", operation="ArtifactMembershipByName", status=200, message="over\nquota")
    refused(settings(), errors.RegistryError, f"refused {PATH}:latest: over quota")


@pytest.mark.usefixtures("quick")
def test_files_that_are_gone_or_break_off_are_told_apart(model: WandbServer, settings: SettingsOf) -> None:
    model.set_fault("download", path="model.bin", status=404)
    refused(settings(), errors.ArtifactNotFoundError, f"does not have the files of {PATH}:v0 (404)")
    model.clear_faults()
    model.set_fault("download", path="model.bin", cut=True)
    refused(settings(), errors.UnreachableError, f"{PATH}:v0 could not be downloaded", "broke off, twice")
    model.clear_faults()
    model.set_fault("manifest", cut=True)
    refused(settings(), errors.UnreachableError, f"the manifest of {PATH}:v0 could not be downloaded")
    model.clear_faults()
    model.set_fault("manifest", corrupt=True, times=1)
    assert content(obtain_model(settings()).path) == FILES
    model.publish(PATH, {"model.bin": b"two"})
    model.set_fault("manifest", shorten=True)
    refused(settings(), errors.DigestMismatchError, f"the manifest of {PATH}:v1 could not be read, twice")


@pytest.mark.usefixtures("quick")
def test_another_digest_than_the_wanted_one_is_refused_before_the_download(
    model: WandbServer, settings: SettingsOf, log_lines: list[str]
) -> None:
    digest, other = model.artifact(f"{PATH}:v0").digest, "0" * 32
    refused(
        settings(model_digest=other), errors.DigestMismatchError, digest, f"MODEL_DIGEST asks for {other}"
    )
    assert model.calls("download") == []
    obtain_model(settings(model_digest=digest, model_version="v0"))
    refused(
        settings(model_digest=other, model_version="v0"), errors.DigestMismatchError, "correct MODEL_DIGEST"
    )
    assert any("has another digest than MODEL_DIGEST" in line for line in log_lines)


@pytest.mark.usefixtures("quick")
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
    wandb_server: WandbServer, settings: SettingsOf, name: str, change: dict[str, Any], words: str
) -> None:
    store = wandb_server._backend.store
    made = wandb_server.publish(PATH, {name: b"bytes"})
    manifest = json.loads(store.blobs.read(made.manifest or ""))
    manifest["contents"][name] |= change
    store.blobs.write(made.manifest or "", json.dumps(manifest).encode())
    refused(settings(), errors.ArtifactContentError, f"{PATH}:v0", words)
    assert wandb_server.calls("download") == []


@pytest.mark.usefixtures("quick")
def test_a_manifest_that_lies_is_refused(model: WandbServer, settings: SettingsOf) -> None:
    store = model._backend.store
    made = model.publish(PATH, {"model.bin": b"right", "more.bin": b"more"})
    manifest = json.loads(store.blobs.read(made.manifest or ""))
    del manifest["contents"]["more.bin"]
    store.blobs.write(made.manifest or "", json.dumps(manifest).encode())
    refused(settings(), errors.DigestMismatchError, f"the manifest of {PATH}:v1 had the digest")


@pytest.mark.usefixtures("quick")
def test_a_full_disk_is_seen_before_the_download(
    model: WandbServer, settings: SettingsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(total=1 << 40, used=1 << 40, free=1 << 20)
    monkeypatch.setattr(wandb_artifacts.shutil, "disk_usage", lambda _: free)
    refused(settings(), errors.StorageError, f"{PATH}:v0 needs", "1.0 MiB free", "make room")
    assert model.calls("download") == []


def test_a_folder_that_cannot_be_written_is_named_before_w_and_b_is_asked(
    model: WandbServer, settings: SettingsOf, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for variable in ("state_dir", "local_model_dir"):
        message = refused(
            settings(**{variable: tmp_path / "file" / "x"}), errors.StorageError, variable.upper()
        )
        assert "cannot be written" in message
    assert model.calls() == []


def test_the_embedded_model_cannot_be_overwritten(model: WandbServer, settings: SettingsOf) -> None:
    inside = EMBEDDED_MODEL_DIR
    for local in (
        {"local_model_dir": inside.parent, "local_model_name": inside.name},
        {"local_model_dir": inside, "local_model_name": "sentiment"},
    ):
        refused(settings(**local), errors.ConfigurationError, "embedded model")
    assert model.calls() == []


# Without the registry


def test_a_local_model_is_a_folder_or_a_file(settings: SettingsOf, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"bytes")
    (folder.parent / "tree.pkl").write_bytes(b"pickle")
    here = obtain_model(settings(model_source="local", local_model_name="mine"))
    assert (here.path, here.source, here.model.name, here.model.version) == (folder, "local", "mine", "local")
    assert here.model.digest == model_digest(folder)
    assert (here.has_manifest, here.artifact) == (False, None)
    file = obtain_model(settings(model_source="local", local_model_name="tree.pkl"))
    assert (file.path, file.model.name) == (folder.parent / "tree.pkl", "tree")
    refused(
        settings(model_source="local", local_model_name="mine", model_digest="0" * 32),
        errors.DigestMismatchError,
        here.model.digest,
        "MODEL_DIGEST",
    )
    refused(
        settings(model_source="local", local_model_name="nope"), errors.StorageError, "does not exist", "nope"
    )


@pytest.mark.usefixtures("quick")
def test_a_folder_of_pulled_versions_is_no_local_model(model: WandbServer, settings: SettingsOf) -> None:
    obtain_model(settings())
    message = refused(settings(model_source="local"), errors.StorageError, "holds pulled versions (v0)")
    assert "MODEL_VERSION=v0" in message
    assert obtain_model(settings(model_version="v0", wandb_api_key=None)).model.version == "v0"


def test_the_embedded_model_is_served_when_nothing_is_configured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log_lines: list[str]
) -> None:
    (tmp_path / "model.bin").write_bytes(b"bytes")
    monkeypatch.setattr(registry, "EMBEDDED_MODEL_DIR", tmp_path)
    files = obtain_model(Settings(_env_file=None))
    assert (files.path, files.source, files.model.version) == (tmp_path, "embedded", "embedded")
    assert files.model.digest == model_digest(tmp_path)
    assert log_lines == ["INFO serving the embedded model: no PROJECT_NAME is set\n"]
    monkeypatch.setattr(registry, "EMBEDDED_MODEL_DIR", tmp_path / "gone")
    refused(Settings(_env_file=None), errors.StorageError, "the embedded model is missing")


# Lineage


@pytest.mark.usefixtures("quick")
def test_the_use_of_a_model_is_recorded_and_never_in_the_way(
    model: WandbServer, settings: SettingsOf, wandb_as: ClientAs, log_lines: list[str]
) -> None:
    files = obtain_model(settings())
    model.link(f"{PATH}:v0", "wandb-registry-model/sentiment")
    linked = obtain_model(settings(project_name="wandb-registry-model"))
    with wandb_as("server") as wandb:
        run = wandb.init(project="serving", job_type="inferences")
        assert record_use(files, run)
        assert record_use(linked, run)
        model.set_fault("graphql", operation="ArtifactMembershipByName", status=403)
        assert not record_use(files, run)
        assert any("did not record the use" in line for line in log_lines)
        run.finish()
    assert model.lineage(run.id).used == (f"{PATH}:v0",)
    assert not record_use(files, None)
    stuck = SimpleNamespace(use_artifact=lambda *_, **__: threading.Event().wait(5))
    started = time.monotonic()
    assert not record_use(files, stuck, timeout=0.1)
    assert time.monotonic() - started < 2


# The process of its own


@pytest.mark.timeout(300)
def test_the_client_runs_in_a_process_of_its_own(
    model: WandbServer, settings: SettingsOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nonexistent")
    environment = {
        **os.environ,
        "PROJECT_NAME": "reviews",
        "WANDB_ENTITY": "acme",
        "WANDB_API_KEY": model.api_key,
        "WANDB_BASE_URL": model.url,
        "STATE_DIR": str(tmp_path / "state"),
        "LOCAL_MODEL_DIR": str(tmp_path / "models"),
        "REGISTRY_TIMEOUT_SECONDS": "100",
        "PYTHONPATH": str(ROOT),
    }
    code = (
        "import sys; from app.core.config import load_settings; from app.services.registry import obtain_model\n"
        "print(obtain_model(load_settings()).artifact, 'wandb' in sys.modules)"
    )

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    started = run("-c", code)
    assert started.stdout == f"{PATH}:v0 False\n", started.stderr
    assert content(tmp_path / "models" / "sentiment" / "v0") == FILES
    assert list((tmp_path / "state").iterdir()) == [], "the client's folders are gone"
    environment["MODEL_VERSION"] = "production"
    resolved = run("-m", "app.services.registry")
    assert json.loads(resolved.stdout) == {
        "artifact": f"{PATH}:v0",
        "version": "v0",
        "digest": model.artifact(f"{PATH}:v0").digest,
    }
    environment["WANDB_API_KEY"] = ""
    failed = run("-m", "app.services.registry")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("WANDB_API_KEY is not set")
    assert failed.stderr.count("\n") == 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["deadline", "cancelled"])
def test_a_stalled_download_ends(
    model: WandbServer, settings: SettingsOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    fault = model.set_fault("download", path="model.bin", stall=True)
    cancelled = threading.Event()
    processes: list[Any] = []
    real = subprocess.Popen
    monkeypatch.setattr(
        wandb_client.subprocess, "Popen", lambda *a, **k: processes.append(real(*a, **k)) or processes[-1]
    )

    def late() -> float:
        # The deadline comes, or the service stops, once the download has stalled.
        if fault.hits and how == "cancelled":
            cancelled.set()
        return time.monotonic() + (1000 if fault.hits and how == "deadline" else 0)

    monkeypatch.setattr(wandb_client, "time", SimpleNamespace(monotonic=late))
    words = "did not end in time" if how == "deadline" else "was given up, since the service is stopping"
    with pytest.raises(errors.UnreachableError, match=f"downloading {PATH}:v0 .* {words}"):
        obtain_model(settings(), cancelled)
    (process,) = processes
    assert process.returncode is not None
    assert leftovers(tmp_path) == []


def test_a_client_that_dies_is_named_without_the_key(
    settings: SettingsOf, monkeypatch: pytest.MonkeyPatch, model: WandbServer
) -> None:
    script = f"import sys; sys.exit('out of luck with {model.api_key}')"
    real = subprocess.Popen
    monkeypatch.setattr(
        wandb_client.subprocess, "Popen", lambda _, **options: real([sys.executable, "-c", script], **options)
    )
    refused(settings(), errors.RegistryError, "ended before it answered (exit code 1): out of luck with ***")
