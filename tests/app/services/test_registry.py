"""The registry through the real client against the loopback W&B: what is served, and from where."""

import os
import time
from pathlib import Path

import pytest

from app.core import errors
from app.core.config import EMBEDDED_MODEL_DIR, Settings
from app.services import registry
from app.services.artifact import MANIFEST_NAME, Manifest, model_digest
from app.services.registry import obtain_model, resolve_version
from tests.app.services.pulling import FILES, PATH, SettingsOf, content, leftovers, refused
from tests.wandb_server import WandbServer


@pytest.mark.usefixtures("quick_client")
def test_a_version_is_pulled_verified_and_described(
    model: WandbServer, pull_settings: SettingsOf, tmp_path: Path
) -> None:
    manifest = tmp_path / "source"
    manifest.mkdir()
    Manifest(labels=("negative", "positive")).write(manifest)
    files = {**FILES, MANIFEST_NAME: (manifest / MANIFEST_NAME).read_bytes()}
    published = model.publish(PATH, files)
    pulled = obtain_model(pull_settings())
    assert pulled.path == tmp_path / "models" / "sentiment" / "v1"
    assert content(pulled.path) == files
    assert (pulled.model.name, pulled.model.version, pulled.source) == ("sentiment", "v1", "wandb")
    assert pulled.artifact == f"{PATH}:v1"
    assert pulled.manifest.labels == ("negative", "positive")
    assert pulled.has_manifest
    assert pulled.model.digest == published.digest == model_digest(pulled.path)
    assert pulled.path.stat().st_mode & 0o055 == 0o055 & ~_umask()
    assert leftovers(tmp_path) == []
    assert resolve_version(pull_settings(model_version="production")) == registry.ResolvedVersion(
        f"{PATH}:v0", "v0", model.artifact(f"{PATH}:v0").digest
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.usefixtures("quick_client")
def test_a_model_that_the_client_logged_has_the_same_digest_on_disk(
    wandb_server: WandbServer, pull_settings: SettingsOf, tmp_path: Path
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
    pulled = obtain_model(pull_settings())
    assert pulled.model.digest == draft.digest == model_digest(pulled.path)
    assert content(pulled.path) == content(folder)


@pytest.mark.usefixtures("quick_client")
def test_a_registry_path_serves_what_was_linked(model: WandbServer, pull_settings: SettingsOf) -> None:
    model.publish("acme/reviews/trained", {"model.bin": b"linked"})
    model.link("acme/reviews/trained:v0", "wandb-registry-model/sentiment:production")
    for entity in (None, "acme", "acme-org"):
        pulled = obtain_model(
            pull_settings(
                project_name="wandb-registry-model", wandb_entity=entity, model_version="production"
            )
        )
        assert pulled.artifact == "acme-org_ent/wandb-registry-model/sentiment:v0"
        assert content(pulled.path) == {"model.bin": b"linked"}


@pytest.mark.usefixtures("quick_client")
def test_an_alias_that_moves_brings_another_version_and_keeps_the_last(
    model: WandbServer, pull_settings: SettingsOf, log_lines: list[str]
) -> None:
    first = obtain_model(pull_settings())
    again = obtain_model(pull_settings())
    assert again == first
    assert len(model.calls("download", "model.bin")) == 1, "what is on disk is not downloaded again"
    model.publish(PATH, {"model.bin": b"two"})
    second = obtain_model(pull_settings())
    assert (second.model.version, second.model.digest != first.model.digest) == ("v1", True)
    assert content(first.path) == FILES
    long_ago = time.time() - 7200
    os.utime(first.path.parent / "v0.json", (long_ago, long_ago))
    model.publish(PATH, {"model.bin": b"three"})
    third = obtain_model(pull_settings())
    assert sorted(path.name for path in third.path.parent.iterdir()) == ["v1", "v1.json", "v2", "v2.json"]
    assert any("deleted the older versions v0" in line for line in log_lines)


@pytest.mark.usefixtures("quick_client")
def test_a_pinned_copy_starts_without_w_and_b(
    model: WandbServer, pull_settings: SettingsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled = obtain_model(pull_settings(model_version="v0"))
    monkeypatch.setattr(registry, "call_client", lambda *_, **__: pytest.fail("W&B was asked"))
    assert obtain_model(pull_settings(model_version="v0", wandb_api_key=None)) == pulled
    assert obtain_model(pull_settings(model_version="v0", model_digest=pulled.model.digest.upper())) == pulled


@pytest.mark.usefixtures("quick_client")
def test_a_baked_version_is_only_read_and_others_are_pulled_beside_it(
    model: WandbServer, pull_settings: SettingsOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = model.artifact(f"{PATH}:v0").digest
    monkeypatch.setattr(
        registry,
        "load_settings",
        lambda: pull_settings(model_version="v0", model_digest=digest, local_model_dir=tmp_path / "baked"),
    )
    monkeypatch.setattr("sys.argv", ["registry", "pull"])
    registry.main()
    model.publish(PATH, {**FILES, "more.txt": b"more"})
    asked = len(model.calls())
    baked = {"baked_model_dir": tmp_path / "baked", "model_source": "wandb"}
    pinned = obtain_model(pull_settings(**baked, model_version="v0", model_digest=digest, wandb_api_key=None))
    assert pinned.path == tmp_path / "baked" / "sentiment" / "v0"
    assert len(model.calls()) == asked
    assert not (tmp_path / "models").exists()
    assert (
        obtain_model(pull_settings(**baked, model_version="v1")).path
        == tmp_path / "models" / "sentiment" / "v1"
    )
    refused(
        pull_settings(**baked, model_version="v0", model_digest="0" * 32), errors.DigestMismatchError, digest
    )


@pytest.mark.parametrize("missing", ["model_version", "model_digest"])
def test_only_a_pinned_version_is_pulled_for_later(
    missing: str, pull_settings: SettingsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"model_version": "v0", "model_digest": "0" * 32} | {
        missing: "latest" if missing == "model_version" else None
    }
    monkeypatch.setattr(registry, "load_settings", lambda: pull_settings(**values))
    monkeypatch.setattr("sys.argv", ["registry", "pull"])
    with pytest.raises(SystemExit, match=missing.upper()):
        registry.main()


@pytest.mark.usefixtures("quick_client")
def test_another_digest_than_the_wanted_one_is_refused_before_the_download(
    model: WandbServer, pull_settings: SettingsOf, log_lines: list[str]
) -> None:
    digest, other = model.artifact(f"{PATH}:v0").digest, "0" * 32
    refused(
        pull_settings(model_digest=other),
        errors.DigestMismatchError,
        digest,
        f"MODEL_DIGEST asks for {other}",
    )
    assert model.calls("download") == []
    obtain_model(pull_settings(model_digest=digest, model_version="v0"))
    refused(
        pull_settings(model_digest=other, model_version="v0"),
        errors.DigestMismatchError,
        "correct MODEL_DIGEST",
    )
    assert any("has another digest than MODEL_DIGEST" in line for line in log_lines)


def test_a_folder_that_cannot_be_written_is_named_before_w_and_b_is_asked(
    model: WandbServer, pull_settings: SettingsOf, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for variable in ("state_dir", "local_model_dir"):
        message = refused(
            pull_settings(**{variable: tmp_path / "file" / "x"}), errors.StorageError, variable.upper()
        )
        assert "cannot be written" in message
    assert model.calls() == []


def test_the_embedded_model_cannot_be_overwritten(model: WandbServer, pull_settings: SettingsOf) -> None:
    inside = EMBEDDED_MODEL_DIR
    for local in (
        {"local_model_dir": inside.parent, "local_model_name": inside.name},
        {"local_model_dir": inside, "local_model_name": "sentiment"},
    ):
        refused(pull_settings(**local), errors.ConfigurationError, "embedded model")
    assert model.calls() == []


# Without the registry


def test_a_local_model_is_a_folder_or_a_file(pull_settings: SettingsOf, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"bytes")
    (folder.parent / "tree.pkl").write_bytes(b"pickle")
    here = obtain_model(pull_settings(model_source="local", local_model_name="mine"))
    assert (here.path, here.source, here.model.name, here.model.version) == (folder, "local", "mine", "local")
    assert here.model.digest == model_digest(folder)
    assert (here.has_manifest, here.artifact) == (False, None)
    file = obtain_model(pull_settings(model_source="local", local_model_name="tree.pkl"))
    assert (file.path, file.model.name) == (folder.parent / "tree.pkl", "tree")
    refused(
        pull_settings(model_source="local", local_model_name="mine", model_digest="0" * 32),
        errors.DigestMismatchError,
        here.model.digest,
        "MODEL_DIGEST",
    )
    refused(
        pull_settings(model_source="local", local_model_name="nope"),
        errors.StorageError,
        "does not exist",
        "nope",
    )


@pytest.mark.usefixtures("quick_client")
def test_a_folder_of_pulled_versions_is_no_local_model(model: WandbServer, pull_settings: SettingsOf) -> None:
    obtain_model(pull_settings())
    message = refused(pull_settings(model_source="local"), errors.StorageError, "holds pulled versions (v0)")
    assert "MODEL_VERSION=v0" in message
    assert obtain_model(pull_settings(model_version="v0", wandb_api_key=None)).model.version == "v0"


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


# The process of its own


@pytest.mark.usefixtures("quick_client")
def test_an_artifact_larger_than_allowed_is_refused_before_the_download(
    model: WandbServer, pull_settings: SettingsOf
) -> None:
    size = sum(map(len, FILES.values()))
    refused(
        pull_settings(model_max_bytes=size - 1), errors.ArtifactContentError, "MODEL_MAX_BYTES", f"{PATH}:v0"
    )
    assert model.calls("download") == []
    assert content(obtain_model(pull_settings(model_max_bytes=size)).path) == FILES


@pytest.mark.usefixtures("quick_client")
@pytest.mark.parametrize("name", ["C:model.bin", "NUL", "MODEL.bin"])
def test_a_file_name_that_means_another_place_or_file_is_refused(
    wandb_server: WandbServer, pull_settings: SettingsOf, name: str
) -> None:
    wandb_server.publish(PATH, {**FILES, name: b"x"})
    refused(pull_settings(), errors.ArtifactContentError, name)


def test_a_child_gets_no_secret_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.services.wandb_client import inherited_environment

    for name in ("WANDB_API_KEY", "wandb_api_key", "LOG_HASH_KEY", "API_KEYS", "FEEDBACK_KEY"):
        monkeypatch.setenv(name, "recognisable")
    monkeypatch.setenv("HARMLESS", "kept")
    kept = inherited_environment()
    assert kept["HARMLESS"] == "kept"
    assert "recognisable" not in kept.values()
