"""The container's health check, against a server that says what it is told to."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import healthcheck

ROOT = Path(__file__).resolve().parents[2]


class Server(http.server.ThreadingHTTPServer):
    status = 200
    asked = ""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.asked = self.path
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(b'{"reason": "the model is being loaded"}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HOST", "0.0.0.0")
        monkeypatch.setenv("PORT", f" {server.server_port} ")
        yield server
        server.shutdown()


def test_a_ready_server_is_healthy(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert healthcheck.main() == 0
    assert server.asked == "/health/ready"
    assert capsys.readouterr().out == ""


def test_the_reason_of_a_server_that_is_not_ready_is_shown(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.status = 503
    assert healthcheck.main() == 1
    assert capsys.readouterr().out == 'not ready: 503 {"reason": "the model is being loaded"}\n'


@pytest.mark.parametrize("port", ["1", "eighty"])
def test_nobody_there_is_unhealthy_in_one_line(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOST", "")
    monkeypatch.setenv("PORT", port)
    assert healthcheck.main() == 1
    shown = capsys.readouterr().out
    assert shown.startswith("not ready: ")
    assert shown.count("\n") == 1


def test_it_imports_nothing_heavy() -> None:
    script = (
        "import sys, app.healthcheck; print({'pydantic', 'fastapi', 'loguru', 'numpy'} & set(sys.modules))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout == "set()\n"
