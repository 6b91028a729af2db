"""Cloud Run's and Knative's contract with a container, held on Docker: what an image must do to run there.

https://cloud.google.com/run/docs/container-contract. Docker gives what the platform gives (PORT, memory, CPU, SIGTERM
and 10 s) and takes what a careful operator takes: a writable root, capabilities, root's rights. What it can't show is
Google's own sandbox, IAM and quotas.
"""

import http.client
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.cloud.container import Container, Stop, Terms, docker

LABELS = (
    "org.opencontainers.image.title",
    "org.opencontainers.image.revision",
    "marquee.model.name",
    "marquee.model.version",
    "marquee.model.digest",
)
LONG_TEXT = "The plot wanders, yet the cast carries it with grace, and the last act pays for all of it. " * 12
_KEY_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD")


@dataclass
class Report:
    """What became of an image under the contract.

    Attributes:
        broken: the promises it broke, in words; empty for an image that may be deployed.
        ready_seconds: from the start of the container to the first 200 of its readiness.
        in_flight: the reply of the request that was open while SIGTERM came.
        stop: how it ended.
    """

    broken: list[str] = field(default_factory=list)
    ready_seconds: float = 0.0
    in_flight: Any = None
    stop: Stop | None = None

    def hold(self, what: str, promise: Callable[[], object]) -> None:
        """Note `what` as broken if `promise` raises."""
        try:
            promise()
        except (AssertionError, OSError, ValueError, http.client.HTTPException) as error:
            self.broken.append(f"{what}: {error}")


def check_image(image: str, terms: Terms) -> list[str]:
    """Return the promises that an image breaks before it runs: its user, labels, health check, and no secret inside."""
    report = Report()
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))
    variables = dict(item.split("=", 1) for item in config["Env"] or ())

    def user() -> None:
        name = config.get("User", "").partition(":")[0]
        assert re.fullmatch(r"[1-9]\d*", name), (
            f"USER is {name or 'root'!r}; a number lets the platform check that it is not root's"
        )

    def labels() -> None:
        missing = [label for label in LABELS if label not in (config.get("Labels") or {})]
        assert not missing, f"{', '.join(missing)} missing"

    def secrets() -> None:
        keys = [name for name, value in variables.items() if _KEY_NAMES.search(name) and value]
        assert not keys, f"{', '.join(keys)} in the image's environment"
        told = docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", image) + json.dumps(config)
        named = [name for name, value in terms.secrets.items() if value in told]
        assert not named, f"the value of {', '.join(named)} in the image's history"

    def health() -> None:
        assert (config.get("Healthcheck") or {}).get("Test", ["NONE"])[0] != "NONE", "it has none"

    report.hold("user", user)
    report.hold("labels", labels)
    report.hold("secrets", secrets)
    report.hold("health check", health)
    return report.broken


def check_contract(
    image: str,
    terms: Terms,
    *options: str,
    text: str = LONG_TEXT,
) -> Report:
    """Start the image, ask it, and stop it while it works; return what it kept and broke.

    Args:
        image: its name or digest, which the engine has already.
        terms: what the service gives it.
        options: further ones of ``docker run``.
        text: an input that takes the model a while.
    """
    report = Report(check_image(image, terms))
    with Container(image, terms, "--health-interval", "1s", *options) as container:
        try:
            report.ready_seconds = container.wait_until_ready()
        except AssertionError as error:
            report.broken.append(f"start: {error}")
            return report
        report.hold("health check", container.wait_until_healthy)
        report.hold("user", lambda: _not_root(container))
        report.hold("stop", lambda: _stop_at_work(container, text, report))
    return report


def _not_root(container: Container) -> None:
    ids = re.findall(r"^[UG]id:\s+(\d+)", container.run("cat", "/proc/1/status"), re.MULTILINE)
    assert "0" not in ids, f"the process runs as user and group {' and '.join(ids)}"


def _wait_for_run(container: Container, seconds: float = 120) -> None:
    """Wait until the inference log has its W&B run, which the first inference opens."""
    deadline = time.monotonic() + seconds
    while not (log := container.ask("GET", "/api/v1/health")[1]["inference_log"])["run"]:
        assert time.monotonic() < deadline, f"no W&B run after {seconds:g} s: {log['reason']}"
        time.sleep(0.2)


def _stop_at_work(container: Container, text: str, report: Report) -> None:
    status, reply = container.ask("POST", "/predict", {"texts": [text]})
    assert status == 200, reply
    if "WANDB_API_KEY" in container.terms.secrets:
        _wait_for_run(container)
    began = time.monotonic()
    container.ask("POST", "/predict", {"texts": [text] * 4})
    each = (time.monotonic() - began) / 4
    # A good second of work, of the four that shutdown gives open requests.
    texts = [text] * max(2, min(128, round(1.2 / each)))
    answers: list[tuple[float, int, Any]] = []

    def ask() -> None:
        status, reply = container.ask("POST", "/predict", {"texts": texts})
        answers.append((time.monotonic(), status, reply))

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.3)
    signalled = time.monotonic()
    report.stop = stop = container.stop()
    asking.join(30)
    allowed = container.terms.stop_seconds
    assert stop.exit_code != 137, f"killed after {stop.seconds:.1f} s: SIGTERM did not end it in {allowed} s"
    assert stop.exit_code == 0, f"exit code {stop.exit_code}: {container.logs[-1000:]}"
    assert stop.seconds <= allowed, f"it took {stop.seconds:.1f} s"
    assert answers, f"the open request got no answer: {container.logs[-1000:]}"
    ((answered, status, report.in_flight),) = answers
    assert status == 200, f"the open request got {status}"
    assert answered > signalled, "the request was not open any more: give a text that takes longer"
