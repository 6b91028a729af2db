"""One engine, one image, one set of stand-ins a session; where one is missing, these tests are skipped, in words."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.build_runner import ROOT, BuildRunner, Result
from tests.cloud.cloud_run import CloudRunStandIn, Reply, Revision
from tests.cloud.container import bridge_address, docker, engine_answers
from tests.cloud.google_apis import PROJECT, Call, GoogleApis
from tests.wandb_server import WandbServer

REGISTRY_HOST = "us-central1-docker.pkg.dev"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SECRET = f"projects/{PROJECT}/secrets/wandb-api-key/versions/1"
QUICK_TESTS = "tests/deploy/test_settings.py tests/ml/test_compare.py"
"""What the test step runs here: that it runs in the image is what matters, not what the suite says once more."""


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else ""


@pytest.fixture(scope="session")
def docker_engine() -> None:
    """A Docker engine."""
    if not engine_answers():
        pytest.skip("no Docker engine answers to `docker version`")


@pytest.fixture(scope="session")
def engine(docker_engine: None) -> None:
    """A Docker engine, gcloud and a kernel that gives an empty network."""
    if not os.environ.get("DOCKER_HOST", "unix:").startswith("unix:"):
        pytest.skip("the Docker engine must be reached by a Unix socket")
    if not shutil.which("gcloud"):
        pytest.skip("gcloud is not installed")
    probe = [sys.executable, str(ROOT / "tests/cloud/offline.py"), "/nowhere", "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("the kernel gives no network namespace (unshare)")


def build_image(tag: str, *options: str, **variables: str) -> str:
    """Build the checkout's image as `tag`."""
    done = subprocess.run(
        ["docker", "build", "--quiet", "--tag", tag, *options, str(ROOT)],
        env={**os.environ, "DOCKER_BUILDKIT": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return tag


@pytest.fixture(scope="session")
def image(docker_engine: None) -> Iterator[str]:
    """The default serving image."""
    tag = build_image(f"marquee-image-test:{os.getpid()}", "--build-arg", "REVISION=0123abc")
    yield tag
    docker("image", "rm", "--force", tag, check=False)


@pytest.fixture(scope="session")
def registry(engine: None) -> str:
    """A registry of this machine's that the engine pushes to: what stands before an image's name."""
    if named := os.environ.get("TEST_REGISTRY"):
        return named
    hosts = json.loads(_said("docker", "info", "--format={{json .RegistryConfig.IndexConfigs}}") or "{}")
    if REGISTRY_HOST in hosts and not hosts[REGISTRY_HOST]["Secure"]:
        return REGISTRY_HOST
    try:
        with urllib.request.urlopen("http://127.0.0.1:5000/v2/", timeout=2):
            return "127.0.0.1:5000"
    except (OSError, urllib.error.URLError):
        pytest.skip("no registry of this machine's own: start one on port 5000, or name it in TEST_REGISTRY")


@pytest.fixture(scope="session")
def wandb_service(docker_engine: None) -> Iterator[WandbServer]:
    """A loopback W&B that containers can reach: it listens on the engine's own bridge."""
    with WandbServer(host=bridge_address()) as server:
        yield server


@dataclass
class Cloud:
    """A project in the cloud, as far as this machine can show one.

    Attributes:
        apis: Google's, recorded.
        wandb: where models are published.
        image: the serving image's name without tag.
        disturbances: what visitors of a host get for a path instead of the service's answer.
    """

    apis: GoogleApis
    wandb: WandbServer
    runner: BuildRunner
    image: str
    disturbances: dict[tuple[str, str], Reply] = field(default_factory=dict)

    def publish(self, name: str, files: dict[str, bytes]) -> str:
        """Publish a version; `latest` moves to it. Returns its digest."""
        return self.wandb.publish(f"{self.wandb.entity}/reviews/{name}", files).digest

    def push(self, service: str = "sentiment", **substitutions: str) -> Result:
        """Run cloudbuild.yaml as its trigger would."""
        given = {
            **self._substitutions(service),
            "_IMAGE_URL": self.image,
            "_TEST_ARGS": QUICK_TESTS,
            "_BRANCH": "master",
            **substitutions,
        }
        return self.runner.run("cloudbuild.yaml", substitutions=given, built_in={"COMMIT_SHA": COMMIT})

    def scheduled(
        self, service: str, before: dict[str, Callable[[], object]] | None = None, **substitutions: str
    ) -> Result:
        """Run cloudbuild-scheduled.yaml as its trigger would."""
        given = {**self._substitutions(service), **substitutions}
        return self.runner.run(
            "cloudbuild-scheduled.yaml",
            substitutions=given,
            built_in={"BRANCH_NAME": "master"},
            before=before,
        )

    def _substitutions(self, service: str) -> dict[str, str]:
        return {
            "_SERVICE": service,
            "_MODEL_NAME": service,
            "_WANDB_BASE_URL": self.wandb.url,
            "_WANDB_ENTITY": self.wandb.entity,
            "_CPU": "2",  # This machine's two, so that the tests are not the slower for it.
        }

    def serving(self, service: str) -> Revision:
        return self.apis.cloud_run.serving(service)


@pytest.fixture(scope="session")
def cloud(registry: str, wandb_service: WandbServer) -> Iterator[Cloud]:
    """The project, empty."""
    folder = Path(tempfile.mkdtemp(prefix="marquee-cloud-"))
    stand_in = CloudRunStandIn(
        secret=lambda name, version: apis.secrets[f"projects/{PROJECT}/secrets/{name}/versions/{version}"],
        prefix=f"marquee-test-{os.getpid()}",
    )
    apis = GoogleApis(folder / "apis", stand_in, secrets={SECRET: wandb_service.api_key})
    with apis:
        made = Cloud(
            apis, wandb_service, BuildRunner(apis, folder / "builds"), f"{registry}/{PROJECT}/marquee/marquee"
        )
        stand_in.disturb = lambda host, path: made.disturbances.get((host, path))
        yield made
        assert apis.strangers == [], "a step asked for something that is not on this machine"
    shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Deployed:
    """The first deployment.

    Attributes:
        cloud: where it was made.
        build: that made it.
        calls: of Google's APIs.
        service: the body that created the service.
    """

    cloud: Cloud
    build: Result
    calls: list[Call]
    service: dict[str, Any]


@pytest.fixture(scope="session")
def deployed(cloud: Cloud) -> Deployed:
    """The embedded model published as sentiment:v0, and one push."""
    from tests.cloud.models import embedded

    cloud.publish("sentiment", embedded())
    build = cloud.push()
    assert build.green, build.log
    (created,) = (call.body for call in cloud.apis.changes("run") if call.method == "POST")
    return Deployed(cloud, build, list(cloud.apis.calls), created)


@dataclass(frozen=True)
class Scene:
    """A service of its own, with v0 in traffic, and the cloud around it."""

    cloud: Cloud
    service: str

    def publish(self, files: dict[str, bytes]) -> str:
        return self.cloud.publish(self.service, files)

    def scheduled(
        self, before: dict[str, Callable[[], object]] | None = None, **substitutions: str
    ) -> Result:
        """Run the scheduled build; without our sentences, which take a while, unless a test is about them."""
        given = {"_ACCEPTANCE": "golden"} | substitutions
        return self.cloud.scheduled(self.service, before, **given)

    @property
    def serving(self) -> Revision:
        return self.cloud.serving(self.service)

    @property
    def address(self) -> str:
        """The host of its own address."""
        return self.cloud.apis.cloud_run.url(self.service).removeprefix("http://")


@pytest.fixture
def scene(deployed: Deployed, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """What the first deployment left, under another name, so that no test sees another's."""
    from tests.cloud.models import embedded

    cloud = deployed.cloud
    name = f"films-{abs(hash(request.node.name)) % 10**6:06d}"
    cloud.publish(name, embedded())
    cloud.apis.cloud_run.copy("sentiment", name, {"LOCAL_MODEL_NAME": name})
    cloud.apis.clear()
    yield Scene(cloud, name)
    cloud.disturbances.clear()
