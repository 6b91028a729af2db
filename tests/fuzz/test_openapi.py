"""Our own OpenAPI page taken at its word: what it allows is answered, what it forbids refused, nothing ends in a 5xx.

schemathesis makes the requests from the page, in both kinds, and holds each reply to what the page says of it.
"""

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app.core.config import Settings
from app.main import create_app
from tests import models
from tests.app.api.client import AppClient

CASES = 40
"""Of each kind for each operation."""

ASKED = [
    "POST /predict",
    "POST /api/v1/predict",
    "GET /predict",
    "GET /api/v1/predict",
    "POST /api/v1/feedback",
]
TOLD = [
    "GET /health/live",
    "GET /health/ready",
    "GET /api/v1/health",
    "GET /api/v1/model",
    "GET /api/v1/monitor",
    "GET /metrics",
    "GET /",
]
WELL_FORMED = {"/api/v1/feedback": {200, 404, 410, 422}}
"""What a well-formed request may get. A schema can't say that an id must be one that was given."""
RUNS = [(name, mode) for name in ASKED for mode in GenerationMode]
RUNS += [(name, GenerationMode.POSITIVE) for name in TOLD]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppClient]:
    """An app with a tiny model that takes texts."""
    folder = tmp_path_factory.mktemp("fuzz")
    models.tiny_onnx(folder / "sentiment")
    settings = Settings(
        _env_file=None,
        model_source="local",
        local_model_dir=folder,
        state_dir=folder / "state",
        inference_log=False,
        inference_threads=1,
    )
    with AppClient(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="module")
def schema(client: AppClient) -> Any:
    return schemathesis.openapi.from_dict(client.get("/openapi.json").json())


def test_every_operation_is_fuzzed(schema: Any) -> None:
    found = [operation.ok() for operation in schema.get_all_operations()]
    assert sorted(f"{operation.method.upper()} {operation.path}" for operation in found) == sorted(
        ASKED + TOLD
    )


@pytest.mark.parametrize(("name", "mode"), RUNS, ids=lambda value: getattr(value, "value", value))
def test_replies_are_what_the_page_says(
    client: AppClient, schema: Any, name: str, mode: GenerationMode
) -> None:
    method, path = name.split()
    operation = schema[path][method]

    @hypothesis.settings(
        max_examples=CASES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        request = case.as_transport_kwargs(base_url="http://marquee.test")
        request.pop("cookies", None)
        request["content"] = request.pop("data", None)
        reply = client.request(request.pop("method"), request.pop("url"), **request)
        assert reply.status_code < 500, reply.text
        case.validate_response(reply, excluded_checks=[positive_data_acceptance])
        if mode is GenerationMode.POSITIVE and reply.status_code not in WELL_FORMED.get(path, {200}):
            assert "the text is blank" in reply.json()["detail"], reply.text

    ask()
