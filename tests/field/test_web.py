"""B01 to B12 and B51: what clients send, and what the health check is up against."""

import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.app.api.asgi import ask, chunks
from tests.fixtures_process import START_SECONDS, post, wait_until_ready
from tests.models import tiny_joblib, tiny_keyword, tiny_onnx, tiny_tabular

PROBLEM = "application/problem+json"
QUICK = 0.2
PROBES = 15


@pytest.mark.e2e
@pytest.mark.parametrize("predictions", [1, 60])
def test_b01_health_answers_while_predictions_run(start, predictions):
    """The predictor sleeps three seconds; 60 requests are more than any pool of threads here."""
    process = start(MODEL_PARAMETERS='{"seconds": 3}', MAX_WAITING="4", SHUTDOWN_SECONDS="1")
    with httpx.Client(base_url=process.address, timeout=START_SECONDS) as client:
        wait_until_ready(client)
        with ThreadPoolExecutor(predictions) as threads:
            asked = [threads.submit(post, process.address) for _ in range(predictions)]
            while not client.get("/api/v1/health").json()["waiting"]:
                time.sleep(0.02)
            seconds = []
            for _ in range(PROBES):
                started = time.monotonic()
                assert client.get("/health/live").status_code == 200
                seconds.append(time.monotonic() - started)
                time.sleep(0.1)
            replies = [one.result() for one in asked]
    # The usual probe is quick, and none waits for a prediction, whatever else this machine does just then.
    assert statistics.median(seconds) < QUICK, seconds
    assert max(seconds) < 2.5, seconds
    statuses = [reply.status_code for reply in replies]
    assert set(statuses) <= {200, 429}
    assert 200 in statuses
    assert (429 in statuses) == (predictions > 4)
    for reply in replies:
        if reply.status_code == 429:
            assert reply.headers["content-type"] == PROBLEM
            assert int(reply.headers["retry-after"]) >= 1


@pytest.fixture
def numbers(serve_folder, tmp_path):
    """A scikit-learn model for rows of four numbers."""
    return serve_folder(tiny_tabular(tmp_path / "numbers"), "joblib")


def raw(client, body: str) -> httpx.Response:
    return client.post("/predict", content=body.encode(), headers={"content-type": "application/json"})


@pytest.mark.parametrize("number", ["NaN", '"nan"', "1e999", "-Infinity", '"Infinity"', "-1e999"])
def test_b02_a_number_that_is_not_finite_never_reaches_the_model(numbers, number, log_records):
    logged: list[object] = []
    numbers.service.log.record = logged.append
    for body in (f'{{"features":[1,{number},1,1]}}', f'{{"instances":[[1,1,1,1],[1,{number},1,1]]}}'):
        reply = raw(numbers, body)
        assert reply.status_code == 422
        assert "[1]" in reply.json()["errors"][0]["path"]
    assert not logged
    assert not [record for record in log_records if record["exception"]]


def test_b02_a_model_that_answers_nan_is_a_failure_of_ours_with_a_stable_message(client):
    reply = client.post("/predict", json={"text": "undecided"})
    assert reply.status_code == 500
    assert reply.json()["type"] == "urn:marquee:problem:prediction-failed"
    assert reply.json()["detail"] == "the model answered something that is no JSON, such as NaN"
    counted = client.get("/metrics").text
    assert 'marquee_prediction_errors_total{kind="prediction-failed"}' in counted


@pytest.mark.parametrize(
    "body", ['{"features":[NaN,1,1,1]}', '{"features":[-Infinity,1,1,1]}', "[-Infinity]"]
)
def test_b03_the_refusal_of_such_a_number_can_be_sent(numbers, body):
    reply = raw(numbers, body)
    assert reply.status_code == 422
    assert reply.headers["content-type"] == PROBLEM
    assert json.loads(reply.content, parse_constant=pytest.fail)["errors"][0]["message"]


@pytest.mark.parametrize("loader", ["words", "onnx", "joblib"])
def test_b04_half_an_emoji_is_replaced_by_every_loader(client, serve_folder, tmp_path, loader):
    if loader == "onnx":
        client = serve_folder(tiny_onnx(tmp_path / "tiny"), "onnx")
    elif loader == "joblib":
        client = serve_folder(tiny_joblib(tmp_path / "tiny"), "joblib")
    half = raw(client, r'{"text":"loved it \ud83d"}')
    assert (half.status_code, half.json()["text"]) == (200, "loved it \ufffd")
    whole = raw(client, r'{"text":"loved it \ud83d\ude00"}')
    assert (whole.status_code, whole.json()["text"]) == (200, "loved it 😀")
    refused = raw(client, r'{"text":["\ud83d"]}')
    assert (refused.status_code, refused.headers["content-type"]) == (422, PROBLEM)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (None, 200),
        ("text/plain", 200),
        ("application/json; charset=utf-8", 200),
        ("application/vnd.x+json", 200),
        ("application/x-www-form-urlencoded", 415),
    ],
)
def test_b06_each_content_type_has_its_verdict(client, kind, status):
    body = b"text=hi" if status == 415 else b'{"text": "hi"}'
    reply = client.post("/predict", content=body, headers={} if kind is None else {"content-type": kind})
    assert reply.status_code == status
    if status == 415:
        assert "application/json" in reply.json()["detail"]


def test_b07_fifty_megabytes_are_refused_unread_however_they_are_framed(client):
    megabyte = b"x" * 1_000_000
    given = 0

    async def body():
        nonlocal given
        for _ in range(50):
            given += 1
            yield {"type": "http.request", "body": megabyte, "more_body": given < 50}

    for headers, most in (({"content-length": "50000000"}, 0), ({"transfer-encoding": "chunked"}, 2)):
        given = 0
        status, _, reply = client.run(ask(client.app, body(), headers=headers))
        assert status == 413
        assert given <= most
        assert len(reply) < 2_000


@pytest.mark.parametrize("chunked", [False, True])
def test_b07_a_misspelt_key_is_not_repeated_back(make_client, chunked):
    client = make_client(max_body_bytes=10_000_000, max_text_characters=1_000)
    for content, status in (({"txt": "x" * 5_000_000}, 422), ({"text": "x" * 5_000_000}, 422)):
        body = json.dumps(content).encode()
        parts = (
            [body[start : start + 500_000] for start in range(0, len(body), 500_000)] if chunked else [body]
        )
        found, _, reply = client.run(ask(client.app, chunks(*parts)))
        assert found == status
        assert len(reply) < 2_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"features": [1, 2, 3]}, "expected 4 features, got 3"),
        ({"features": [1, 2, 3, 4, 5]}, "expected 4 features, got 5"),
        ({"features": []}, "expected 4 features, got 0"),
        ({"features": [[1, 2, 3, 4]]}, "number"),
        ({"instances": [[1, 2, 3, 4], [1, 2, 3]]}, "item 1: expected 4 features, got 3"),
    ],
)
def test_b08_another_number_of_features_is_told(numbers, content, words):
    reply = numbers.post("/predict", json=content)
    assert reply.status_code == 422
    assert words in reply.text


def test_b08_a_fault_of_the_model_stays_a_500_without_internals(client):
    reply = client.post("/predict", json={"text": "explode"})
    assert (reply.status_code, reply.headers["content-type"]) == (500, PROBLEM)
    assert "internal detail" not in reply.text


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/api/v1/health", "/", "/docs", "/monitor", "/metrics"]
)
def test_b10_head_is_get_without_the_body(client, path):
    got, head = client.get(path), client.request("HEAD", path)
    assert head.status_code == got.status_code == 200
    assert head.content == b""
    client.service.server.state, client.service.server.reason = "starting", "not yet"
    if "health/ready" in path:
        assert client.request("HEAD", path).status_code == client.get(path).status_code == 503
    client.service.server.state = "ready"


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://a.example", True),
        ("https://b.example", True),
        ("https://c.example", False),
        ("https://a.example/", False),
        ("https://a", False),
    ],
)
def test_b12_only_whole_listed_origins_pass_and_failures_can_be_read(
    make_client, monkeypatch, origin, allowed
):
    client = make_client(cors_origins="https://a.example, https://b.example")
    replies = [client.request("OPTIONS", "/predict", headers=PREFLIGHT | {"Origin": origin})]

    async def broken(*_args, **_options):
        raise ZeroDivisionError

    monkeypatch.setattr(client.service.inference, "predict", broken)
    replies.append(client.post("/predict", json={"text": "good"}, headers={"Origin": origin}))
    assert [reply.status_code for reply in replies] == [204 if allowed else 403, 500]
    for reply in replies:
        assert reply.headers.get("access-control-allow-origin") == (origin if allowed else None)


BLANK = ["", "   ", "\u200b", "\n\n", "<br />", "&nbsp;", None]
SPARSE = ["...", "😀", "good", "!"]


@pytest.mark.parametrize("loader", ["onnx", "joblib"])
def test_b51_blank_texts_get_one_verdict_and_sparse_ones_an_answer(serve_folder, tmp_path, loader):
    make = tiny_onnx if loader == "onnx" else tiny_joblib
    client = serve_folder(make(tmp_path / "tiny"), loader)
    for text in BLANK:
        reply = client.post("/predict", json={"text": text})
        assert (reply.status_code, reply.headers["content-type"]) == (422, PROBLEM), text
        if text:
            assert "the text is blank" in reply.json()["detail"]
    for text in SPARSE:
        assert client.post("/predict", json={"text": text}).status_code == 200, text
    refused = client.post("/predict", json={"texts": ["good", "<br />"]})
    assert (refused.status_code, refused.json()["errors"][0]["position"]) == (422, 1)


def test_a_class_of_ones_own_is_served_by_the_same_door(serve_folder, tmp_path):
    """What holds for the loaders that come with the service holds for a class that somebody brings."""
    from tests.models import KEYWORD_LOADER

    client = serve_folder(tiny_keyword(tmp_path / "tiny"), KEYWORD_LOADER)
    assert raw(client, r'{"title":"t","review":"a good film \ud83d"}').status_code == 200
    assert raw(client, '{"title":NaN,"review":"a"}').status_code == 422
    assert raw(client, '{"title":"t","title":"u","review":"a"}').status_code == 400
