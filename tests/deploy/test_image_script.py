"""The script that builds and pushes the images, with a Docker that prints how it is called."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def image(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    docker = programs / "docker"
    docker.write_text(
        '#!/bin/sh\necho "$*" >>calls\nprintf "docker"\nprintf " [%s]" "$@"\necho\n'
        '[ "$1" != pull ] || [ -z "${NO_SUCH_IMAGE:-}" ]\n',
        "utf-8",
    )
    docker.chmod(0o755)
    told = {"RELEASE_IMAGE_URL": "here/marquee", "RELEASE_REVISION": "c0ffee", **variables}
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", **told}
    return subprocess.run(
        ["/bin/sh", str(ROOT / "deploy/image.sh"), *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_both_stages_are_built_with_the_cache_of_the_last_build(tmp_path: Path) -> None:
    said = image(tmp_path, "build", "test", RELEASE_EXTRAS="tensorflow").stdout
    assert "[--target] [test] [--tag] [here/marquee-tools:c0ffee]" in said
    assert "[--cache-from] [here/marquee-tools:cache]" in said
    assert "[EXTRAS=tensorflow]" in said
    assert (tmp_path / ".release/started").read_text("utf-8")[:2] == "20"
    said = image(tmp_path, "build", "serving").stdout
    assert "[--target] [serving] [--tag] [here/marquee:c0ffee]" in said
    assert "BAKE_MODEL" not in said


def test_last_build_is_pulled_before_its_cache_is_used(tmp_path: Path) -> None:
    """A layer that BuildKit itself takes from a registry is missing in the cache that the next build is offered."""
    for stage, name in (("test", "here/marquee-tools"), ("serving", "here/marquee")):
        # Each call is kept in a file: what a pull says is not the reader's business.
        done = image(tmp_path, "build", stage)
        assert done.returncode == 0
        calls = (tmp_path / "calls").read_text("utf-8").splitlines()[-2:]
        assert calls[0] == f"pull --quiet {name}:cache"
        assert calls[1].startswith(f"build --target {stage} ")


def test_build_without_an_earlier_one_says_that_it_has_no_cache(tmp_path: Path) -> None:
    done = image(tmp_path, "build", "test", NO_SUCH_IMAGE="yes")
    assert done.returncode == 0
    first, second = done.stdout.splitlines()
    assert first == "no cache from here/marquee-tools:cache: it is not there, or cannot be pulled"
    assert second.startswith("docker [build]")


def test_model_is_baked_with_the_key_as_a_secret(tmp_path: Path) -> None:
    (tmp_path / ".release").mkdir()
    (tmp_path / ".release/bake-arguments").write_text("MODEL_NAME=films\nMODEL_VERSION=v7\n", "utf-8")
    said = image(tmp_path, "build", "serving", RELEASE_BAKE_MODEL="on", WANDB_API_KEY="hidden").stdout
    assert (
        "[--build-arg] [MODEL_NAME=films] [--build-arg] [MODEL_VERSION=v7] [--build-arg] [BAKE_MODEL=on]"
        in said
    )
    assert "[--secret] [id=wandb_api_key,env=WANDB_API_KEY]" in said
    assert "hidden" not in said


def test_both_images_are_pushed(tmp_path: Path) -> None:
    said = image(tmp_path, "push").stdout.splitlines()
    assert [line.rpartition(" ")[2] for line in said] == ["[here/marquee-tools]", "[here/marquee]"]


def test_nothing_is_built_where_there_is_nothing_to_release(tmp_path: Path) -> None:
    (tmp_path / ".release").mkdir()
    (tmp_path / ".release/nothing").write_text("overtaken\n", "utf-8")
    for arguments in (("build", "serving"), ("push",)):
        done = image(tmp_path, *arguments)
        assert (done.returncode, done.stdout) == (0, "nothing to do: overtaken\n")


@pytest.mark.parametrize(
    ("name", "word"), [("RELEASE_REVISION", "_REVISION"), ("RELEASE_IMAGE_URL", "_IMAGE_URL")]
)
def test_missing_name_is_told(tmp_path: Path, name: str, word: str) -> None:
    done = image(tmp_path, "build", "test", **{name: ""})
    assert done.returncode != 0
    assert f"{word} is empty" in done.stderr


def test_unknown_command_is_wrong_use(tmp_path: Path) -> None:
    assert image(tmp_path, "build", "everything").returncode == 2
