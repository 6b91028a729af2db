"""Feedback over HTTP: joined to the prediction of any instance with the key, refused with a reason otherwise."""

import pytest

from app.services.feedback import PredictionIds
from tests.app.api.client import AppClient

KEY = {"feedback_key": "shared-between-instances"}


def predicted(client: AppClient, text: str = "A good film.") -> str:
    return client.post("/predict", json={"text": text}).json()["id"]


def send(client: AppClient, **body):
    return client.post("/api/v1/feedback", json=body)


def test_the_truth_is_joined_to_the_prediction(make_client):
    client = make_client(**KEY)
    row_id = predicted(client)
    reply = send(client, id=row_id, label="Positive")
    assert reply.status_code == 200
    assert reply.json() == {
        "id": row_id,
        "label": "positive",
        "prediction": "positive",
        "right": True,
        "confidence": None,
        "model_version": "local",
        "counted": True,
    }
    assert send(client, id=row_id, label="negative").json()["counted"] is False


def test_another_instance_with_the_key_takes_it(make_client):
    row_id = predicted(make_client(**KEY))
    assert send(make_client(**KEY), id=row_id, label="negative").json()["right"] is False


def test_another_instance_without_the_key_refuses_it(make_client):
    row_id = predicted(make_client())
    reply = send(make_client(), id=row_id, label="positive")
    assert reply.status_code == 404
    assert reply.json()["type"] == "urn:marquee:problem:unknown-id"
    assert "FEEDBACK_KEY" in reply.json()["detail"]


def test_each_entry_of_a_list_takes_its_own_truth(make_client):
    client = make_client(**KEY)
    reply = client.post("/predict", json={"texts": ["A good film.", "Dull."]}).json()
    assert [
        send(client, id=entry["id"], label="positive").json()["right"] for entry in reply["predictions"]
    ] == [
        True,
        False,
    ]
    assert send(client, id=reply["id"], label="positive").status_code == 422


def test_the_page_hands_out_no_ids(make_client):
    client = make_client(**KEY)
    row_id = predicted(client)
    assert row_id not in client.get("/api/v1/monitor").text


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"id": "no-id", "label": "positive"}, 422, "id"),
        ({"id": "A" * 80, "label": "positive"}, 422, "id"),
        ({"id": "x" * 500, "label": "positive"}, 422, "id"),
        ({"label": "positive"}, 422, "id"),
        ({"id": "GOOD"}, 422, "label"),
        ({"id": "GOOD", "label": "wonderful"}, 422, "negative, positive"),
        ({"id": "GOOD", "label": ""}, 422, "label"),
        ({"id": "GOOD", "label": 1}, 422, "label"),
        ({"id": "GOOD", "label": "positive", "more": 1}, 422, "more"),
        ([], 422, "object"),
    ],
)
def test_what_is_wrong_is_named(make_client, body, status, word):
    client = make_client(**KEY)
    if isinstance(body, dict) and body.get("id") == "GOOD":
        body = body | {"id": predicted(client)}
    reply = client.post("/api/v1/feedback", json=body)
    assert reply.status_code == status
    assert word in reply.text
    assert reply.headers["content-type"] == "application/problem+json"


def test_an_old_id_is_gone(make_client, make_settings, monkeypatch):
    client = make_client(**KEY)
    monkeypatch.setattr("app.services.feedback.time.time", lambda: 1_000_000_000.0)
    old = PredictionIds(make_settings(**KEY)).issue("positive", 0.9, "v1")
    monkeypatch.undo()
    reply = send(client, id=old, label="positive")
    assert reply.status_code == 410
    assert reply.json()["type"] == "urn:marquee:problem:expired-id"


def test_live_accuracy_follows(make_client):
    client = make_client(**KEY)
    for index in range(10):
        send(client, id=predicted(client), label="positive" if index else "negative")
    metrics = client.get("/metrics").text
    assert "marquee_live_accuracy 0.9" in metrics
    assert 'marquee_feedback_total{outcome="wrong"} 1.0' in metrics


def test_the_interface_is_documented(client):
    operation = client.get("/openapi.json").json()["paths"]["/api/v1/feedback"]["post"]
    assert set(operation["requestBody"]["content"]["application/json"]["schema"]["required"]) == {
        "id",
        "label",
    }
    assert {"200", "404", "410", "422"} <= set(operation["responses"])
