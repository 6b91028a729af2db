"""Predictions are answered without the router, everything else by it."""

import asyncio
import json
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse

from app.api.application import Direct
from app.core.errors import InvalidInputError


async def router(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("by the router")(scope, receive, send)


async def endpoint(request: Any) -> PlainTextResponse:
    return PlainTextResponse("directly")


async def refuse(request: Any) -> PlainTextResponse:
    raise InvalidInputError("not this")


async def leave(request: Any) -> PlainTextResponse:
    raise ClientDisconnect


def answer(method: str, path: str, root_path: str = "") -> tuple[int, bytes]:
    app = Direct(
        router,
        {
            ("POST", "/predict"): ("a", endpoint),
            ("POST", "/refused"): ("b", refuse),
            ("POST", "/left"): ("c", leave),
        },  # type: ignore[dict-item]
    )
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http", "method": method, "path": path, "root_path": root_path, "headers": [],
        "state": {"request_id": "an-id"},
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.parametrize(
    ("method", "path", "root_path", "said"),
    [
        ("POST", "/predict", "", b"directly"),
        ("POST", "/models/predict", "/models", b"directly"),
        ("GET", "/predict", "", b"by the router"),
        ("POST", "/predict/x", "", b"by the router"),
        ("POST", "/models/predict", "", b"by the router"),
    ],
)
def test_who_answers(method, path, root_path, said):
    assert answer(method, path, root_path) == (200, said)


def test_errors_are_answered_as_everywhere():
    status, body = answer("POST", "/refused")
    assert (status, json.loads(body)["detail"], json.loads(body)["instance"]) == (422, "not this", "an-id")
    assert answer("POST", "/left")[0] == 499


def test_both_paths_of_predictions_are_answered_without_the_router(client, monkeypatch):
    async def fail(*_: object) -> None:
        raise AssertionError("the router was asked")

    monkeypatch.setattr(type(client.app.router), "__call__", fail)
    for path in ("/predict", "/api/v1/predict"):
        assert client.post(path, json={"text": "good"}).status_code == 200
    assert client.get("/api/v1/model").status_code == 500
