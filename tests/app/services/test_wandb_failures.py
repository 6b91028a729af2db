"""Each failure of W&B has its class and says how to mend it."""

from pathlib import Path

import pytest

from app.core import errors
from app.services.registry import obtain_model
from tests.app.services.pulling import FILES, PATH, SettingsOf, content, refused
from tests.wandb_server import WandbServer


@pytest.mark.usefixtures("quick_client")
def test_failures_are_told_apart(model: WandbServer, pull_settings: SettingsOf, tmp_path: Path) -> None:
    model.publish("acme/reviews/table", {"rows.csv": b"1"}, artifact_type="dataset")
    refused(
        pull_settings(wandb_api_key=None),
        errors.MissingKeyError,
        "WANDB_API_KEY is not set",
        f"{PATH}:latest",
    )
    refused(pull_settings(wandb_api_key="wrong" * 8), errors.WrongKeyError, "refused WANDB_API_KEY (401)")
    refused(
        pull_settings(wandb_api_key="short"), errors.WrongKeyError, "WANDB_API_KEY is no W&B key", "has 5"
    )
    refused(pull_settings(wandb_api_key="forty!ch" * 5), errors.WrongKeyError, "may only contain")
    refused(pull_settings(project_name="nope"), errors.ProjectNotFoundError, "project 'nope'", "PROJECT_NAME")
    refused(
        pull_settings(wandb_entity="nobody"), errors.ProjectNotFoundError, "entity 'nobody'", "WANDB_ENTITY"
    )
    refused(
        pull_settings(project_name="wandb-registry-model", wandb_entity="nobody"),
        errors.ProjectNotFoundError,
        "Unable to find organization",
    )
    refused(
        pull_settings(local_model_name="nope"),
        errors.ArtifactNotFoundError,
        "acme/reviews has no artifact 'nope' (models there: sentiment)",
        "LOCAL_MODEL_NAME",
    )
    refused(
        pull_settings(model_version="staging"),
        errors.ArtifactNotFoundError,
        f"{PATH} has no alias or version 'staging' (aliases: latest, production)",
        "MODEL_VERSION",
    )
    refused(
        pull_settings(local_model_name="table"), errors.ArtifactTypeError, "is an artifact of type 'dataset'"
    )
    refused(
        pull_settings(local_model_name="table", model_version="v9"),
        errors.ArtifactNotFoundError,
        "no alias or version 'v9' (aliases: latest)",
    )
    refused(pull_settings(model_source="wandb", project_name=None), errors.ConfigurationError, "PROJECT_NAME")
    refused(pull_settings(project_name="acme/reviews"), errors.ConfigurationError, "WANDB_ENTITY")
    refused(pull_settings(wandb_base_url="ftp://x"), errors.ConfigurationError, "WANDB_BASE_URL must begin")
    refused(pull_settings(wandb_base_url="http://"), errors.ConfigurationError, "WANDB_BASE_URL")
    assert list((tmp_path / "models").rglob("*.json")) == []


@pytest.mark.usefixtures("quick_client")
def test_a_registry_collection_that_is_missing_is_named(
    model: WandbServer, pull_settings: SettingsOf
) -> None:
    model.link(f"{PATH}:v0", "wandb-registry-model/sentiment:production")
    there = {"project_name": "wandb-registry-model", "wandb_entity": None}
    refused(
        pull_settings(**there, model_version="staging"),
        errors.ArtifactNotFoundError,
        "wandb-registry-model/sentiment has no alias or version 'staging' (aliases: latest, production)",
    )
    refused(
        pull_settings(**there, local_model_name="nope"),
        errors.ArtifactNotFoundError,
        "wandb-registry-model has no artifact 'nope'",
    )


@pytest.mark.usefixtures("quick_client")
def test_a_version_that_is_not_committed_is_not_served(model: WandbServer, pull_settings: SettingsOf) -> None:
    model.set_artifact_state(f"{PATH}:v0", "PENDING")
    refused(pull_settings(), errors.NotCommittedError, f"{PATH}:latest is not committed")
    model.set_artifact_state(f"{PATH}:v0", "DELETED")
    refused(pull_settings(), errors.ArtifactNotFoundError, "(aliases: none: it is empty")


@pytest.mark.usefixtures("quick_client")
def test_a_server_that_does_not_answer_is_not_called_a_wrong_key(
    model: WandbServer, pull_settings: SettingsOf
) -> None:
    down = pull_settings(wandb_base_url="http://127.0.0.1:9")
    refused(down, errors.UnreachableError, "http://127.0.0.1:9 cannot be reached (connection refused)")
    model.set_fault("graphql", operation="Viewer", status=503)
    refused(pull_settings(), errors.UnreachableError, f"{model.url} cannot be reached (it answers 503)")
    model.clear_faults()
    model.set_fault("graphql", operation="Viewer", status=404)
    refused(
        pull_settings(), errors.UnreachableError, "answered 404: check that WANDB_BASE_URL is a W&B server"
    )
    model.clear_faults()
    model.set_fault("graphql", operation="ArtifactMembershipByName", hang=True)
    refused(pull_settings(), errors.UnreachableError, "it answers 200, but did not answer the client in time")


@pytest.mark.usefixtures("quick_client")
def test_what_the_key_may_not_do_is_called_permission(model: WandbServer, pull_settings: SettingsOf) -> None:
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
        refused(pull_settings(), errors.PermissionDeniedError, "denied access to", "invited to the project")
        model.clear_faults()
    model.set_fault("graphql", operation="ArtifactMembershipByName", status=401)
    refused(pull_settings(), errors.WrongKeyError, "(401)")
    model.clear_faults()
    model.set_fault("graphql", operation="ArtifactMembershipByName", status=200, message="over\nquota")
    refused(pull_settings(), errors.RegistryError, f"refused {PATH}:latest: over quota")


@pytest.mark.usefixtures("quick_client")
def test_files_that_are_gone_or_break_off_are_told_apart(
    model: WandbServer, pull_settings: SettingsOf
) -> None:
    model.set_fault("download", path="model.bin", status=404)
    refused(pull_settings(), errors.ArtifactNotFoundError, f"does not have the files of {PATH}:v0 (404)")
    model.clear_faults()
    model.set_fault("download", path="model.bin", cut=True)
    refused(
        pull_settings(), errors.UnreachableError, f"{PATH}:v0 could not be downloaded", "broke off, twice"
    )
    model.clear_faults()
    model.set_fault("manifest", cut=True)
    refused(pull_settings(), errors.UnreachableError, f"the manifest of {PATH}:v0 could not be downloaded")
    model.clear_faults()
    model.set_fault("manifest", corrupt=True, times=1)
    assert content(obtain_model(pull_settings()).path) == FILES
    model.publish(PATH, {"model.bin": b"two"})
    model.set_fault("manifest", shorten=True)
    refused(
        pull_settings(), errors.DigestMismatchError, f"the manifest of {PATH}:v1 could not be read, twice"
    )
