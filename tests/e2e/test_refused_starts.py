"""A start that cannot serve ends by itself: an exit code that is not 0 and one plain line with the cause."""

import re

import pytest

from tests import models
from tests.e2e.server_process import ServerProcess

PROJECT = "reviews"
KEY = "k" * 40


def variables(server, **more: str) -> dict[str, str]:
    return {
        "PROJECT_NAME": PROJECT,
        "WANDB_ENTITY": server.entity,
        "WANDB_API_KEY": server.api_key,
        "WANDB_BASE_URL": server.url,
        "REGISTRY_TIMEOUT_SECONDS": "90",
    } | more


def files_of(folder) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def published(tmp_path, wandb_server):
    models.tiny_onnx(tmp_path / "model")
    wandb_server.publish(
        f"{wandb_server.entity}/{PROJECT}/sentiment", files_of(tmp_path / "model"), aliases=("latest",)
    )
    return wandb_server


def refused(folder, settings: dict[str, str], cause: str) -> None:
    with ServerProcess(folder, **settings) as server:
        assert server.wait_for_exit() == 1, server.output
        assert "Traceback" not in server.output
        assert (settings["WANDB_API_KEY"] or KEY) not in server.output
        (line,) = [line for line in server.output.splitlines() if "CRITICAL" in line]
        assert re.search(cause, line), server.output


REFUSALS = [
    ("no key", {"WANDB_API_KEY": ""}, "WANDB_API_KEY"),
    ("wrong key", {"WANDB_API_KEY": "w" * 40}, r"(?i)refuse|key"),
    ("unreachable", {"WANDB_BASE_URL": "http://127.0.0.1:9"}, r"(?i)127\.0\.0\.1:9"),
    ("no project", {"PROJECT_NAME": "nowhere"}, r"nowhere"),
    ("no collection", {"LOCAL_MODEL_NAME": "unknown"}, r"unknown"),
    ("no alias", {"MODEL_VERSION": "staging"}, r"staging"),
    ("other digest", {"MODEL_DIGEST": "0" * 32}, r"MODEL_DIGEST|digest"),
    ("unknown loader", {"MODEL_LOADER": "onyx"}, r"onyx"),
    ("loader that does not fit", {"MODEL_LOADER": "keras"}, r"(?i)keras"),
    (
        "class that is not there",
        {"MODEL_LOADER": f"{models.KEYWORD_LOADER.partition(':')[0]}:Missing"},
        r"Missing",
    ),
    ("malformed port", {"PORT": "abc"}, r"PORT"),
    ("malformed parameters", {"MODEL_PARAMETERS": "[1]"}, r"MODEL_PARAMETERS"),
]


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("settings", "cause"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
def test_a_start_that_cannot_serve(tmp_path, published, settings, cause):
    refused(tmp_path / "server", variables(published, **settings), cause)


@pytest.mark.e2e
def test_corrupt_bytes_twice_stop_the_start(tmp_path, published):
    published.set_fault("download", corrupt=True)
    refused(tmp_path / "server", variables(published), r"(?i)digest|corrupt|differ")


@pytest.mark.e2e
def test_corrupt_bytes_once_are_healed(tmp_path, published):
    published.set_fault("download", times=1, corrupt=True)
    with ServerProcess(tmp_path / "server", **variables(published)) as server:
        server.wait_until_ready()
        assert server.terminate() == 0


@pytest.mark.e2e
def test_a_model_that_answers_its_golden_examples_wrong_never_serves(tmp_path, wandb_server):
    folder = tmp_path / "model"
    models.tiny_onnx(folder)
    manifest = (folder / "marquee.json").read_text("utf-8")
    swapped = manifest.replace('"label": "positive"', '"label": "?"').replace(
        '"label": "negative"', '"label": "positive"'
    )
    (folder / "marquee.json").write_text(swapped.replace('"label": "?"', '"label": "negative"'), "utf-8")
    wandb_server.publish(f"{wandb_server.entity}/{PROJECT}/sentiment", files_of(folder), aliases=("latest",))
    refused(tmp_path / "server", variables(wandb_server), r"(?i)golden")
