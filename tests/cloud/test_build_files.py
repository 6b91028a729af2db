"""The two build files, read strictly in both modes; and files broken in every way that we know of, refused."""

from dataclasses import fields
from pathlib import Path

import pytest

from deploy.process import ReleaseError
from deploy.settings import ReleaseSettings, read_settings
from deploy.setup import PUSH_ONLY, SCHEDULE_ONLY
from tests.cloud.build_file import Build, BuildFileError, gcloud_problems, read_build

pytestmark = pytest.mark.cloud

ROOT = Path(__file__).resolve().parents[2]
PUSH, SCHEDULE = ROOT / "cloudbuild.yaml", ROOT / "cloudbuild-scheduled.yaml"
BUILT_IN = {
    "PROJECT_ID": "films", "BUILD_ID": "b1e2-3", "COMMIT_SHA": "c0ffee", "BRANCH_NAME": "master",
}  # fmt: skip
TEXT = PUSH.read_text("utf-8")
STEP = "  - id: promote\n"


def replaced(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


BROKEN = {
    "two steps of one id": (replaced("  - id: push\n", "  - id: build\n"), "two steps have the id build"),
    "an environment that is a map": (
        replaced("env: [HOME=/tmp, 'PYTEST_ADDOPTS=${_TEST_ARGS}']", "env: {HOME: /tmp}"),
        "not as the schema has it",
    ),
    "an argument that is a number": (
        replaced("args: [-m, deploy, plan]", "args: [-m, deploy, plan, 8]"),
        "not as the schema has it",
    ),
    "a kind of logging that there is not": (
        replaced("CLOUD_LOGGING_ONLY", "CLOUD_LOGGING"),
        "not as the schema has it",
    ),
    "logging that an own account excludes": (
        replaced("logging: CLOUD_LOGGING_ONLY", "logging: LEGACY"),
        "needs logging: CLOUD_LOGGING_ONLY",
    ),
    "a machine that there is not": (replaced("E2_HIGHCPU_8", "E2_HIGHCPU_9"), "not as the schema has it"),
    "a step without an image": (
        replaced("    name: gcr.io/cloud-builders/docker\n", ""),
        "step build-tools has no name of an image",
    ),
    "a secret that is not made available": (
        replaced("secretEnv: [WANDB_API_KEY]", "secretEnv: [WANDB_KEY]"),
        "the secret WANDB_KEY is in no availableSecrets",
    ),
    "a time in minutes": (replaced("timeout: 3600s", "timeout: 60m"), "not as the schema has it"),
    "a key of a step that there is not": (
        replaced(STEP, f"{STEP}    waitfor: [try]\n"),
        "not as the schema has it",
    ),
    "a key that there is not": (replaced("timeout: 3600s", "timout: 3600s"), "not as the schema has it"),
    "a step that waits for nobody": (
        replaced(STEP, f"{STEP}    waitFor: [tyr]\n"),
        "step promote waits for tyr",
    ),
    "a step that waits for a later one": (
        replaced("  - id: plan\n", "  - id: plan\n    waitFor: [promote]\n"),
        "step plan waits for promote",
    ),
    "a substitution without an underscore": (
        replaced("  _SERVICE: 'sentiment'", "  SERVICE: 'sentiment'"),
        "the substitution SERVICE must match",
    ),
    "a substitution that is not defined": (
        replaced("  _FLOOR: '0.93'\n", ""),
        "the substitution _FLOOR is not defined",
    ),
    "a substitution that is used nowhere": (
        replaced("  _FLOOR: '0.93'\n", "  _FLOOR: '0.93'\n  _FLOR: '0.9'\n"),
        "the substitution _FLOR is used nowhere",
    ),
    "a built-in substitution that there is not": (
        replaced("'${COMMIT_SHA}'", "'${COMIT_SHA}'"),
        "the substitution COMIT_SHA is not a built-in substitution",
    ),
    "a dollar that the shell should have": (
        replaced("args: [deploy/image.sh, push]", "args: [-c, 'sh deploy/image.sh ${1:-push}']"),
        "write $$",
    ),
    "a script beside arguments": (
        replaced(
            "    args: [-m, deploy, promote]\n", "    args: [-m, deploy, promote]\n    script: 'true'\n"
        ),
        "excludes args and entrypoint",
    ),
    "a tag that is none": (
        replaced("tags: ['${_SERVICE}', push]", "tags: ['a b']"),
        "the tag 'a b' is not one",
    ),
    "no steps": (TEXT[TEXT.index("availableSecrets:") :], "there are no steps"),
}


@pytest.fixture(params=[PUSH, SCHEDULE], ids=["push", "schedule"])
def file(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def both() -> tuple[Build, Build]:
    return (read_build(PUSH, built_in=BUILT_IN), read_build(SCHEDULE, built_in=BUILT_IN))


@pytest.mark.parametrize("triggered", [False, True], ids=["submitted", "triggered"])
def test_build_files_are_valid_in_either_mode(file: Path, triggered: bool) -> None:
    build = read_build(file, built_in=BUILT_IN, triggered=triggered)
    assert build.options["logging"] == "CLOUD_LOGGING_ONLY"
    assert build.secrets == {"WANDB_API_KEY": "projects/films/secrets/wandb-api-key/versions/1"}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_build_file_is_refused(name: str) -> None:
    text, reason = BROKEN[name]
    with pytest.raises(BuildFileError) as refused:
        read_build(text, built_in=BUILT_IN)
    assert reason in str(refused.value)


def test_trigger_with_a_substitution_that_the_file_has_not_is_refused() -> None:
    with pytest.raises(BuildFileError, match="_SERVCE is given"):
        read_build(PUSH, built_in=BUILT_IN, substitutions={"_SERVCE": "films"})


def test_misspelt_substitution_is_silent_in_a_trigger_and_loud_in_the_first_step() -> None:
    text = TEXT.replace("RELEASE_SERVICE=${_SERVICE}", "RELEASE_SERVICE=${_SERVCE}")
    with pytest.raises(BuildFileError, match="_SERVCE is not defined"):
        read_build(text, built_in=BUILT_IN)
    build = read_build(text, built_in=BUILT_IN, triggered=True)
    plan = next(step for step in build.steps if step.id == "plan")
    assert plan.env["RELEASE_SERVICE"] == ""
    with pytest.raises(ReleaseError, match="_SERVICE is empty: is a substitution of the trigger misspelt"):
        read_settings(plan.env)


@pytest.mark.skipif("not __import__('shutil').which('gcloud')", reason="gcloud is not installed")
def test_gcloud_with_a_flag_that_it_has_not_is_refused() -> None:
    step = (
        "  - name: gcr.io/cloud-builders/gcloud\n    args: [run, deploy, films, --image=i, --concurency=8]\n"
    )
    (problem,) = gcloud_problems(read_build(TEXT.replace("steps:\n", "steps:\n" + step), built_in=BUILT_IN))
    assert "--concurency" in problem


def test_every_setting_is_handed_over_and_read(file: Path) -> None:
    build = read_build(file, built_in=BUILT_IN)
    handed = {name.removeprefix("RELEASE_").lower() for name in build.steps[0].env}
    known = {field.name for field in fields(ReleaseSettings)}
    absent = {"image_from"} if file == PUSH else {"image_url", "revision"}
    assert known - handed == absent
    assert handed - known <= {"extras", "bake_model"}  # deploy/image.sh reads these.
    for name, value in build.substitutions.items():
        if (given := build.steps[0].env.get(f"RELEASE{name}")) is not None:
            assert given == value
    settings = read_settings(next(step for step in build.steps if step.id == "plan").env)
    assert (settings.project, settings.build, settings.branch) == ("films", "b1e2-3", "master")


def test_both_files_run_the_same_steps_with_the_same_defaults() -> None:
    push, schedule = both()
    shared = [step.id for step in schedule.steps]
    assert shared == ["plan", "accept", "deploy", "try", "promote"]

    def essence(build: Build) -> list[tuple[object, ...]]:
        return [
            (step.id, step.image, step.entrypoint, step.args, step.secrets)
            for step in build.steps
            if step.id in shared
        ]

    assert essence(push) == essence(schedule)
    assert push.substitutions.keys() - schedule.substitutions.keys() == PUSH_ONLY
    assert schedule.substitutions.keys() - push.substitutions.keys() == SCHEDULE_ONLY
    for name in push.substitutions.keys() & schedule.substitutions.keys():
        assert push.substitutions[name] == schedule.substitutions[name]


def test_tests_come_first_and_traffic_last() -> None:
    ids = [step.id for step in both()[0].steps]
    assert ids == ["build-tools", "test", "plan", "accept", "build", "push", "deploy", "try", "promote"]
