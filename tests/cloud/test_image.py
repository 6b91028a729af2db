"""The serving image, built from this checkout, under the contract of Cloud Run and Knative."""

import json
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from app.core.config import EMBEDDED_MODEL_DIR
from tests.cloud.conftest import build_image
from tests.cloud.container import Container, Terms, compressed_size, docker
from tests.cloud.contract import check_contract, check_image
from tests.wandb_server import WandbServer

ROOT = Path(__file__).resolve().parents[2]
UNPACKED_LIMIT, COMPRESSED_LIMIT = 600_000_000, 200_000_000
MEMORY = "1Gi"
"""The build files' default."""
MODEL = "image-check"

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def pinned(wandb_service: WandbServer) -> dict[str, str]:
    """The embedded model published to W&B, and the variables of a service that serves it, without the key."""
    files = {path.name: path.read_bytes() for path in EMBEDDED_MODEL_DIR.iterdir()}
    published = wandb_service.publish(f"{wandb_service.entity}/reviews/{MODEL}", files)
    return {
        "MODEL_SOURCE": "wandb",
        "PROJECT_NAME": "reviews",
        "INFERENCE_PROJECT_NAME": MODEL,
        "WANDB_ENTITY": wandb_service.entity,
        "WANDB_BASE_URL": wandb_service.url,
        "LOCAL_MODEL_NAME": MODEL,
        "MODEL_VERSION": "v0",
        "MODEL_DIGEST": published.digest,
    }


def test_image_keeps_the_contract_and_loses_no_row(
    image: str, pinned: dict[str, str], wandb_service: WandbServer
) -> None:
    terms = Terms(memory=MEMORY, environment=pinned, secrets={"WANDB_API_KEY": wandb_service.api_key})
    report = check_contract(image, terms)
    assert report.broken == []
    answered = {entry["id"] for entry in report.in_flight["predictions"]}
    runs = wandb_service.runs(project=MODEL, job_type="inferences")
    rows = {row.get("id") for run in runs for row in wandb_service.rows(run.path)}
    assert answered <= rows, "the rows of the request that was open at SIGTERM are in W&B"


def test_image_holds_no_tensorflow_no_pip_and_no_more_than_it_serves(image: str) -> None:
    script = (
        "import importlib.util, json, os; "
        "names = ['tensorflow', 'keras', 'transformers', 'pip', 'pytest', 'ml.train', 'tests']; "
        "print(json.dumps([[n for n in names if _there(n)], sorted(os.listdir('.')), os.listdir('ml'), os.getuid()]))"
    )
    there = (
        "def _there(name):\n"
        "    try:\n        return importlib.util.find_spec(name) is not None\n"
        "    except ModuleNotFoundError:\n        return False\n"
    )
    found = docker(
        "run", "--rm", "--entrypoint", "python", image, "-c", f"import importlib.util\n{there}\n{script}"
    )
    assert json.loads(found) == [[], ["app", "ml"], ["model"], 10001]


def test_everything_that_is_imported_is_compiled(image: str) -> None:
    script = (
        "import sys, pathlib, app.main, app.services.predictor, onnxruntime, sklearn.pipeline, wandb\n"
        "print([m.__name__ for m in sys.modules.values() if (f := getattr(m, '__cached__', None))"
        " and getattr(m, '__file__', '').endswith('.py') and not pathlib.Path(f).exists()])"
    )
    assert docker("run", "--rm", "--entrypoint", "python", image, "-c", script) == "[]"


def test_image_is_small(image: str) -> None:
    assert int(docker("image", "inspect", "--format", "{{.Size}}", image)) <= UNPACKED_LIMIT
    assert compressed_size(image) <= COMPRESSED_LIMIT


NOT_ON_PORT = "start: not ready on PORT"
BROKEN = {
    "shell that keeps SIGTERM": ("CMD python -m app; true", "stop: killed"),
    "root": ("USER 0", "user: USER is '0'"),
    "named user": ("USER marquee", "user: USER is 'marquee'"),
    "port of its own": ('CMD ["env", "PORT=9999", "python", "-m", "app"]', NOT_ON_PORT),
    "loopback": ("ENV HOST=127.0.0.1", NOT_ON_PORT),
    "writes to its root": ("ENV STATE_DIR=/marquee/state", "start: it ended with 1: "),
    "key in a layer": ("ENV WANDB_API_KEY=0123456789", "secrets: WANDB_API_KEY in the image's environment"),
    "no health check": ("HEALTHCHECK NONE", "health check: it has none"),
    "health check that fails": ('HEALTHCHECK CMD ["false"]', "health check: the image's health check says"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_image_is_refused(name: str, image: str, tmp_path: Path) -> None:
    change, complaint = BROKEN[name]
    environment = {"INFERENCE_LOG": "false"}
    if "STATE_DIR" in change:
        environment |= {"MODEL_SOURCE": "wandb", "PROJECT_NAME": "x", "WANDB_API_KEY": "x" * 40}
    (tmp_path / "Dockerfile").write_text(f"FROM {image}\n{change}\n", "utf-8")
    tag = f"{image}-broken"
    docker("build", "--quiet", "--tag", tag, str(tmp_path))
    try:
        before = check_image(tag, Terms())
        seconds = 20 if complaint == NOT_ON_PORT else 120
        broken = (
            before
            or check_contract(
                tag, Terms(memory=MEMORY, cpu="2", environment=environment, start_seconds=seconds)
            ).broken
        )
    finally:
        docker("image", "rm", "--force", tag, check=False)
    assert [line for line in broken if line.startswith(complaint)], broken
    assert len(broken) == 1, "and nothing else is wrong with it"


def test_baked_image_starts_without_w_and_b_and_holds_no_key(
    pinned: dict[str, str], wandb_service: WandbServer, image: str
) -> None:
    arguments = {
        "BAKE_MODEL": "on",
        "MODEL_NAME": MODEL,
        **{name: pinned[name] for name in ("MODEL_VERSION", "MODEL_DIGEST", "PROJECT_NAME")},
        **{name: pinned[name] for name in ("WANDB_ENTITY", "WANDB_BASE_URL")},
    }
    options = [item for name, value in arguments.items() for item in ("--build-arg", f"{name}={value}")]
    key = wandb_service.api_key
    tag = build_image(
        f"{image}-baked", *options, "--secret", "id=wandb_api_key,env=IMAGE_TEST_KEY", IMAGE_TEST_KEY=key
    )
    try:
        asked = len(wandb_service.calls())
        terms = Terms(
            memory=MEMORY, environment=pinned | {"INFERENCE_LOG": "false"}, secrets={"IMAGE_TEST_KEY": key}
        )
        assert check_image(tag, terms) == []
        with Container(tag, terms) as container:
            container.wait_until_ready()
            _, model = container.ask("GET", "/api/v1/model")
            assert (model["version"], model["digest"]) == (pinned["MODEL_VERSION"], pinned["MODEL_DIGEST"])
        assert len(wandb_service.calls()) == asked
        assert not _is_inside(tag, key.encode())
    finally:
        docker("image", "rm", "--force", tag, check=False)


def _is_inside(image: str, secret: bytes) -> bool:
    """Whether these bytes are anywhere in the image: its layers, their history or its configuration."""
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as save:
        assert save.stdout is not None
        before = b""
        while block := save.stdout.read(1 << 20):
            if secret in before + block:
                return True
            before = block[-len(secret) :]
    return False


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"MODEL_DIGEST": "0" * 32}, "0" * 32), ({"MODEL_VERSION": "latest"}, "a version such as v7")],
)
def test_only_the_pinned_version_is_baked(
    change: dict[str, str], complaint: str, pinned: dict[str, str], wandb_service: WandbServer, image: str
) -> None:
    arguments: dict[str, Any] = {"BAKE_MODEL": "on", "MODEL_NAME": MODEL, **pinned, **change}
    options = [item for name, value in arguments.items() for item in ("--build-arg", f"{name}={value}")]
    with pytest.raises(AssertionError, match=complaint):
        build_image(
            f"{image}-refused",
            *options,
            "--secret",
            "id=wandb_api_key,env=IMAGE_TEST_KEY",
            IMAGE_TEST_KEY=wandb_service.api_key,
        )


SECRET_FILES = (
    ".env",
    ".env.production",
    "app/.env",
    "deploy/credentials.json",
    "deploy/server.key",
    "deploy/server.pem",
    ".git/config",
    ".marquee/spool/row",
    "app/wandb/run-1/files/config.yaml",
    "ml/model/sentiment/v1/model.onnx",
    "notebooks/.ipynb_checkpoints/x.ipynb",
    "service-account.json",
    "tests/__pycache__/x.pyc",
)
WANTED_FILES = (
    "app/main.py",
    "app/web/page.html",
    "ml/model/embedded/model.onnx",
    "requirements/serving.txt",
    "tests/wandb_server/server.py",
    ".env.example",
)


def test_nothing_secret_reaches_the_build(docker_engine: None, tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    for name in (*SECRET_FILES, *WANTED_FILES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, "utf-8")
    (folder / ".dockerignore").write_bytes((ROOT / ".dockerignore").read_bytes())
    assert context_files(folder, tmp_path) - {".dockerignore"} == set(WANTED_FILES)


def test_the_build_is_sent_little(docker_engine: None, tmp_path: Path) -> None:
    files = context_files(ROOT, tmp_path)
    assert {"app/__main__.py", "Makefile", "poetry.lock", "tests/cloud/test_image.py"} <= files
    assert sum((ROOT / name).stat().st_size for name in files) < 60_000_000


def context_files(folder: Path, scratch: Path) -> set[str]:
    """The files that the client sends to the engine from `folder`."""
    (scratch / "Dockerfile").write_text("FROM scratch\nCOPY . /\n", "utf-8")
    archive = scratch / "context.tar"
    subprocess.run(
        [
            "docker",
            "build",
            "--quiet",
            "--output",
            f"type=tar,dest={archive}",
            "--file",
            scratch / "Dockerfile",
            folder,
        ],
        env={**os.environ, "DOCKER_BUILDKIT": "1"},
        check=True,
        capture_output=True,
    )
    with tarfile.open(archive) as tar:
        return {member.name for member in tar.getmembers() if member.isfile()}
