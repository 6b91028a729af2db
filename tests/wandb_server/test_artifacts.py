"""Artifacts and registries through the real client."""

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures_wandb import ClientAs
from tests.wandb_server import Lineage, WandbServer

REGISTRY = "acme-org_ent/wandb-registry-model/sentiment"


def log_model(wandb: Any, content: str, aliases: list[str] | None = None, **options: Any) -> Any:
    """Log a one-file model in a run of its own and wait until it is committed."""
    with wandb.init(project="reviews", job_type="publish") as run:
        artifact = wandb.Artifact("sentiment", type="model", **options)
        with artifact.new_file("model.bin", mode="w") as file:
            file.write(content)
        return run.log_artifact(artifact, aliases=aliases).wait()


def test_an_artifact_goes_there_and_back(
    wandb_server: WandbServer, wandb_as: ClientAs, tmp_path: Path
) -> None:
    with wandb_as("publisher") as wandb:
        logged = log_model(wandb, "weights", ["best"], metadata={"loader": "onnx"}, description="first")
    with wandb_as("consumer") as wandb:
        artifact = wandb.Api().artifact("acme/reviews/sentiment:best", type="model")
        assert (artifact.version, artifact.digest, artifact.id) == ("v0", logged.digest, logged.id)
        assert (artifact.metadata, artifact.description) == ({"loader": "onnx"}, "first")
        assert (artifact.size, artifact.file_count, artifact.state) == (7, 1, "COMMITTED")
        assert sorted(artifact.aliases) == ["best", "latest"]
        folder = Path(artifact.download(root=str(tmp_path / "model")))
        artifact.verify(str(folder))
        assert (folder / "model.bin").read_text() == "weights"
        assert [file.name for file in artifact.files()] == ["model.bin"]

    assert len(wandb_server.calls("download", "model.bin")) == 1
    stored = wandb_server.artifact("acme/reviews/sentiment:best")
    assert (stored.state, stored.digest, stored.metadata_values) == (
        "COMMITTED",
        logged.digest,
        {"loader": "onnx"},
    )
    assert wandb_server.artifact_files("acme/reviews/sentiment:v0") == {"model.bin": b"weights"}
    assert not wandb_server.unknown_fields


def test_versions_count_and_latest_follows(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    with wandb_as() as wandb:
        log_model(wandb, "one", ["stable"])
        assert log_model(wandb, "two").version == "v1"
        assert log_model(wandb, "three", ["stable"]).version == "v2"
        assert wandb_server.aliases("acme/reviews/sentiment") == {"latest": "v2", "stable": "v2"}
        assert log_model(wandb, "two").version == "v1", "content that is there already makes no version"
        api = wandb.Api()
        versions = [artifact.version for artifact in api.artifacts("model", "acme/reviews/sentiment")]
        assert versions == ["v2", "v1", "v0"]
        assert api.artifact_exists("acme/reviews/sentiment:v2")
        assert not api.artifact_exists("acme/reviews/sentiment:v3")
        (collection,) = api.artifact_type("model", "acme/reviews").collections()
        assert (collection.name, collection.aliases) == ("sentiment", ["latest", "stable"])
    assert len(wandb_server.artifacts("model")) == 3
    assert not wandb_server.unknown_fields


def test_the_registry_serves_what_was_linked(
    wandb_server: WandbServer, wandb_as: ClientAs, tmp_path: Path
) -> None:
    with wandb_as("publisher") as wandb:
        for content in ("one", "two"):
            with wandb.init(project="reviews") as run:
                artifact = wandb.Artifact("trained", type="model")
                with artifact.new_file("model.bin", mode="w") as file:
                    file.write(content)
                logged = run.log_artifact(artifact).wait()
                linked = run.link_artifact(logged, "wandb-registry-model/sentiment", aliases=["production"])
        assert (linked.name, linked.version) == ("sentiment:v1", "v1")
    assert wandb_server.aliases(REGISTRY) == {"latest": "v1", "production": "v1"}

    with wandb_as("consumer") as wandb:
        api = wandb.Api()
        newest = api.artifact("wandb-registry-model/sentiment")
        assert newest.qualified_name == f"{REGISTRY}:v1"
        assert newest.source_qualified_name == "acme/reviews/trained:v1"
        assert newest.is_link
        by_organization = api.artifact("acme-org/wandb-registry-model/sentiment:production")
        assert by_organization.digest == newest.digest
        old = api.artifact("wandb-registry-model/sentiment:v0")
        folder = Path(old.download(root=str(tmp_path / "old")))
        old.verify(str(folder))
        assert (folder / "model.bin").read_text() == "one"
        links = newest.source_artifact.linked_artifacts
        assert [item.qualified_name for item in links] == [f"{REGISTRY}:v1"]
        newest.unlink()
        assert api.artifact("wandb-registry-model/sentiment:v0").version == "v0"
        with pytest.raises(wandb.errors.CommError, match="not found"):
            api.artifact("wandb-registry-model/sentiment:production")
    assert not wandb_server.unknown_fields


def test_an_alias_is_moved_through_the_client(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    for content in (b"one", b"two"):
        wandb_server.publish("acme/reviews/sentiment", {"model.bin": content})
        wandb_server.link("acme/reviews/sentiment:latest", "wandb-registry-model/sentiment:production")
    with wandb_as() as wandb:
        first = wandb.Api().artifact("wandb-registry-model/sentiment:v0")
        first.aliases.append("production")
        first.metadata["checked"] = True
        first.save()
        assert wandb_server.aliases(REGISTRY) == {"latest": "v1", "production": "v0"}
        assert wandb_server.aliases("acme/reviews/sentiment") == {"latest": "v1"}
        first.aliases.remove("production")
        first.save()
        assert wandb_server.aliases(REGISTRY) == {"latest": "v1"}
    assert wandb_server.artifact(f"{REGISTRY}:v0").metadata_values == {"checked": True}
    assert not wandb_server.unknown_fields


def test_lineage_names_the_maker_and_the_users(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    with wandb_as() as wandb:
        log_model(wandb, "weights")
        (maker,) = wandb_server.runs()
        with wandb.init(project="serving", job_type="inferences") as run:
            run.use_artifact("acme/reviews/sentiment:latest")
        user = run.path
        api = wandb.Api()
        artifact = api.artifact("acme/reviews/sentiment:v0")
        assert artifact.logged_by().id == maker.name
        assert ["/".join(run.path) for run in artifact.used_by()] == [user]
        assert [item.name for item in api.run(user).used_artifacts()] == ["sentiment:v0"]
        assert [item.name for item in api.run(maker.path).logged_artifacts()] == ["sentiment:v0"]
    assert wandb_server.lineage(user) == Lineage(logged=(), used=("acme/reviews/sentiment:v0",))
    assert wandb_server.lineage(maker.name) == Lineage(logged=("acme/reviews/sentiment:v0",), used=())
    assert not wandb_server.unknown_fields


def test_a_published_version_is_like_one_the_client_logged(
    wandb_server: WandbServer, wandb_as: ClientAs, tmp_path: Path
) -> None:
    wandb_server.publish("acme/reviews/sentiment", {"model.bin": b"weights"})
    with wandb_as() as wandb:
        logged = log_model(wandb, "weights")
        assert logged.version == "v0", "the digest is the one the client computes"
    folder = {f"part/{number}.bin": hashlib.sha256(bytes([number])).digest() * 99 for number in range(30)}
    wandb_server.publish("acme/reviews/many", folder, metadata={"a": 1}, aliases=("best",))
    with wandb_as("consumer") as wandb:
        artifact = wandb.Api().artifact("acme/reviews/many:best")
        place = artifact.download(root=str(tmp_path / "many"))
        artifact.verify(place)
        assert artifact.metadata == {"a": 1}
    assert {name: (Path(place) / name).read_bytes() for name in folder} == folder
    assert wandb_server.artifact_files("acme/reviews/many:v0") == folder


def test_a_draft_of_a_version_sends_only_what_changed(
    wandb_server: WandbServer, wandb_as: ClientAs, tmp_path: Path
) -> None:
    wandb_server.publish("acme/reviews/sentiment", {"model.bin": b"weights", "notes.txt": b"old"})
    with wandb_as("publisher") as wandb, wandb.init(project="reviews") as run:
        draft = run.use_artifact("acme/reviews/sentiment:latest").new_draft()
        draft.remove("notes.txt")
        with draft.new_file("notes.txt", mode="w") as file:
            file.write("new")
        assert run.log_artifact(draft).wait().version == "v1"
    with wandb_as("consumer") as wandb:
        artifact = wandb.Api().artifact("acme/reviews/sentiment:v1")
        artifact.verify(artifact.download(root=str(tmp_path / "draft")))
    assert (tmp_path / "draft" / "notes.txt").read_text() == "new"
    assert not wandb_server.calls("upload", "model.bin")


def test_a_version_is_seen_only_once_it_is_committed(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    held = wandb_server.set_fault("upload", path="model.bin", hang=True)
    with wandb_as() as wandb, wandb.init(project="reviews") as run:
        artifact = wandb.Artifact("sentiment", type="model")
        with artifact.new_file("model.bin", mode="w") as file:
            file.write("weights")
        logged = run.log_artifact(artifact)
        wait_for(lambda: held.hits == 1)
        assert [item.state for item in wandb_server.artifacts("model")] == ["PENDING"]
        api = wandb.Api()
        with pytest.raises(wandb.errors.CommError, match="'sentiment:latest' not found"):
            api.artifact("acme/reviews/sentiment:latest")
        wandb_server.clear_faults()
        logged.wait()
        assert api.artifact("acme/reviews/sentiment:latest").version == "v0"


def test_what_is_pending_or_gone_is_refused(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    wandb_server.publish("acme/reviews/sentiment", {"model.bin": b"one"}, aliases=("best",))
    wandb_server.publish("acme/reviews/sentiment", {"model.bin": b"two"})
    wandb_server.link("acme/reviews/sentiment:v0", "wandb-registry-model/sentiment")
    with wandb_as() as wandb:
        api = wandb.Api()

        def refused(path: str, text: str) -> None:
            with pytest.raises(wandb.errors.CommError, match=text):
                api.artifact(path)

        wandb_server.set_artifact_state("acme/reviews/sentiment:v1", "PENDING")
        # The client fails on an assertion of its own here, which has no text.
        refused("acme/reviews/sentiment:v1", "^$")
        wandb_server.set_artifact_state("acme/reviews/sentiment:v1", "DELETED")
        refused("acme/reviews/sentiment:v1", "'sentiment:v1' not found")
        wandb_server.remove_alias("acme/reviews/sentiment", "best")
        refused("acme/reviews/sentiment:best", "'sentiment:best' not found")
        refused("acme/reviews/other:latest", "'other:latest' not found")
        wandb_server.remove_project("acme/reviews")
        refused("acme/reviews/sentiment:v0", "project 'reviews' not found")
        wandb_server.remove_project("acme-org_ent/wandb-registry-model")
        refused("wandb-registry-model/sentiment:latest", "project 'wandb-registry-model' not found")


def test_an_alias_that_another_person_moves_is_seen(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    for content in (b"one", b"two"):
        wandb_server.publish("acme/reviews/sentiment", {"model.bin": content}, aliases=("production",))
    with wandb_as() as wandb:
        api = wandb.Api()
        assert api.artifact("acme/reviews/sentiment:production").version == "v1"
        wandb_server.move_alias("acme/reviews/sentiment", "production", "v0")
        assert api.artifact("acme/reviews/sentiment:production").version == "v0"


def test_a_version_is_deleted_with_its_aliases_only_on_request(
    wandb_server: WandbServer, wandb_as: ClientAs
) -> None:
    wandb_server.publish("acme/reviews/sentiment", {"model.bin": b"one"})
    with wandb_as() as wandb:
        artifact = wandb.Api().artifact("acme/reviews/sentiment:v0")
        with pytest.raises(wandb.errors.CommError, match="aliases"):
            artifact.delete()
        artifact.delete(delete_aliases=True)
    assert wandb_server.collections()[0].members == []


def wait_for(condition: Any, seconds: float = 10) -> None:
    """Wait until something that another thread does has happened."""
    event = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        event.wait(0.02)
    pytest.fail("it did not happen in time")
