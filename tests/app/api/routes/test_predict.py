"""What a client of /predict sees."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

PATHS = ["/predict", "/api/v1/predict"]
NUMBERS = "tests.app.api.predictors:NumbersPredictor"


@pytest.mark.parametrize("path", PATHS)
def test_one_text_is_answered_with_the_model_that_answered(client, path):
    reply = client.post(path, json={"text": "A good film."})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    content = reply.json()
    assert (content["text"], content["sentiment"]) == ("A good film.", "Positive")
    assert content["model"]["name"] == "words"
    assert content["model"]["digest"] == client.service.server.files.model.digest
    assert content["id"]


@pytest.mark.parametrize("path", PATHS)
def test_several_texts_are_answered_in_order(client, path):
    reply = client.post(path, json={"texts": ["good", "bad", "good again"]})
    assert reply.status_code == 200
    assert [entry["sentiment"] for entry in reply.json()["predictions"]] == [
        "Positive",
        "Negative",
        "Positive",
    ]


@pytest.mark.parametrize("path", PATHS)
def test_get_answers_the_text_of_the_address(client, path):
    reply = client.get(path, params={"text": "good & well, 100 % é"})
    assert reply.status_code == 200
    assert reply.json()["text"] == "good & well, 100 % é"


@pytest.mark.parametrize("query", ["", "?txt=good", "?text=a&text=b"])
def test_get_wants_exactly_one_text(client, query):
    reply = client.get(f"/predict{query}")
    assert reply.status_code == 422
    assert reply.json()["errors"] == [
        {"path": "text", "message": "give it once, as in /predict?text=I+liked+it"}
    ]


def test_get_can_be_switched_off(make_client):
    client = make_client(predict_by_get=False)
    reply = client.get("/predict", params={"text": "good"})
    assert reply.status_code == 405
    assert reply.headers["allow"] == "OPTIONS, POST"
    assert "POST" in reply.json()["detail"]
    assert client.post("/predict", json={"text": "good"}).status_code == 200
    assert "get" not in client.get("/openapi.json").json()["paths"]["/predict"]


def test_bytes_that_are_no_text_in_an_address_are_replaced(client):
    reply = client.get("/predict?text=good%ff")
    assert reply.status_code == 200
    assert reply.json()["text"] == "good\ufffd"


def test_one_bad_text_refuses_the_list_and_names_its_position(client):
    asked = client.service.server.predictor.asked
    reply = client.post("/predict", json={"texts": ["good", "  ", "bad"]})
    assert reply.status_code == 422
    assert reply.json()["errors"] == [{"position": 1, "message": "the text is blank"}]
    assert reply.json()["detail"] == "item 1: the text is blank"
    assert client.service.server.predictor.asked == asked


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ({"text": 5}, "text"),
        ({"texts": ["good", None]}, "texts[1]"),
        ({"txt": "good"}, "txt"),
        ([], None),
        ("good", None),
        (None, None),
        ({}, None),
        ({"text": "a", "texts": ["b"]}, None),
    ],
)
def test_what_does_not_fit_is_refused_with_its_path(client, content, path):
    asked = client.service.server.predictor.asked
    reply = client.post("/predict", content=json.dumps(content))
    assert reply.status_code == 422
    assert reply.json()["errors"][0].get("path") == path
    assert client.service.server.predictor.asked == asked


def test_a_class_of_ones_own_brings_its_own_request(make_client):
    client = make_client(model_loader=NUMBERS)
    assert client.post("/predict", json={"features": [1, 2.5, 3]}).json()["total"] == 6.5
    refused = client.post("/predict", json={"features": [1, 2]})
    assert refused.status_code == 422
    assert "expected 3 features, got 2" in refused.json()["detail"]
    # The text of an address is not what this model takes.
    assert client.get("/predict?text=good").json()["errors"][0] == {
        "path": "features",
        "message": "Field required",
    }


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"features": [NaN, 1, 2]}', "features[0]"),
        (b'{"features": [1, -Infinity, 2]}', "features[1]"),
        (b'{"features": [1, 2, 1e999]}', "features[2]"),
        (b'{"features": [1, 2, ' + b"9" * 400 + b".0]}", "features[2]"),
        (b'[{"a": {"b": [Infinity]}}]', "[0].a.b[0]"),
    ],
)
def test_a_number_that_is_not_finite_is_refused_by_place(make_client, body, path):
    reply = make_client(model_loader=NUMBERS).post("/predict", content=body)
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["path"] == path


def test_a_reply_that_json_cannot_hold_is_a_stable_500(client):
    reply = client.post("/predict", json={"text": "undecided"})
    assert reply.status_code == 500
    assert reply.json()["type"] == "urn:marquee:problem:prediction-failed"
    assert "undecided" not in reply.text


def test_a_fault_of_the_model_tells_nothing_of_it(client):
    reply = client.post("/predict", json={"text": "explode"})
    assert reply.status_code == 500
    assert "detail about" not in reply.text
    assert "Traceback" not in reply.text
    # The next request is answered.
    assert client.post("/predict", json={"text": "good"}).status_code == 200


def test_half_an_emoji_is_replaced_and_whole_ones_are_kept(client):
    assert (
        client.post("/predict", content=rb'{"text": "loved it \ud83d"}').json()["text"] == "loved it \ufffd"
    )
    assert (
        client.post("/predict", content=rb'{"text": "\ud83d\ude00 and \udE00"}').json()["text"]
        == "😀 and \ufffd"
    )
    refused = client.post("/predict", content=rb'{"text": ["\ud83d"]}')
    assert refused.status_code == 422
    assert client.post("/predict", content=rb'{"\ud83d": 1}').status_code == 422


def test_too_many_and_too_long_texts_are_refused(make_client):
    client = make_client(max_texts=2, max_text_characters=10)
    assert client.post("/predict", json={"texts": ["a", "b", "c"]}).status_code == 413
    reply = client.post("/predict", json={"texts": ["a", "b" * 11]})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["position"] == 1
    assert client.post("/predict", json={"text": "b" * 10}).status_code == 200


def test_before_the_model_is_there_predict_says_when_to_come_again(make_settings):
    from app.main import create_app
    from tests.app.api.client import AppClient

    settings = make_settings(model_parameters={"load_seconds": 0.4})
    with AppClient(create_app(settings, on_failure=lambda error: None)) as client:
        reply = client.post("/predict", json={"text": "good"})
        assert reply.status_code == 503
        assert int(reply.headers["retry-after"]) > 0
        assert "model" in reply.json()["detail"]
        assert client.get("/health/live").status_code == 200
        waiting = client.get("/health/ready")
        assert waiting.status_code == 503
        assert waiting.json()["status"] == "starting"
        deadline = time.monotonic() + 20
        while client.get("/health/ready").status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert client.post("/predict", json={"text": "good"}).status_code == 200


def test_more_than_may_wait_gets_429_at_once_and_the_others_their_answer(make_client, gate):
    client = make_client(max_waiting=2)
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(client.post, "/predict", json={"text": f"wait {n} good"}) for n in range(2)]
        _until(lambda: client.service.server.waiting == 2)
        started = time.monotonic()
        refused = client.post("/predict", json={"text": "good"})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert time.monotonic() - started < 2
        gate.set()
        assert [entry.result().status_code for entry in waiting] == [200, 200]


def test_past_the_deadline_the_answer_is_504(make_client, gate):
    reply = make_client(request_timeout_seconds=0.1).post("/predict", json={"text": "wait"})
    assert reply.status_code == 504
    assert reply.json()["type"] == "urn:marquee:problem:deadline"


def test_liveness_answers_while_the_model_computes(make_client, gate):
    client = make_client()
    with ThreadPoolExecutor(60) as threads:
        waiting = [threads.submit(client.post, "/predict", json={"text": "wait"}) for _ in range(60)]
        _until(lambda: client.service.server.waiting == 60)
        assert client.get("/health/live").status_code == 200
        gate.set()
        assert {entry.result().status_code for entry in waiting} == {200}


def test_each_kind_of_error_is_counted_in_the_inference_log(client, monkeypatch):
    counted: list[str] = []
    monkeypatch.setattr(client.service.log, "count_error", counted.append)
    client.post("/predict", content=b"{")
    client.post("/predict", json={"text": 1})
    client.post("/predict", json={"text": "explode"})
    client.post("/predict", content=b"x=1", headers={"content-type": "application/x-www-form-urlencoded"})
    client.get("/predict")
    assert counted == [
        "unreadable",
        "invalid-input",
        "prediction-failed",
        "unsupported-media-type",
        "invalid-input",
    ]


def test_callers_get_their_own_answers(client):
    texts = [f"{'good' if number % 3 else 'bad'} {number}" for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda text: client.post("/predict", json={"text": text}).json(), texts))
    assert [reply["text"] for reply in replies] == texts
    assert len({reply["id"] for reply in replies}) == len(texts)


def test_a_long_body_does_not_hold_up_others(make_client):
    client = make_client(max_body_bytes=8_000_000, max_text_characters=8_000_000)
    body = json.dumps({"text": "good " * 1_000_000}).encode()
    done = threading.Event()

    def send() -> int:
        try:
            return client.post("/predict", content=body).status_code
        finally:
            done.set()

    with ThreadPoolExecutor(1) as threads:
        long = threads.submit(send)
        assert client.get("/health/live").status_code == 200
        assert long.result() == 200


def _until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
