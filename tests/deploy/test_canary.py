"""The candidate is asked as a user would ask it, and every wrong answer is told in words."""

import copy
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deploy import canary
from deploy.canary import identity_token, try_address
from deploy.process import RejectedError, ReleaseError

MODEL = {"version": "v2", "digest": "b" * 32}
GOLDEN = {
    "tolerance": 0.01,
    "examples": [
        {"body": {"text": "good"}, "label": "positive", "confidences": {"positive": 0.9}, "output": None},
        {
            "body": {"features": [1.0]},
            "label": None,
            "confidences": {},
            "output": {"value": 2.0, "names": ["a"]},
        },
    ],
}
RIGHT: dict[str, Any] = {
    "/health/ready": [(200, {"status": "ready"})],
    "/api/v1/health": [(200, {"model": {"name": "sentiment", **MODEL}, "revision": "sentiment-v2"})],
    "/predict": [
        (200, {"sentiment": "Positive", "confidences": {"positive": 0.905, "negative": 0.095}}),
        (200, {"value": 2.001, "names": ["a"]}),
    ],
}


class Candidate:
    """A server that gives prepared answers, the last one of a path for ever."""

    def __init__(self) -> None:
        self.answers = copy.deepcopy(RIGHT)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        candidate = self

        class Handler(BaseHTTPRequestHandler):
            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                candidate.requests.append((self.path, dict(self.headers), body))
                queue = candidate.answers.get(self.path.partition("?")[0], [(404, None)])
                status, reply = queue.pop(0) if len(queue) > 1 else queue[0]
                content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = serve  # noqa: N815

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    def ask(self) -> int:
        return try_address(
            f"http://{self.host}", "token", revision="sentiment-v2", model=MODEL, golden=GOLDEN
        )


@pytest.fixture
def candidate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Candidate]:
    monkeypatch.setattr(canary, "_PAUSE_SECONDS", 0)
    made = Candidate()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_right_candidate_is_asked_everything_with_the_token(candidate: Candidate) -> None:
    assert candidate.ask() == 2
    assert [path for path, _, _ in candidate.requests] == [
        "/health/ready",
        "/api/v1/health",
        "/predict",
        "/predict",
    ]
    assert {headers["Authorization"] for _, headers, _ in candidate.requests} == {"Bearer token"}
    assert json.loads(candidate.requests[-1][2]) == {"features": [1.0]}


def test_starting_instance_is_asked_again(candidate: Candidate) -> None:
    candidate.answers["/health/ready"] = [(503, None), (500, None), (200, {})]
    assert candidate.ask() == 2


@pytest.mark.parametrize(
    ("path", "answers", "reason"),
    [
        ("/health/ready", [(503, None)], "its health check answered 503"),
        ("/api/v1/health", [(404, None)], "its health check answered 404"),
        ("/api/v1/health", [(200, {"model": {"version": "v1"}})], "serves the model version v1, not v2"),
        (
            "/api/v1/health",
            [(200, {"model": {**MODEL, "digest": "c"}})],
            "serves the model digest c, not bbb",
        ),
        ("/api/v1/health", [(200, {"model": MODEL, "revision": "other"})], "the revision other answers"),
        ("/predict", [(422, None)], "golden example 1 of 2 over HTTP: answered with 422"),
        ("/predict", [(200, {"sentiment": "Negative"})], "expected the label 'positive', got 'Negative'"),
        (
            "/predict",
            [(200, {"sentiment": "Positive", "confidences": {"positive": 0.8}})],
            "confidences.positive: expected 0.9 within 0.01, got 0.8",
        ),
        (
            "/predict",
            [RIGHT["/predict"][0], (200, {"value": 2, "names": ["b"]})],
            r"2 of 2 over HTTP: names\[0\]",
        ),
        ("/predict", [RIGHT["/predict"][0], (200, {"value": 2, "names": []})], "expected a list of 1"),
        ("/predict", [(200, b"no JSON")], "gave no answer"),
    ],
)
def test_wrong_candidate_is_rejected_in_words(
    candidate: Candidate, path: str, answers: list[Any], reason: str
) -> None:
    candidate.answers[path] = list(answers)
    with pytest.raises(RejectedError, match=reason):
        candidate.ask()


def test_refused_token_is_no_fault_of_the_candidate(candidate: Candidate) -> None:
    candidate.answers["/health/ready"] = [(403, None)]
    with pytest.raises(ReleaseError, match=r"run\.invoker"):
        candidate.ask()


def test_identity_token_is_for_the_service(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", candidate.host)
    place = "/computeMetadata/v1/instance/service-accounts/default/identity"
    candidate.answers[place] = [(200, b"a.b.c")]
    assert identity_token("https://films.run.app") == "a.b.c"
    path, headers, _ = candidate.requests[-1]
    assert path == f"{place}?audience=https%3A%2F%2Ffilms.run.app"
    assert headers["Metadata-Flavor"] == "Google"


def test_missing_right_to_a_token_is_named(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", candidate.host)
    with pytest.raises(ReleaseError, match=r"iam\.serviceAccountOpenIdTokenCreator"):
        identity_token("https://films.run.app")
