"""An alias that moves while requests come: swaps that nobody notices, and failures that keep the old model."""

import gc
import json
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.core.config import Settings, load_settings
from app.core.errors import ConfigurationError
from app.main import create_app
from app.services.artifact import MANIFEST_NAME
from tests import models
from tests.app.api.client import AppClient
from tests.app.services.pulling import PATH, SettingsOf, content
from tests.wandb_server import WandbServer

pytestmark = pytest.mark.usefixtures("quick_client")

TEXT = {"text": "a fine film"}
START = Callable[..., AppClient]


@pytest.fixture
def publish(wandb_server: WandbServer, tmp_path: Path) -> Callable[..., str]:
    """`publish(make_model, **extra_files)`: a new version of the model, named `latest`; returns its version."""

    def make(make_model: Callable[[Path], Any], **extra: bytes) -> str:
        folder = tmp_path / f"made-{len(wandb_server.artifacts())}"
        make_model(folder)
        for name, data in extra.items():
            (folder / name).write_bytes(data)
        wandb_server.publish(PATH, content(folder))
        return wandb_server.aliases(PATH)["latest"]

    return make


@pytest.fixture
def start(pull_settings: SettingsOf) -> Iterator[START]:
    """`start(model_loader="joblib")`: a server that follows `latest`, but looks only when `look` has it look."""
    with ExitStack() as stack:

        def make(**changes: Any) -> AppClient:
            values = {"model_refresh_seconds": 3600, "inference_log": False, "inference_threads": 1}
            return stack.enter_context(AppClient(create_app(pull_settings(**(values | changes)))))

        yield make


def look(client: AppClient) -> dict[str, Any]:
    """Have the server look at its alias now; return what its health says of that."""
    client.run(client.service.server._refresh.look())
    health = client.get("/api/v1/health")
    assert health.status_code == 200, "following an alias never makes a server unready"
    refresh: dict[str, Any] = health.json()["refresh"]
    return refresh


def version_of(client: AppClient, body: dict[str, Any] = TEXT) -> str:
    reply = client.post("/predict", json=body)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["model"]["version"])


def spoil_golden(folder: Path) -> None:
    """Make a model whose exporter measured something else."""
    models.tiny_onnx(folder)
    manifest = json.loads((folder / MANIFEST_NAME).read_bytes())
    manifest["golden"]["examples"][0]["label"] = "negative"
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))


def spoil_graph(folder: Path) -> None:
    (models.tiny_onnx(folder) / "model.onnx").write_bytes(b"x")


def forget_graph(folder: Path) -> None:
    (models.tiny_onnx(folder) / "model.onnx").unlink()


def keyword_version(number: int) -> Callable[[Path], None]:
    """A model that counts one word: that of its own version."""

    def write(folder: Path) -> None:
        models.tiny_keyword(folder)
        (folder / "words.json").write_text(json.dumps([f"word{number}"]))
        manifest = json.loads((folder / MANIFEST_NAME).read_bytes())
        del manifest["golden"]
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest))

    return write


def test_an_alias_that_moved_is_followed_and_everybody_is_told(publish, start):
    publish(models.tiny_onnx)
    client = start()
    told = []
    client.service.server.on_swap.append(lambda files: told.append(files.model.version))
    before = client.get("/api/v1/health").json()
    assert before["refresh"] == {
        "state": "following",
        "reason": None,
        "checked_at": None,
        "swaps": 0,
        "rejected": None,
    }
    assert (look(client)["swaps"], version_of(client), told) == (0, "v0", [])
    publish(models.tiny_onnx, note=b"two")
    after = look(client)
    assert (after["state"], after["swaps"]) == ("following", 1)
    assert after["checked_at"] is not None
    assert (version_of(client), told) == ("v1", ["v1"])
    assert client.get("/health/ready").json()["model"]["version"] == "v1"
    assert client.get("/api/v1/model").json()["artifact"] == f"{PATH}:v1"


def test_an_alias_that_moves_back_is_served_from_the_disk(publish, start, wandb_server):
    publish(models.tiny_onnx)
    client = start()
    publish(models.tiny_onnx, note=b"two")
    look(client)
    wandb_server.move_alias(PATH, "latest", "v0")
    downloads = len(wandb_server.calls("download"))
    assert look(client)["swaps"] == 2
    assert version_of(client) == "v0"
    assert len(wandb_server.calls("download")) == downloads


def test_one_who_tells_badly_does_not_stop_the_swap(publish, start, log_lines):
    publish(models.tiny_onnx)
    client = start()
    client.service.server.on_swap.insert(0, lambda files: 1 / 0)
    publish(models.tiny_onnx, note=b"two")
    assert look(client)["swaps"] == 1
    assert version_of(client) == "v1"
    assert any("could not be told to all" in line for line in log_lines)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(spoil_golden, "golden example 1", id="golden"),
        pytest.param(spoil_graph, "cannot load model.onnx", id="graph"),
        pytest.param(forget_graph, "needs model.onnx", id="no graph"),
    ],
)
def test_a_version_that_will_not_do_is_refused_once_and_not_tried_again(
    publish, start, wandb_server, log_lines, tmp_path, spoil, reason
):
    publish(models.tiny_onnx)
    client = start()
    publish(spoil)
    refresh = look(client)
    assert (refresh["state"], refresh["rejected"], refresh["swaps"]) == ("degraded", "v1", 0)
    assert reason in refresh["reason"]
    assert f"{PATH}:v1" in refresh["reason"]
    assert version_of(client) == "v0"
    assert not (tmp_path / "models/sentiment/v1").exists(), "nobody will load it from the disk"
    downloads = len(wandb_server.calls("download"))
    assert look(client) | {"checked_at": None} == refresh | {"checked_at": None}
    assert len(wandb_server.calls("download")) == downloads
    assert len([line for line in log_lines if line.startswith("WARNING")]) == 1, "one warning"
    publish(models.tiny_onnx, note=b"better")
    assert look(client)["state"] == "following"
    assert version_of(client) == "v2"


def test_a_bad_version_is_tried_again_after_the_alias_named_another(publish, start, wandb_server):
    publish(models.tiny_onnx)
    client = start()
    publish(spoil_golden)
    assert look(client)["rejected"] == "v1"
    wandb_server.move_alias(PATH, "latest", "v0")
    assert look(client) | {"checked_at": None} == {
        "state": "following", "reason": None, "checked_at": None, "swaps": 0, "rejected": None,
    }  # fmt: skip
    wandb_server.move_alias(PATH, "latest", "v1")
    downloads = len(wandb_server.calls("download"))
    assert look(client)["rejected"] == "v1"
    assert len(wandb_server.calls("download")) > downloads


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        pytest.param(lambda server: server.set_fault("graphql", status=503), "W&B", id="down"),
        pytest.param(lambda server: setattr(server, "api_key", "x" * 40), "WANDB_API_KEY", id="key"),
        pytest.param(lambda server: server.remove_alias(PATH, "latest"), "latest", id="no alias"),
        pytest.param(
            lambda server: server.set_artifact_state(f"{PATH}:v1", "PENDING"), "not committed", id="pending"
        ),
    ],
)
def test_trouble_with_wandb_keeps_the_model_and_ends_with_the_trouble(
    publish, start, wandb_server, log_lines, trouble, reason
):
    publish(models.tiny_onnx)
    client = start()
    publish(models.tiny_onnx, note=b"two")
    key = wandb_server.api_key
    trouble(wandb_server)
    for _ in range(2):
        refresh = look(client)
        assert (refresh["state"], refresh["rejected"]) == ("degraded", None)
        assert reason in refresh["reason"]
        assert key not in refresh["reason"]
        assert version_of(client) == "v0"
    assert len([line for line in log_lines if line.startswith("WARNING")]) == 1, "one warning"
    wandb_server.clear_faults()
    wandb_server.api_key = key
    wandb_server.set_artifact_state(f"{PATH}:v1", "COMMITTED")
    wandb_server.move_alias(PATH, "latest", "v1")
    assert look(client)["state"] == "following"
    assert version_of(client) == "v1"


def test_a_download_that_is_cut_is_no_model(publish, start, wandb_server):
    publish(models.tiny_onnx)
    client = start()
    publish(models.tiny_onnx, note=b"two")
    wandb_server.set_fault("download", corrupt=True, path="model.onnx")
    refresh = look(client)
    assert (refresh["state"], refresh["rejected"]) == ("degraded", "v1")
    assert "did not arrive whole" in refresh["reason"]
    assert version_of(client) == "v0"


def test_a_request_is_answered_by_the_model_that_validated_it(publish, start):
    publish(models.tiny_joblib)
    client = start(model_loader="joblib")
    server = client.service.server
    release, taken = threading.Event(), threading.Event()
    old = server.predictor
    answer = old.predict

    def slow(batch: Any) -> Any:
        taken.set()
        release.wait(20)
        return answer(batch)

    old.predict = slow
    replies: list[Any] = []
    waiting = threading.Thread(target=lambda: replies.append(client.post("/predict", json=TEXT)))
    waiting.start()
    assert taken.wait(10)
    publish(models.tiny_tabular)
    looking = threading.Thread(target=lambda: client.run(server._refresh.look()))
    looking.start()
    rows = {"features": [1.0, 0.2, 0.1, 0.0]}
    wait_until(lambda: server.predictor is not old)
    assert version_of(client, rows) == "v1"
    refused = client.post("/predict", json=TEXT)
    assert refused.status_code == 422
    assert looking.is_alive(), "the old model is freed only after its last answer"
    release.set()
    waiting.join(10)
    looking.join(10)
    assert replies[0].status_code == 200
    assert replies[0].json()["model"]["version"] == "v0"
    assert replies[0].json()["sentiment"] == "Positive"


def test_the_page_of_the_api_follows_the_model(publish, start):
    publish(models.tiny_joblib)
    client = start(model_loader="joblib")
    asked = client.get("/openapi.json").json()["components"]["schemas"]
    assert "TextRequest" in asked
    publish(models.tiny_tabular)
    look(client)
    asked = client.get("/openapi.json").json()["components"]["schemas"]
    assert "TextRequest" not in asked
    assert any("features" in schema.get("properties", {}) for schema in asked.values())


def test_the_old_model_is_freed_and_the_disk_keeps_two(publish, start, tmp_path):
    publish(models.tiny_onnx)
    client = start()
    client.get("/openapi.json")
    old = weakref.ref(client.service.server.predictor)
    for number in range(3):
        publish(models.tiny_onnx, note=b"%d" % number)
        look(client)
    gc.collect()
    assert old() is None
    kept = sorted(path.name for path in (tmp_path / "models/sentiment").iterdir())
    assert kept == ["v2", "v2.json", "v3", "v3.json"]
    assert [thread.name for thread in threading.enumerate()].count("inference") == 1


def test_a_copy_that_another_process_started_from_is_left_to_it(publish, start, pull_settings, tmp_path):
    from app.services.registry import obtain_model

    publish(models.tiny_onnx)
    client = start()
    time.sleep(0.01)
    obtain_model(pull_settings(model_version="v0"))
    for number in range(2):
        publish(models.tiny_onnx, note=b"%d" % number)
        look(client)
    assert (tmp_path / "models/sentiment/v0/model.onnx").is_file()


@pytest.mark.slow
def test_no_request_fails_during_fifty_swaps_and_each_has_one_model(publish, start):
    publish(keyword_version(0))
    client = start(model_loader=models.KEYWORD_LOADER)
    count = 50
    review = " ".join(f"word{number}" * (number % 3) for number in range(count + 1))
    body = {"title": "One", "review": review + " film"}
    done = threading.Event()
    replies: list[tuple[int, Any]] = []

    def ask() -> None:
        while not done.is_set():
            reply = client.post("/predict", json=body)
            replies.append((reply.status_code, reply.json()))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for number in range(1, count + 1):
        publish(keyword_version(number))
        assert look(client)["swaps"] == number
    done.set()
    for asker in askers:
        asker.join(10)
    assert len(replies) > count
    assert {status for status, _ in replies} == {200}
    for _, reply in replies:
        number = int(reply["model"]["version"].removeprefix("v"))
        assert reply["hits"] == (1 if number % 3 == 1 else 0), "the answer is of the model that it names"
    assert len({reply["model"]["version"] for _, reply in replies}) > count / 2


@pytest.mark.slow
def test_memory_stays_flat_over_fifty_swaps(publish, start):
    publish(models.tiny_onnx)
    client = start()
    process = psutil.Process()
    sizes = []
    for number in range(60):
        publish(models.tiny_onnx, note=b"%d" % number)
        look(client)
        sizes.append(process.memory_info().rss)
    growth = (sizes[-1] - sizes[9]) / 50
    assert growth < 200_000, f"{growth / 1000:.0f} kB a swap"


def test_stopping_gives_up_a_model_that_is_being_fetched(publish, pull_settings, wandb_server):
    publish(models.tiny_onnx)
    with AppClient(create_app(pull_settings(model_refresh_seconds=1, inference_log=False))):
        wandb_server.set_fault("graphql", hang=True)
        wait_until(lambda: any(thread.name == "resolve-alias" for thread in threading.enumerate()))
        started = time.monotonic()
    assert time.monotonic() - started < 3


def test_a_model_that_comes_when_the_service_stops_is_not_served(publish, start):
    publish(models.tiny_onnx)
    client = start()
    publish(models.tiny_onnx, note=b"two")
    server = client.service.server
    server.state = "stopping"
    client.run(server._refresh.look())
    assert server.files.model.version == "v0"
    assert server.refresh.swaps == 0


def test_the_alias_is_looked_at_about_every_so_many_seconds(publish, start):
    publish(models.tiny_onnx)
    client = start(model_refresh_seconds=1)
    publish(models.tiny_onnx, note=b"two")
    wait_until(lambda: client.service.server.refresh.swaps == 1)
    assert version_of(client) == "v1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_version": "v7"}, "MODEL_VERSION=vN"),
        ({"model_digest": "0" * 32}, "MODEL_DIGEST"),
        ({"project_name": None}, "PROJECT_NAME"),
        ({"model_source": "local"}, "registry"),
        ({"model_refresh_seconds": 0.5}, "at least 1"),
    ],
)
def test_what_contradicts_following_an_alias_is_refused(changes, words):
    values = {"project_name": "reviews", "model_refresh_seconds": 60}
    with pytest.raises(ConfigurationError, match=words) as caught:
        load_settings(_env_file=None, **(values | changes))
    assert "MODEL_REFRESH_SECONDS" in str(caught.value)


def test_nothing_is_followed_by_default(make_settings):
    assert Settings(_env_file=None).model_refresh_seconds == 0
    with AppClient(create_app(make_settings())) as client:
        assert client.get("/api/v1/health").json()["refresh"] is None


def wait_until(fact: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)
