"""Liveness, readiness and health."""

import json

import pytest

from app.core.errors import ModelLoadError


def test_a_ready_instance_names_its_model(client):
    reply = client.get("/health/ready")
    assert reply.status_code == 200
    files = client.service.server.files
    assert reply.json() == {
        "status": "ready",
        "reason": None,
        "model": {"name": "words", "version": files.model.version, "digest": files.model.digest},
    }


def test_health_tells_everything(client):
    content = client.get("/api/v1/health").json()
    assert content["status"] == "ready"
    assert content["check"]["kind"] in ("golden", "smoke", "none")
    assert content["versions"]["marquee"]
    assert content["versions"]["fastapi"]
    assert content["uptime_seconds"] >= 0
    assert set(content["start_seconds"]) == {"obtain", "load", "check"}
    assert isinstance(content["inference_log"], dict)


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/api/v1/health", "/api/v1/model", "/", "/docs"]
)
def test_head_is_get_without_a_body(client, path):
    get, head = client.get(path), client.request("HEAD", path)
    assert head.status_code == get.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]
    assert int(head.headers["content-length"]) > 0


def test_a_failed_model_is_never_ready(make_settings):
    from app.main import create_app
    from tests.app.api.client import AppClient

    failures: list[Exception] = []
    app = create_app(make_settings(model_parameters={"refuse": "no such layer"}), on_failure=failures.append)
    with AppClient(app) as client:
        while not failures:
            client.get("/health/live")
        assert isinstance(failures[0], ModelLoadError)
        for path in ("/health/ready", "/api/v1/health"):
            reply = client.get(path)
            assert reply.status_code == 503
            assert reply.json()["status"] == "failed"
            assert "no such layer" in reply.json()["reason"]
            assert client.request("HEAD", path).status_code == 503
        assert client.get("/health/live").status_code == 200
        assert client.get("/api/v1/model").status_code == 503
        assert client.post("/predict", json={"text": "good"}).status_code == 503


def test_no_path_ends_in_z(client):
    for path in client.get("/openapi.json").json()["paths"]:
        assert not path.endswith("z")


def test_health_holds_only_json(client):
    json.dumps(client.get("/api/v1/health").json(), allow_nan=False)
