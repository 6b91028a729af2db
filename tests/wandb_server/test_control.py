"""The server as a process of its own: its command line, its page, and control from another process."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures_wandb import ClientAs
from tests.wandb_server import WandbServer

ROOT = Path(__file__).parents[2]


def ask(url: str, body: Any = None, method: str | None = None) -> Any:
    """Send a request and parse the JSON answer. Raises HTTPError."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@contextmanager
def server_process(*arguments: str) -> Iterator[tuple[dict[str, str], subprocess.Popen[str]]]:
    """Run the command; gives the variables it prints, and ends it with SIGTERM."""
    command = [sys.executable, "-m", "tests.wandb_server", "--port", "0", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(3)]
        yield dict(re.findall(r"^export (\w+)=(\S+)$", "".join(lines), re.MULTILINE)), process
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_the_state_survives_a_restart(tmp_path: Path, wandb_as: ClientAs) -> None:
    data = tmp_path / "data"
    with server_process("--data", str(data), "--key", "k" * 40) as (printed, _):
        assert printed["WANDB_API_KEY"] == "k" * 40
        with (
            wandb_as("publisher", **printed) as wandb,
            wandb.init(project="reviews", job_type="inferences") as run,
        ):
            run.log({"n": 1})
            artifact = wandb.Artifact("sentiment", type="model")
            with artifact.new_file("model.bin", mode="w") as file:
                file.write("weights")
            run.link_artifact(run.log_artifact(artifact).wait(), "wandb-registry-model/sentiment")
    with server_process("--data", str(data), "--key", "k" * 40) as (printed, _):
        with wandb_as("consumer", **printed) as wandb:
            found = wandb.Api().artifact("wandb-registry-model/sentiment:latest")
            found.verify(found.download(root=str(tmp_path / "model")))
        (kept,) = ask(f"{printed['WANDB_BASE_URL']}/__state")["runs"]
        assert (kept["path"], kept["state"], kept["rows"][0]["n"]) == (run.path, "finished", 1)


def test_faults_and_actions_work_from_another_process(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    for content in (b"one", b"two"):
        wandb_server.publish("acme/reviews/sentiment", {"model.bin": content})
    faults, actions = f"{wandb_server.url}/__faults", f"{wandb_server.url}/__actions"
    ask(faults, {"kind": "graphql", "operation": "ArtifactMembershipByName", "status": 403})
    with wandb_as() as wandb:
        api = wandb.Api()
        with pytest.raises(wandb.errors.CommError, match="permission denied"):
            api.artifact("acme/reviews/sentiment:latest")
        assert ask(faults)[0]["hits"] == 1
        assert ask(faults, method="DELETE") == []
        assert api.artifact("acme/reviews/sentiment:latest").version == "v1"
        move = {"collection": "acme/reviews/sentiment", "alias": "latest", "version": "v0"}
        ask(actions, {"action": "move_alias", "arguments": move})
        assert api.artifact("acme/reviews/sentiment:latest").version == "v0"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/__faults", {"kind": "nothing"}),
        ("/__actions", {"action": "explode"}),
        ("/__actions", {"action": "stop_run", "arguments": {"run": "none"}}),
        ("/__actions", {"action": "stop_run", "arguments": {"walk": "none"}}),
    ],
)
def test_a_wrong_control_request_is_refused_with_a_reason(
    wandb_server: WandbServer, path: str, body: Any
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(f"{wandb_server.url}{path}", body)
    with refused.value as answer:
        assert answer.code == 400
        assert json.load(answer)["error"]


def test_the_page_shows_rows_and_aliases(wandb_server: WandbServer, wandb_as: ClientAs) -> None:
    wandb_server.publish("acme/reviews/sentiment", {"model.bin": b"one"}, aliases=("production",))
    with wandb_as() as wandb, wandb.init(project="reviews", job_type="inferences") as run:
        run.use_artifact("acme/reviews/sentiment:production")
        for number in range(9):
            run.log({"text": f"<b>row {number}</b>"})
    with urllib.request.urlopen(wandb_server.url, timeout=10) as answer:
        page = answer.read().decode()
    assert run.path in page
    assert "&lt;b&gt;row 8&lt;/b&gt;" in page
    assert "row 0" not in page, "only the last rows"
    assert "<b>" not in page
    assert re.search(r"v0</td><td>latest, production", page)
    assert "uses acme/reviews/sentiment" in page


def test_the_page_shows_a_training_and_the_card_of_its_model(
    wandb_server: WandbServer, wandb_as: ClientAs
) -> None:
    wandb_server.publish(
        "acme/reviews/sentiment",
        {"README.md": b"# A <card>"},
        metadata={"metrics": {"validation": {"accuracy": 0.931}}},
    )
    with wandb_as() as wandb, wandb.init(project="reviews", config={"data": "sha256:abc"}) as run:
        for loss in (0.75, 0.5, 0.25):
            run.log({"train/loss": loss, "note": "no number"})
        run.log({"validation/confusion": wandb.Table(["truth", "negative"], [["negative", 17]])})
        run.summary["temperature"] = 1.5
    with urllib.request.urlopen(wandb_server.url, timeout=10) as answer:
        page = answer.read().decode()
    assert "# A &lt;card&gt;" in page
    assert escape('"accuracy": 0.931') in page
    assert escape('"data": "sha256:abc"') in page
    assert escape('"temperature": 1.5') in page
    (curve,) = re.findall(r"<figcaption>(.*?)</figcaption>.*?points=\"(.*?)\".*?last (.*?)<", page)
    assert curve == ("train/loss", "0.0,0.0 105.0,35.0 210.0,70.0", "0.25")
    assert "<td>negative</td><td>17</td>" in page


def test_help_and_a_taken_port_are_explained() -> None:
    command = [sys.executable, "-m", "tests.wandb_server"]
    shown = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for option in ("--port", "--data", "--key", "--host", "--entity", "/__faults"):
        assert option in shown.stdout
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = subprocess.run(
            [*command, "--port", port], cwd=ROOT, capture_output=True, text=True, check=False
        )
    assert refused.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in refused.stderr


def test_a_client_environment_touches_nothing_outside(
    wandb_server: WandbServer, wandb_as: ClientAs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WANDB_PROJECT", "leaked")
    wandb_server.publish("acme/reviews/sentiment", {"model.bin": b"one"})
    with wandb_as("one") as wandb, wandb.init() as run:
        assert "WANDB_PROJECT" not in os.environ
        run.use_artifact("acme/reviews/sentiment:latest").download()
    assert list(home.iterdir()) == []
    assert os.environ["WANDB_PROJECT"] == "leaked"
