"""What the first push left: the service as Google was told of it, and its image under the contract."""

import json
import re

import pytest

from tests.cloud.conftest import SECRET, Deployed
from tests.cloud.container import Terms, docker
from tests.cloud.contract import check_contract
from tests.cloud.recorded import check_recorded

pytestmark = [pytest.mark.cloud, pytest.mark.slow, pytest.mark.timeout(900)]


def test_service_is_what_is_recorded(deployed: Deployed) -> None:
    container = deployed.service["spec"]["template"]["spec"]["containers"][0]
    found = json.dumps(deployed.service)
    digest = next(item["value"] for item in container["env"] if item["name"] == "MODEL_DIGEST")
    for value, name in (
        (digest, "MODEL_DIGEST"),
        (container["image"], "IMAGE@DIGEST"),
        (deployed.build.build[:8], "BUILD"),
        (deployed.cloud.wandb.url, "WANDB_BASE_URL"),
        (deployed.service["metadata"]["labels"]["built"], "STARTED"),
    ):
        found = found.replace(value, name)
    found = re.sub(r'("run\.googleapis\.com/client-version": )"[^"]*"', r'\1"VERSION"', found)
    check_recorded("service", json.loads(found))


def test_service_is_private_pinned_and_sized(deployed: Deployed) -> None:
    assert not [call for call in deployed.calls if "IamPolicy" in call.path]
    template = deployed.service["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert re.fullmatch(r".+/marquee@sha256:[0-9a-f]{64}", container["image"])
    variables = {item["name"]: item for item in container["env"]}
    assert variables["WANDB_API_KEY"]["valueFrom"]["secretKeyRef"] == {"name": "wandb-api-key", "key": "1"}
    assert variables["PREDICT_BY_GET"]["value"] == "false"
    assert container["startupProbe"]["httpGet"]["path"] == "/health/ready"
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] <= 240
    assert container["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert container["resources"]["limits"]["memory"] == "1Gi"
    assert template["spec"]["serviceAccountName"] == "marquee-run@marquee-test.iam.gserviceaccount.com"
    assert template["metadata"]["annotations"]["run.googleapis.com/cpu-throttling"].lower() == "false"
    assert template["metadata"]["annotations"]["run.googleapis.com/startup-cpu-boost"].lower() == "true"


def test_pulled_image_keeps_the_contract_and_loses_no_row(deployed: Deployed) -> None:
    wandb = deployed.cloud.wandb
    terms = Terms.of_service(deployed.service, lambda name, key: deployed.cloud.apis.secrets[SECRET])
    (container,) = deployed.service["spec"]["template"]["spec"]["containers"]
    docker("pull", "--quiet", container["image"])
    before = {run.path for run in wandb.runs(project="reviews")}
    report = check_contract(container["image"], terms)
    assert report.broken == []
    assert report.stop is not None
    print(f"ready after {report.ready_seconds:.2f} s, stopped after {report.stop.seconds:.2f} s")
    answered = {entry["id"] for entry in report.in_flight["predictions"]}
    runs = [run.path for run in wandb.runs(project="reviews") if run.path not in before]
    assert answered <= {row.get("id") for run in runs for row in wandb.rows(run)}
