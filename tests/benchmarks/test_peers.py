"""The comparison with other servers: how they are asked, what a row says, and that nobody is left out in silence."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from app.core.config import EMBEDDED_MODEL_DIR
from benchmarks import models, peers
from benchmarks.load import Load
from benchmarks.peer_list import PEERS
from benchmarks.wrk import load_of

REPLIES = {
    "fastapi": {"positive": 0.25},
    "mlserver": {"outputs": [{"data": [0.25]}]},
    "bentoml": [0.25],
    "litserve": {"positive": 0.25},
    "kserve": {"predictions": [0.25]},
    "ray": {"positive": 0.25},
    "pytriton": {"outputs": [{"data": [0.25]}]},
    "mlflow": {"predictions": [0.25]},
}


@pytest.mark.parametrize("peer", [peer for peer in PEERS if not peer.missing], ids=lambda peer: peer.name)
def test_each_peer_gets_the_text_in_its_own_form_and_has_a_script(peer):
    for batching in (False, True):
        assert "some words" in json.dumps(peer.content("some words", batching))
    assert peer.positive(REPLIES[peer.name]) == 0.25
    assert (peers.APPS / f"{peer.name}_app.py").is_file()


def test_versions_are_pinned():
    assert all("==" in requirement for peer in PEERS for requirement in peer.requirements)


def test_a_peer_that_cannot_be_installed_is_reported_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "CACHE", tmp_path)
    peer = replace(PEERS[1], python="/nowhere/python")
    assert peers.install(peer) == "there is no /nowhere/python"
    entries = [peers.Entry("marquee"), peers.Entry(peer.name, peer, missing="there is no /nowhere/python")]
    entries[0].loads = {1: Load(1.0, [0.1] * 10), 0: Load(1.0, [0.2] * 5)}
    rows = peers._rows(argparse.Namespace(clients=[1]), "short", entries)
    assert rows[0]["1/s at 1"] == 10
    assert rows[0]["p99 ms at half load"] == pytest.approx(200)
    assert rows[1]["server"] == "mlserver"
    assert rows[1]["1/s at 1"] is None
    assert rows[1]["why not"] == "there is no /nowhere/python"


def test_a_row_says_how_much_faster_the_project_is():
    fast, slow = peers.Entry("marquee"), peers.Entry("ray", PEERS[5], batching=True)
    fast.loads = {64: Load(1.0, [0.1] * 30), 0: Load(1.0, [0.1])}
    slow.loads = {64: Load(2.0, [0.1] * 20), 0: Load(1.0, [0.3])}
    row = peers._rows(argparse.Namespace(clients=[64]), "short", [fast, slow])[1]
    assert row["server"] == "ray, batches up to 32 in 5 ms"
    assert row["marquee is × at 64"] == 3


def test_the_best_setting_of_the_project_is_compared():
    one, two = peers.Entry("marquee"), peers.Entry("marquee", processes=2)
    one.loads, two.loads = {64: Load(1.0, [0.1] * 30)}, {64: Load(1.0, [0.1] * 60)}
    other = peers.Entry("fastapi", PEERS[0], processes=2)
    other.loads = {64: Load(1.0, [0.1] * 20)}
    rows = peers._rows(argparse.Namespace(clients=[64]), "short", [one, two, other])
    assert [row["server"] for row in rows] == ["marquee", "marquee, 2 processes", "fastapi, 2 processes"]
    assert [row["marquee is × at 64"] for row in rows] == [2, 1, 3]


def test_what_wrk_prints_is_read():
    quantiles = ", ".join(str(share * 1000) for share in range(1, 101))
    figures = (
        f'{{"answers": 203, "microseconds": 2000000, "status": 3, "socket": 1, "quantiles": [{quantiles}]}}'
    )
    load = load_of(f"Running\nFIGURES {figures}\n", 0.2)
    assert load.rate == 100
    assert load.failures == {"status": 3, "socket": 1}
    assert load.figures()["p50 ms"] == pytest.approx(50, abs=1)
    assert load.figures()["p99 ms"] == pytest.approx(99, abs=1)
    with pytest.raises(RuntimeError, match="unable to connect"):
        load_of("unable to connect to 127.0.0.1", 0)


@pytest.mark.slow
@pytest.mark.e2e
def test_the_fair_baseline_answers_as_the_engine_does():
    peer = PEERS[0]
    with peers.running(peer, EMBEDDED_MODEL_DIR, 1, False) as port:
        peers._hold_to_the_engine(port, peer, EMBEDDED_MODEL_DIR, "a fine film", False)


@pytest.mark.slow
@pytest.mark.e2e
def test_a_peer_that_ends_says_why(tmp_path: Path):
    shutil.copy(EMBEDDED_MODEL_DIR / "marquee.json", tmp_path)
    with (
        pytest.raises(RuntimeError, match="ended with 1: .*No such file"),
        peers.running(PEERS[0], tmp_path, 1, False),
    ):
        pass


@pytest.mark.slow
@pytest.mark.e2e
def test_a_benchmark_that_is_ended_leaves_no_server_behind(tmp_path: Path):
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "peers",
        "--peers",
        "fastapi",
        "--mix",
        "short",
        "--seconds",
        "30",
    ]
    benchmark = subprocess.Popen(
        command, cwd=peers.APPS.parents[1], env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    deadline = time.monotonic() + 60
    while not (started := psutil.Process(benchmark.pid).children(recursive=True)):
        assert benchmark.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    benchmark.terminate()
    assert benchmark.wait(60) == 143
    _, alive = psutil.wait_procs(started, 10)
    assert not alive
