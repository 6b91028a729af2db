"""B14 to B22 and B52: starting, or saying why not; and what a variable's value may look like."""

import http.client
import signal
import socket
import time

import httpx
import pytest

from app.core.config import Settings, load_settings
from app.core.errors import ConfigurationError
from tests.fixtures_process import START_SECONDS, wait_until_ready

KEY = "a1b2c3d4e5f6" * 4


@pytest.mark.e2e
@pytest.mark.parametrize("workers", ["1", "2"])
def test_b14_a_failing_start_ends_with_1_one_line_and_a_closed_port(start, workers):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start(WORKERS=workers, PORT=str(port), LOCAL_MODEL_NAME="nothing")
    assert process.end() == 1
    assert len([line for line in process.lines if " CRITICAL " in line]) == 1
    assert "nothing" in "".join(line for line in process.lines if " CRITICAL " in line)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.e2e
def test_b15_ready_is_true_only_when_predictions_are_answered(start):
    process = start(MODEL_PARAMETERS='{"load_seconds": 2}')
    with httpx.Client(base_url=process.address, timeout=START_SECONDS) as client:
        before = client.get("/health/ready")
        predicted = client.post("/predict", json={"text": "good"})
        assert client.get("/health/live").status_code == 200
        assert before.status_code == predicted.status_code == 503
        assert before.json()["reason"]
        assert int(predicted.headers["retry-after"]) >= 1
        wait_until_ready(client)
        assert client.post("/predict", json={"text": "good"}).status_code == 200


@pytest.fixture
def variables(monkeypatch, tmp_path):
    """`variables(PORT="9")`: the settings that these variables make, and nothing else of the environment."""
    monkeypatch.chdir(tmp_path)

    def read(**values: str) -> Settings:
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return read


@pytest.mark.parametrize("quote", ['"', "'"])
def test_b17_a_pair_of_quotes_is_no_part_of_a_value(variables, quote):
    quoted = {
        name: f"{quote}{value}{quote}"
        for name, value in {
            "MODEL_LOADER": "onnx",
            "PORT": "9000",
            "PROJECT_NAME": "reviews",
            "DOCS": "no",
        }.items()
    }
    settings = variables(**quoted)
    assert (settings.model_loader, settings.port, settings.project_name, settings.docs) == (
        "onnx", 9000, "reviews", False,
    )  # fmt: skip


def test_b19_line_ends_round_a_value_are_taken_off(variables):
    settings = variables(
        WANDB_API_KEY=f"{KEY}\n", PROJECT_NAME="reviews\r", MODEL_LOADER="onnx\r\n", DOCS="false\n"
    )
    assert settings.wandb_api_key is not None
    assert settings.wandb_api_key.get_secret_value() == KEY
    assert (settings.project_name, settings.model_loader, settings.docs) == ("reviews", "onnx", False)


@pytest.mark.parametrize("inside", ["\n", "\r", " "])
def test_b19_one_inside_a_secret_is_refused_without_printing_it(variables, inside):
    with pytest.raises(ConfigurationError, match="WANDB_API_KEY") as caught:
        variables(WANDB_API_KEY=f"{KEY}{inside}{KEY}")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("empty", ["", "   "])
def test_b20_empty_means_unset(variables, empty):
    names = ("PORT", "DOCS", "MODEL_VERSION", "WANDB_API_KEY", "API_KEYS", "CORS_ORIGINS", "WORKERS")
    settings = variables(**dict.fromkeys(names, empty))
    assert settings == variables()
    assert (settings.port, settings.docs, settings.model_version, settings.api_keys) == (
        8080,
        True,
        "latest",
        None,
    )


@pytest.mark.e2e
def test_b20_an_empty_key_stops_a_start_that_needs_one(start):
    process = start(MODEL_SOURCE="wandb", PROJECT_NAME="reviews", WANDB_API_KEY="  ")
    assert process.end() == 1
    (told,) = [line for line in process.lines if " CRITICAL " in line]
    assert "WANDB_API_KEY" in told


@pytest.mark.e2e
@pytest.mark.parametrize(
    "others",
    [
        {"PORT": "abc"},
        {"WANDB_API_KEY": f"{KEY} {KEY}"},
        {"API_KEYS": f"{KEY},{KEY[:5]}"},
        {"API_KEYS": f"{KEY},{KEY} {KEY}"},
    ],
)
def test_b22_no_message_about_settings_holds_a_secret(start, others):
    secrets = {"WANDB_API_KEY": KEY, "LOG_HASH_KEY": KEY[::-1], "FEEDBACK_KEY": KEY[1:], "API_KEYS": KEY[2:]}
    process = start(**(secrets | others))
    assert process.end() == 1
    everything = "\n".join(process.lines)
    for secret in (KEY, KEY[::-1], KEY[1:], KEY[2:]):
        assert secret not in everything
    assert next(iter(others)) in process.lines[-1]


@pytest.mark.e2e
@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_b52_the_port_of_the_environment_is_listened_on_and_the_signal_arrives(start, host):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start(PORT=str(port), HOST=host)
    assert process.address == f"http://{host}:{port}"
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=START_SECONDS) as client:
        wait_until_ready(client)
    started = time.monotonic()
    assert process.end(signal.SIGTERM) == 0
    assert time.monotonic() - started < 10


@pytest.mark.e2e
@pytest.mark.parametrize("port", ["abc", "$PORT", "99999"])
def test_b52_what_is_no_port_is_one_line(start, port):
    process = start(PORT=port)
    assert process.end() == 1
    (line,) = process.lines
    assert "PORT" in line


def test_b52_without_a_port_it_is_8080(variables):
    assert variables().port == variables(PORT="").port == 8080


@pytest.mark.e2e
def test_the_processes_titles_hold_no_secret(start):
    """Not of the list, but beside it: what everybody on the machine can read."""
    import psutil

    process = start(WANDB_API_KEY=KEY, PROJECT_NAME="reviews", API_KEYS=KEY[1:], WORKERS="2")
    connection = http.client.HTTPConnection(process.address.removeprefix("http://"), timeout=START_SECONDS)
    connection.request("GET", "/health/live")
    connection.getresponse().read()
    connection.close()
    parent = psutil.Process(process.process.pid)
    titles = [
        " ".join(one.cmdline()) for one in [parent, *parent.children(recursive=True)] if one.is_running()
    ]
    assert len(titles) >= 2
    assert not [title for title in titles if KEY[2:] in title]
