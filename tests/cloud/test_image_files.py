"""Dockerfile, .dockerignore, service.yaml and `make deploy-local` as texts: what can be said without an engine."""

import os
import re
import shutil
import signal
import subprocess
import sysconfig
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.core.config import Settings
from tests.cloud.container import Terms, a_free_port, byte_count, docker

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
SERVICE = yaml.safe_load((ROOT / "deploy/service.yaml").read_text("utf-8"))
BUILD = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text("utf-8"))
(CONTAINER,) = SERVICE["spec"]["template"]["spec"]["containers"]


def stage(name: str) -> str:
    """The instructions of one stage."""
    return re.split(r"^FROM .* AS ", DOCKERFILE, flags=re.MULTILINE)[stages().index(name) + 1]


def stages() -> list[str]:
    return re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)


def probe(text: str) -> dict[str, Any]:
    """A probe as gcloud takes it, in Kubernetes' form."""
    values = dict(part.split("=", 1) for part in text.split(","))
    get = {"path": values.pop("httpGet.path"), "port": int(values.pop("httpGet.port"))}
    return {"httpGet": get, **{name: int(value) for name, value in values.items()}}


def test_hadolint_finds_nothing() -> None:
    program = shutil.which("hadolint", path=sysconfig.get_path("scripts")) or shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed: make test-cloud installs it")
    told = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (0, "")


def test_every_package_comes_by_hash_and_without_running_its_code() -> None:
    installs = re.findall(r"pip install|install --no-compile[^&]*", DOCKERFILE.replace("\\\n", " "))
    assert len(installs) == 2
    for line in installs:
        assert "--require-hashes" in line
        assert "--only-binary :all:" in line
    assert "poetry" not in DOCKERFILE.lower()


def test_serving_is_last_and_its_code_comes_after_all_that_changes_less() -> None:
    assert stages()[-1] == "serving"
    assert "test" in stages()
    assert re.findall(r"^COPY (?:--from=\w+ )?(\S+)", stage("runtime"), re.MULTILINE) == [
        "/",
        "/opt/venv",
        "ml/model/embedded",
    ]
    assert re.findall(r"^COPY .*", stage("serving"), re.MULTILINE) == [
        "COPY --from=code /marquee/app /marquee/app"
    ]
    assert "COPY app" not in stage("dependencies") + stage("packages")


def test_key_is_mounted_and_no_argument_or_variable() -> None:
    assert re.findall(r"^(?:ARG|ENV) .*(?:KEY|TOKEN|SECRET|PASSWORD).*", DOCKERFILE, re.MULTILINE) == []
    assert "--mount=type=secret,id=wandb_api_key,required=true" in DOCKERFILE


def test_nothing_is_sent_to_the_build_that_is_not_named() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    named = {pattern[1:].split("/")[0] for pattern in patterns if pattern.startswith("!")}
    assert not {".git", ".env", ".venv", ".marquee", "wandb", "data"} & named
    missing = [name for name in named if "*" not in name and not (ROOT / name).exists()]
    assert missing == []


def test_service_names_settings_that_exist() -> None:
    names = {item["name"] for item in CONTAINER["env"]}
    assert names <= {name.upper() for name in Settings.model_fields}
    assert {"MODEL_VERSION", "MODEL_DIGEST", "WANDB_API_KEY"} <= names
    assert [item["name"] for item in CONTAINER["env"] if "valueFrom" in item] == ["WANDB_API_KEY"]


def test_service_pins_the_image_by_digest_and_says_what_to_replace() -> None:
    assert re.fullmatch(r"REGISTRY/marquee@sha256:IMAGE_DIGEST", CONTAINER["image"])
    values = {item["name"]: item.get("value") for item in CONTAINER["env"]}
    assert (values["MODEL_VERSION"], values["MODEL_DIGEST"]) == ("vN", "MODEL_DIGEST")


def test_service_runs_as_the_image_does() -> None:
    (port,) = CONTAINER["ports"]
    assert f"PORT={port['containerPort']} " in DOCKERFILE
    assert f"EXPOSE {port['containerPort']}\n" in DOCKERFILE
    context = CONTAINER["securityContext"]
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}\n" in stage("serving")
    assert context["runAsNonRoot"]
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    (mount,) = CONTAINER["volumeMounts"]
    (volume,) = SERVICE["spec"]["template"]["spec"]["volumes"]
    assert (mount["name"], mount["mountPath"]) == (volume["name"], "/tmp")
    for variable in ("LOCAL_MODEL_DIR", "STATE_DIR"):
        assert re.search(rf"{variable}=/tmp/", DOCKERFILE), variable


def test_service_and_build_agree_on_probes_and_sizes() -> None:
    given = BUILD["substitutions"]
    for name in ("startup", "liveness"):
        assert CONTAINER[f"{name}Probe"] == probe(given[f"_{name.upper()}_PROBE"]), name
    start = CONTAINER["startupProbe"]
    assert start["failureThreshold"] * start["periodSeconds"] <= 240, "Cloud Run's limit"
    assert CONTAINER["resources"]["limits"] == {"cpu": given["_CPU"], "memory": given["_MEMORY"]}
    assert str(SERVICE["spec"]["template"]["spec"]["containerConcurrency"]) == given["_CONCURRENCY"]
    assert f"{SERVICE['spec']['template']['spec']['timeoutSeconds']}s" == given["_TIMEOUT"]
    (volume,) = SERVICE["spec"]["template"]["spec"]["volumes"]
    assert byte_count(volume["emptyDir"]["sizeLimit"]) < byte_count(given["_MEMORY"]), (
        "it is part of the limit"
    )


def test_terms_are_read_from_a_service() -> None:
    terms = Terms.of_service(SERVICE, lambda name, key: f"{name}/{key}")
    assert (terms.memory, terms.cpu) == ("1Gi", "1")
    assert terms.environment["MODEL_VERSION"] == "vN"
    assert terms.secrets == {"WANDB_API_KEY": "wandb-api-key/key"}


# make deploy-local


def run_local(*, path: str, folder: Path = ROOT, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["/bin/sh", str(folder / "deploy/local.sh")],
        env={"PATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the script, and a `docker` that prints what it was called with."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/local.sh", tmp_path / "deploy")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/docker"
    program.write_text('#!/bin/sh\necho "docker $*"\n', "utf-8")
    program.chmod(0o755)
    return tmp_path


def test_local_run_keeps_the_contract_of_cloud_run(checkout: Path) -> None:
    (checkout / ".env").write_text("PORT=1\n", "utf-8")
    told = run_local(
        path=f"{checkout}/bin:{os.environ['PATH']}", folder=checkout, PORT="8099", EXTRAS="tensorflow"
    )
    assert told.returncode == 0, told.stderr
    build, *rest = told.stdout.splitlines()
    assert "--build-arg EXTRAS=tensorflow" in build
    (started,) = [line for line in rest if line.startswith("docker run")]
    for option in (
        "--read-only",
        "--tmpfs /tmp:",
        "--memory 1g",
        "--memory-swap 1g",
        "--cpus 1",
        "--cap-drop ALL",
        "--publish 127.0.0.1:8099:8099",
    ):
        assert option in started
    assert started.index("--env-file .env") < started.index("--env PORT=8099"), (
        ".env has the laptop's own port"
    )
    assert any(line.startswith("http://127.0.0.1:8099 ") for line in rest)


def test_local_run_without_docker_says_so(checkout: Path) -> None:
    (checkout / "bin/docker").unlink()
    (checkout / "bin/dirname").symlink_to(shutil.which("dirname") or "")
    told = run_local(path=f"{checkout}/bin", folder=checkout)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith("make deploy-local: Docker is not installed: https://")


def test_local_run_without_an_engine_says_so(checkout: Path) -> None:
    (checkout / "bin/docker").write_text("#!/bin/sh\nexit 1\n", "utf-8")
    told = run_local(path=f"{checkout}/bin:{os.environ['PATH']}", folder=checkout)
    assert told.returncode == 1
    assert told.stderr.startswith("make deploy-local: no Docker engine answers")


def test_local_run_names_a_port_that_is_none(checkout: Path) -> None:
    told = run_local(path=f"{checkout}/bin:{os.environ['PATH']}", folder=checkout, PORT="web")
    assert told.returncode == 1
    assert "PORT must be a number, not 'web'" in told.stderr


@pytest.mark.cloud
@pytest.mark.timeout(900)
def test_local_run_serves_and_ctrl_c_stops_it(docker_engine: None, tmp_path: Path) -> None:
    port = a_free_port()
    output = tmp_path / "output"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            ["/bin/sh", str(ROOT / "deploy/local.sh")],
            env={**os.environ, "PORT": str(port), "CPU": "2"},
            stdout=sink,
            stderr=subprocess.STDOUT,
            # A shell takes an ignored Ctrl-C for granted, and whatever runs in the background has it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        deadline = time.monotonic() + 600
        while True:
            assert process.poll() is None, output.read_text("utf-8")
            assert time.monotonic() < deadline, output.read_text("utf-8")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as reply:
                    assert reply.status == 200
                    break
            except OSError:
                time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, output.read_text("utf-8")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
    assert f"http://127.0.0.1:{port} once it is ready" in output.read_text("utf-8")
    assert f"marquee-local-{process.pid}" not in docker("ps", "--all", "--format", "{{.Names}}").splitlines()
