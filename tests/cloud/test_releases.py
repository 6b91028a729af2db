"""What a push and the schedule do, run for real: Docker, gcloud, a registry, W&B and the deployed containers."""

import json
import re

import pytest

from tests.cloud.cloud_run import Reply
from tests.cloud.conftest import COMMIT, Deployed, Scene
from tests.cloud.models import described, with_broken_golden, worse

pytestmark = [pytest.mark.cloud, pytest.mark.slow, pytest.mark.timeout(900)]


def test_push_tests_accepts_builds_deploys_tries_and_moves_traffic(deployed: Deployed) -> None:
    build, cloud = deployed.build, deployed.cloud
    ran = list(dict.fromkeys(step for step, _ in build.lines))
    assert ran == ["build-tools", "test", "plan", "accept", "build", "push", "deploy", "try", "promote"]
    assert re.search(r"\d+ passed", build.of("test"))
    assert "of 161 right" in build.of("accept")
    assert "answered 20 golden examples" in build.of("try")
    serving = cloud.serving("sentiment")
    assert re.fullmatch(rf"{re.escape(cloud.image)}@sha256:[0-9a-f]{{64}}", serving.image)
    digest = cloud.wandb.artifact(f"{cloud.wandb.entity}/reviews/sentiment:v0").digest
    assert (serving.environment["MODEL_VERSION"], serving.environment["MODEL_DIGEST"]) == ("v0", digest)
    assert serving.labels["commit"] == COMMIT
    assert build.last(1).startswith(f"{serving.name} with ")


def test_no_key_is_in_a_log_a_plan_or_a_request(deployed: Deployed) -> None:
    key = deployed.cloud.wandb.api_key
    assert key not in deployed.build.log
    assert key not in json.dumps([call.body for call in deployed.calls])
    for file in (deployed.build.folder / ".release").iterdir():
        assert key not in file.read_text("utf-8")


def test_schedule_with_nothing_new_deploys_nothing(scene: Scene) -> None:
    build = scene.scheduled()
    assert build.green, build.log
    assert f"{scene.service}:latest is v0, which has the traffic already" in build.of("plan")
    assert build.last(1).startswith("nothing to do: ")
    assert scene.cloud.apis.changes("run") == []


def test_schedule_promotes_a_good_version_on_the_same_image(scene: Scene) -> None:
    before = scene.serving
    digest = scene.publish(described("trained again"))
    build = scene.scheduled()
    assert build.green, build.log
    assert scene.serving.name != before.name
    assert scene.serving.image == before.image
    assert scene.serving.environment["MODEL_VERSION"] == "v1"
    assert scene.serving.environment["MODEL_DIGEST"] == digest
    assert scene.serving.labels["replaces"] == before.name
    assert scene.serving.labels["built"] == before.labels["built"]
    again = scene.scheduled()
    assert again.green
    assert "is v1, which has the traffic already" in again.last(1)


def test_version_with_broken_golden_examples_is_rejected_once(scene: Scene) -> None:
    before = scene.serving.name
    digest = scene.publish(with_broken_golden())
    build = scene.scheduled()
    assert build.failed == "accept"
    assert scene.serving.name == before
    assert re.search(
        rf"{scene.service}:v1 is rejected: golden example 2 of 20: expected the label", build.last(2)
    )
    assert build.last(1) == (
        f"The traffic stays at {before} (v0), and this model is not tried again with this image."
    )
    annotations = scene.cloud.apis.cloud_run.services[scene.service]["metadata"]["annotations"]
    assert "golden example 2 of 20" in json.loads(annotations[f"marquee/rejected-{digest}"])["reason"]
    scene.cloud.apis.clear()
    again = scene.scheduled()
    assert again.green
    assert "is v1, which was rejected for this image at" in again.of("plan")
    assert "golden example 2 of 20" in again.last(1)
    assert scene.cloud.apis.changes("run") == []


def test_worse_version_that_keeps_its_own_word_is_rejected(
    scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = scene.serving.name
    scene.publish(worse(tmp_path_factory.mktemp("worse")))
    build = scene.scheduled(_ACCEPTANCE="sentences", _FLOOR="0.9")
    assert build.failed == "accept"
    assert scene.serving.name == before
    assert "20 examples" in build.of("accept")
    assert re.search(r"v1 is rejected: against v0, which has traffic: Worse: ", build.last(2))
    assert build.last(1).startswith(f"The traffic stays at {before} (v0)")


def test_overtaken_build_does_not_promote(scene: Scene) -> None:
    scene.publish(described("first"))

    def overtake() -> None:
        scene.publish(described("second"))
        newer = scene.scheduled()
        assert newer.green, newer.log

    build = scene.scheduled(before={"try": overtake})
    assert build.green, build.log
    assert scene.serving.environment["MODEL_VERSION"] == "v2"
    assert "nothing to do: overtaken: " in build.last(1)


def test_candidate_that_does_not_start_is_rejected(scene: Scene) -> None:
    before = scene.serving.name
    scene.publish(described("too big for its memory"))
    build = scene.scheduled(_MEMORY="64Mi")
    assert build.failed == "deploy"
    assert scene.serving.name == before
    assert "did not become ready" in build.last(2)
    assert "it needed more memory than its limit" in build.last(2)
    assert build.last(1).startswith(f"The traffic stays at {before} (v0)")


def test_candidate_that_answers_its_health_check_with_an_error_is_rejected(scene: Scene) -> None:
    before = scene.serving.name
    scene.publish(described("ill"))
    ill = Reply(404, {"detail": "not here"})
    scene.cloud.disturbances[f"candidate---{scene.address}", "/api/v1/health"] = ill
    build = scene.scheduled()
    assert build.failed == "try"
    assert scene.serving.name == before
    assert "its health check answered 404 to GET /api/v1/health" in build.last(2)
    traffic = scene.cloud.apis.cloud_run.services[scene.service]["spec"]["traffic"]
    assert not [target for target in traffic if target.get("tag")]


def test_traffic_goes_back_where_the_service_fails_once_it_moved(scene: Scene) -> None:
    before = scene.serving.name
    scene.publish(described("fine alone"))
    scene.cloud.disturbances[scene.address, "/predict"] = Reply(422, {"detail": "no"})
    build = scene.scheduled()
    assert build.failed == "promote"
    assert scene.serving.name == before
    assert "golden example 1 of 20 over HTTP: answered with 422" in build.last(2)
    assert build.last(1).startswith(f"The traffic stays at {before} (v0)")
    moves = [call.body["spec"]["traffic"] for call in scene.cloud.apis.changes("run")]
    shares = [[target["revisionName"] for target in move if target.get("percent") == 100] for move in moves]
    assert len(shares) >= 3
    assert shares[-1] == [before]


def test_second_service_follows_the_image_of_the_first(scene: Scene) -> None:
    scene.cloud.publish("books", described("of another kind"))
    build = scene.cloud.scheduled("books", _IMAGE_FROM="sentiment", _ACCEPTANCE="golden")
    assert build.green, build.log
    books, films = scene.cloud.serving("books"), scene.cloud.serving("sentiment")
    assert books.image == films.image
    assert books.environment["LOCAL_MODEL_NAME"] == "books"
    assert books.environment["MODEL_DIGEST"] != films.environment["MODEL_DIGEST"]
