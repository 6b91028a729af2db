"""The Makefile keeps what the documents promise, and its scripts fail in words."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ")
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", MAKEFILE, re.MULTILINE))
NAMED = re.compile(r"(?:[`(]|^\s*(?:\$ )?)(?:[A-Z_]+=\S+ )*make ([a-z][a-z0-9-]*)", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)

needs_make = pytest.mark.skipif(
    shutil.which("make") is None, reason="make is not installed, as in the image of the tests"
)

OFFLINE = """
import sys
def refuse(event, arguments):
    if event.startswith("socket."):
        raise RuntimeError("the network was used: " + event)
sys.addaudithook(refuse)
"""


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command at the root, without the variables that would tell a make of its parent."""
    environment = {
        name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    }
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def targets_named_in(path: Path) -> set[str]:
    text = path.read_text("utf-8")
    in_prose = set(re.findall(r"[`(]make ([a-z][a-z0-9-]*)", text))
    if path.suffix != ".md":
        return in_prose
    return in_prose | {name for block in FENCED.findall(text) for name in NAMED.findall(block)}


def test_every_target_that_a_document_or_a_message_names_exists() -> None:
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *(ROOT / ".ci").iterdir()]
    files += [path for folder in ("app", "ml", "scripts", "deploy") for path in (ROOT / folder).rglob("*.py")]
    named = {name: path.relative_to(ROOT) for path in files for name in targets_named_in(path)}
    assert "install-tensorflow" in named
    assert {name: path for name, path in named.items() if name not in TARGETS} == {}


@needs_make
def test_help_is_the_default_and_lists_every_target_with_its_purpose() -> None:
    reply = run("make")
    assert reply.returncode == 0, reply.stderr
    plain = re.sub(r"\x1b\[\d*m", "", reply.stdout)
    assert {line.split()[0] for line in plain.splitlines() if len(line.split()) > 1} == TARGETS
    assert {"help", "install", "run", "deploy", "test", "easter"} <= TARGETS


def test_every_target_is_phony() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == TARGETS


@needs_make
def test_easter_shows_what_is_configured_without_the_network(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(OFFLINE, "utf-8")
    reply = run(
        "make",
        "easter",
        PYTHON=sys.executable,
        PYTHONPATH=str(tmp_path),
        MODEL_SOURCE="wandb",
        PROJECT_NAME="reviews",
        LOCAL_MODEL_NAME="films",
        MODEL_VERSION="v7",
    )
    assert reply.returncode == 0, reply.stderr
    assert "NOW SHOWING" in reply.stdout
    assert "films:v7" in reply.stdout
    # Not a terminal: plain ASCII, once, without colours or movement.
    assert "\x1b" not in reply.stdout
    assert reply.stdout.isascii()
    assert reply.stdout.count("NOW SHOWING") == 1


def test_offline_guard_notices_a_connection(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(OFFLINE, "utf-8")
    connect = "import socket; socket.create_connection(('127.0.0.1', 9))"
    assert "the network was used" in run(sys.executable, "-c", connect, PYTHONPATH=str(tmp_path)).stderr


def test_easter_without_configuration_shows_the_embedded_model() -> None:
    reply = run(sys.executable, "scripts/easter.py", MODEL_SOURCE="embedded")
    assert "THE EMBEDDED MODEL" in reply.stdout


def launcher(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n", "utf-8")
    path.chmod(0o755)


def test_python_that_does_not_run_is_passed_over(tmp_path: Path) -> None:
    launcher(tmp_path, "python3", "echo not installed >&2; exit 127")
    launcher(tmp_path, "python3.12", f'exec "{sys.executable}" "$@"')
    reply = run("/bin/sh", "scripts/find_python.sh", PATH=str(tmp_path), PYTHON="")
    assert (reply.returncode, reply.stdout) == (0, "python3.12\n")


@pytest.mark.parametrize("named", ["", "/nowhere/python3"])
def test_missing_python_is_told_in_words(tmp_path: Path, named: str) -> None:
    reply = run("/bin/sh", "scripts/find_python.sh", PATH=str(tmp_path), PYTHON=named)
    assert reply.returncode == 1
    assert reply.stdout == ""
    assert "Python 3.11" in reply.stderr


@needs_make
def test_lock_without_poetry_says_how_to_get_it() -> None:
    reply = run("make", "lock", "POETRY=/nowhere/poetry")
    assert reply.returncode != 0
    assert "pipx install poetry" in reply.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with deploy.sh and a build to submit."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    (folder / "cloudbuild.yaml").write_text("steps: []\n", "utf-8")
    git(folder, "init", "--quiet", "--initial-branch=master")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b.test", "commit", "--quiet", "--message=Start")
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder; return what it says."""
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def deploy(checkout: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script with a gcloud that prints what it was called with."""
    programs = checkout.parent / "programs"
    programs.mkdir()
    launcher(programs, "gcloud", 'if [ "$1" = config ]; then echo someone; else echo "gcloud $*"; fi')
    path = f"{programs}:{os.environ['PATH']}"
    return run("/bin/sh", str(checkout / "deploy" / "deploy.sh"), **{"PATH": path, **variables})


def test_deploy_submits_the_build(checkout: Path) -> None:
    reply = deploy(checkout, PROJECT="films", REGION="europe-west1", SUBSTITUTIONS="_A=b")
    assert reply.returncode == 0, reply.stderr
    assert reply.stdout.startswith("gcloud builds submit --project films --region europe-west1 ")
    commit = git(checkout, "rev-parse", "HEAD")
    assert f"_REGION=europe-west1,_REVISION={commit},_BRANCH=master,_A=b ." in reply.stdout
    assert "/serviceAccounts/marquee-build@films.iam.gserviceaccount.com" in reply.stdout


def test_deploy_names_what_was_not_committed(checkout: Path) -> None:
    (checkout / "cloudbuild.yaml").write_text("steps: [changed]\n", "utf-8")
    reply = deploy(checkout, PROJECT="films", REGION="europe-west1")
    assert f"_REVISION={git(checkout, 'rev-parse', 'HEAD')}-changed," in reply.stdout


def test_deploy_outside_of_a_checkout_is_refused(checkout: Path) -> None:
    shutil.rmtree(checkout / ".git")
    reply = deploy(
        checkout, PROJECT="films", REGION="europe-west1", GIT_CEILING_DIRECTORIES=str(checkout.parent)
    )
    assert reply.returncode == 1
    assert "no git checkout" in reply.stderr


@pytest.mark.parametrize("missing", ["PROJECT", "REGION"])
def test_deploy_names_the_variable_that_is_missing(checkout: Path, missing: str) -> None:
    reply = deploy(checkout, **{"PROJECT": "films", "REGION": "europe-west1", missing: ""})
    assert reply.returncode == 1
    assert f"{missing} is not set" in reply.stderr


def test_deploy_without_gcloud_says_where_to_get_it(checkout: Path, tmp_path: Path) -> None:
    launcher(tmp_path, "dirname", 'exec /usr/bin/dirname "$@"')
    variables = {"PROJECT": "films", "REGION": "europe-west1", "PATH": str(tmp_path)}
    reply = run("/bin/sh", str(checkout / "deploy" / "deploy.sh"), **variables)
    assert reply.returncode == 1
    assert "gcloud is not installed" in reply.stderr
