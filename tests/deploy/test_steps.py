"""What each step decides, on a project in memory; `tests/cloud` runs the same steps for real."""

import json
from pathlib import Path

import pytest

from deploy.cloud_run import Revision
from deploy.process import RejectedError, ReleaseError
from tests.deploy.support import IMAGE, NEW, OLD, Run, World, revision, world

__all__ = ["world"]

PUSH = {"REVISION": "beef", "IMAGE_URL": IMAGE}
CANDIDATE = "sentiment-v2-1234abcd"


def test_scheduled_release_moves_the_traffic_on_the_image_that_has_it(world: World, tmp_path: Path) -> None:
    Run(world, tmp_path).until("promote")
    assert world.done == [f"deploy {CANDIDATE}", f"traffic {CANDIDATE}"]
    assert world.deployed[CANDIDATE].image == f"{IMAGE}@sha256:1"
    assert world.deployed[CANDIDATE].labels["replaces"] == "sentiment-v1"
    assert ["--against=v1:" + OLD in command for command in world.asked] == [False, True]
    assert world.asked[1][0] == f"{IMAGE}-tools:c0ffee"


def test_nothing_new_ends_every_step_at_once(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.latest = ("v1", OLD)
    Run(world, tmp_path).until("promote")
    assert world.done == []
    assert capsys.readouterr().out.count("nothing to do: sentiment:latest is v1") == 5


def test_same_model_under_another_version_is_nothing_new(world: World, tmp_path: Path) -> None:
    world.latest = ("v9", OLD)
    Run(world, tmp_path).until("promote")
    assert world.done == []


def test_rejected_candidate_is_remembered_for_this_image_alone(world: World, tmp_path: Path) -> None:
    world.verdict = {"accepted": False, "reasons": ["too bad"], "golden": {}}
    with pytest.raises(
        RejectedError, match=r"sentiment:v2 is rejected: too bad\nThe traffic stays at sentiment-v1"
    ):
        Run(world, tmp_path / "1").until("promote")
    assert world.done == ["remember b"]
    Run(world, tmp_path / "2").until("promote")
    assert world.done == ["remember b"]
    # A push brought other code: the model gets another chance.
    world.verdict["accepted"] = True
    moved = world.deployed["sentiment-v1"]
    world.deployed["sentiment-v1"] = Revision(
        moved.name, f"{IMAGE}@sha256:2", moved.model_version, moved.model_digest, moved.labels
    )
    Run(world, tmp_path / "3").until("promote")
    assert world.traffic == {CANDIDATE: 100}


def test_push_does_not_remember_a_rejection(world: World, tmp_path: Path) -> None:
    world.verdict = {"accepted": False, "reasons": ["too bad"], "golden": {}}
    with pytest.raises(RejectedError, match="too bad"):
        Run(world, tmp_path, **PUSH).until("promote")
    assert world.done == []


def test_first_push_has_nothing_to_be_compared_with(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deployed, world.traffic = {}, {}
    monkeypatch.setattr("deploy.steps.run", lambda command: json.dumps([f"{IMAGE}@sha256:7"]))
    Run(world, tmp_path, **PUSH).until("promote")
    assert world.done == [f"deploy {CANDIDATE} first", f"traffic {CANDIDATE}"]
    assert not [word for command in world.asked for word in command if word.startswith("--against")]
    assert world.deployed[CANDIDATE].labels["built"] == "20260601-000000"


def test_push_after_a_first_one_that_never_started_is_a_first_one(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.deployed, world.traffic = {"sentiment-v1": revision("sentiment-v1")}, {"": 100}
    monkeypatch.setattr("deploy.steps.run", lambda command: json.dumps([f"{IMAGE}@sha256:7"]))
    Run(world, tmp_path, **PUSH).until("promote")
    assert world.done == [f"deploy {CANDIDATE} first", f"traffic {CANDIDATE}"]


def test_push_that_started_before_the_one_with_traffic_gives_way(world: World, tmp_path: Path) -> None:
    world.deployed["sentiment-v1"] = revision("sentiment-v1", built="20260601-000001")
    run = Run(world, tmp_path, **PUSH)
    run.until("promote")
    assert world.done == []
    assert (run.folder / "nothing").read_text("utf-8").startswith("overtaken: sentiment-v1")


def test_push_that_a_newer_model_overtook_fails_and_says_what_to_do(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.steps.run", lambda command: json.dumps([f"{IMAGE}@sha256:7"]))
    run = Run(world, tmp_path, **PUSH)
    run.until("try_candidate")
    world.deployed["sentiment-v3"], world.traffic = revision("sentiment-v3"), {"sentiment-v3": 100}
    with pytest.raises(ReleaseError, match=r"sentiment-v3 has the traffic now; .* Run this build again"):
        run.steps.promote()
    assert world.traffic == {"sentiment-v3": 100}


@pytest.mark.parametrize("step", ["accept", "deploy", "try_candidate"])
def test_scheduled_build_that_was_overtaken_ends_green_and_moves_nothing(
    world: World, tmp_path: Path, step: str
) -> None:
    run = Run(world, tmp_path)
    run.until(step)
    world.deployed["sentiment-v3"], world.traffic = revision("sentiment-v3"), {"sentiment-v3": 100}
    for name in ("deploy", "try_candidate", "promote")[("accept", "deploy", "try_candidate").index(step) :]:
        getattr(run.steps, name)()
    assert world.traffic == {"sentiment-v3": 100}


def test_candidate_whose_tag_another_build_took_is_not_promoted(world: World, tmp_path: Path) -> None:
    run = Run(world, tmp_path)
    run.until("try_candidate")
    world.tag = "sentiment-v3"
    run.steps.promote()
    assert world.traffic == {"sentiment-v1": 100}


def test_candidate_that_answers_wrongly_loses_its_tag(world: World, tmp_path: Path) -> None:
    world.answers = [RejectedError("golden example 3 is wrong")]
    with pytest.raises(RejectedError, match=f"{CANDIDATE}: golden example 3 is wrong"):
        Run(world, tmp_path).until("promote")
    assert world.done == [f"deploy {CANDIDATE}", "remember b", "untag"]
    assert world.traffic == {"sentiment-v1": 100}


@pytest.mark.parametrize("error", [RejectedError("wrong"), ReleaseError("no token")])
def test_traffic_goes_back_whatever_goes_wrong_after_it_moved(
    world: World, tmp_path: Path, error: Exception
) -> None:
    world.answers = [None, error]
    with pytest.raises(type(error)):
        Run(world, tmp_path).until("promote")
    assert world.traffic == {"sentiment-v1": 100}
    assert (NEW in world.rejected) == isinstance(error, RejectedError)


def test_candidate_that_does_not_start_is_rejected_with_cloud_runs_reason(
    world: World, tmp_path: Path
) -> None:
    world.starts = False
    with pytest.raises(RejectedError, match="did not become ready: it needed more memory"):
        Run(world, tmp_path).until("promote")
    assert NEW in world.rejected


def test_candidate_is_not_blamed_while_w_and_b_does_not_answer(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(world, tmp_path)
    run.until("accept")
    world.starts = False

    def unreachable(*arguments: object) -> str:
        raise ReleaseError("W&B did not answer")

    monkeypatch.setattr("deploy.planning.in_image", unreachable)
    with pytest.raises(ReleaseError, match="W&B did not answer"):
        run.steps.deploy()
    assert world.rejected == {}


def test_traffic_that_a_person_split_is_left_alone(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.deployed["sentiment-v0"], world.traffic = (
        revision("sentiment-v0"),
        {"sentiment-v1": 90, "sentiment-v0": 10},
    )
    Run(world, tmp_path).until("promote")
    assert world.done == []
    assert "split by hand (sentiment-v1 90 %, sentiment-v0 10 %)" in capsys.readouterr().out


def test_branches_do_not_share_a_service(world: World, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="of the branch master, and this build of feature/x"):
        Run(world, tmp_path, BRANCH="feature/x").until("plan")


def test_schedule_without_a_service_says_to_push(world: World, tmp_path: Path) -> None:
    world.deployed, world.traffic = {}, {}
    with pytest.raises(ReleaseError, match="push to build the first one"):
        Run(world, tmp_path).until("plan")


def test_step_without_its_predecessor_says_so(world: World, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"plan\.json is missing: an earlier step did not run"):
        Run(world, tmp_path).steps.accept()
