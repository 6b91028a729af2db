"""The dashboard: a workspace that W&B is really sent, over columns that windows really have."""

import json
import time

import pytest

from app.core.config import Settings
from app.monitoring.__main__ import main
from app.monitoring.dashboard import NAME, SECTIONS
from app.services.feedback import IssuedId
from app.services.monitoring import Monitor, monitor
from tests.app.services.monitoring.test_monitor import Sink, files, row


def test_the_workspace_is_saved_and_its_address_printed(wandb_server, wandb_as, capsys):
    with wandb_as("people"):
        assert main(["dashboard", "--project", "reviews", "--entity", wandb_server.entity]) == 0
    address = capsys.readouterr().out.strip()
    assert address.startswith(f"{wandb_server.url}/{wandb_server.entity}/reviews?nw=")
    (saved,) = wandb_server.saved_views
    assert (saved["displayName"], saved["projectName"], saved["type"]) == (NAME, "reviews", "project-view")
    spec = saved["spec"]
    for charts in SECTIONS.values():
        for title, columns in charts:
            assert title in spec
            assert all(column in spec for column in columns)
    assert "inferences" in json.dumps(json.loads(spec)["section"]["runSets"])


def test_every_panel_draws_a_column_that_windows_have(monkeypatch):
    sink = Sink()
    watcher = Monitor(Settings(_env_file=None), sink)
    watcher.start(files())
    for index in range(60):
        watcher.observe(row(index, unknown_tokens=0, familiar_pairs=0.4))
        watcher.observe_request("POST", "/predict", 200, 0.02, prediction=True)
        watcher.judge("positive", IssuedId(b"", 0, "positive", 0.9, "v1"))
    later = time.time() + 120
    monkeypatch.setattr(monitor.time, "time", lambda: later)
    watcher.stop()
    (window,) = sink.windows
    drawn = {column for charts in SECTIONS.values() for _, columns in charts for column in columns}
    # The tests' reference profile has two signals; the embedded model's has them all.
    missing = {
        column
        for column in drawn - set(window)
        if not column.startswith(("window/drift/", "window/drifted/"))
    }
    assert missing == set()


@pytest.mark.parametrize("fault", [{"status": 403}, {"status": 401}])
def test_a_refusal_is_one_line(wandb_server, wandb_as, capsys, fault):
    with wandb_as("people"):
        wandb_server.set_fault("graphql", **fault)
        assert main(["dashboard", "--project", "reviews", "--entity", wandb_server.entity]) == 1
    error = capsys.readouterr().err.strip()
    assert "W&B" in error
    assert len(error.splitlines()) == 1


def test_a_project_is_needed(capsys, monkeypatch):
    for name in ("PROJECT_NAME", "INFERENCE_PROJECT_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert main(["dashboard"]) == 1
    assert "PROJECT_NAME" in capsys.readouterr().err
