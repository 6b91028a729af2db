"""The model in the repository: small, checked, and right about plain verdicts, short and long."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.core.config import EMBEDDED_MODEL_DIR, Settings
from app.services.artifact import read_manifest
from app.services.model_server import ModelServer
from ml.accept import accept
from ml.acceptance import load_sentences

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    settings = Settings(_env_file=None, model_source="embedded", state_dir=tmp_path_factory.mktemp("state"))
    server = ModelServer(settings)
    asyncio.run(server.start())
    yield server
    asyncio.run(server.stop(5))


def test_it_answers_its_golden_examples(server):
    assert server.check.kind == "golden"
    assert server.check.examples >= 15
    assert server.check.largest_difference <= 0.03


def test_it_is_small_and_described():
    size = sum(path.stat().st_size for path in EMBEDDED_MODEL_DIR.iterdir())
    assert size <= 25_000_000
    manifest = read_manifest(EMBEDDED_MODEL_DIR)
    assert manifest is not None
    assert manifest.labels == ("negative", "positive")
    assert manifest.metrics["validation"]["accuracy"] >= 0.92
    assert manifest.metrics["validation"]["calibration_error"] <= 0.02
    card = (EMBEDDED_MODEL_DIR / "README.md").read_text("utf-8")
    for heading in ("What it is made of", "What it scores", "What it must not be used for"):
        assert f"## {heading}" in card


def test_it_passes_the_acceptance_test(server):
    report = accept(server.predictor)
    assert report.accepted, report


@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("A warm, funny and beautifully acted film.", "positive"),
        ("A WARM, FUNNY AND BEAUTIFULLY ACTED FILM.", "positive"),
        ("A warm, funny<br /><br />and beautifully acted film.", "positive"),
        ("Dull from start to finish, and badly acted.", "negative"),
    ],
)
def test_it_is_right_about_plain_verdicts(server, text, sentiment):
    (served,) = asyncio.run(server.predict([text]))
    assert served.output.label == sentiment
    assert not served.output.truncated


def test_it_reads_a_long_review_to_its_end(server):
    verdict_last = max(load_sentences(), key=lambda sentence: len(sentence.text))
    (served,) = asyncio.run(server.predict([verdict_last.text]))
    assert served.output.windows > 1
    assert not served.output.truncated
    assert served.output.label == verdict_last.label


def test_serving_it_imports_nothing_heavy(tmp_path):
    code = (
        "import asyncio, json, sys\n"
        "from app.core.config import Settings\n"
        "from app.main import create_app\n"
        "app = create_app(Settings(_env_file=None, model_source='embedded'))\n"
        "server = app.state.service.server\n"
        "asyncio.run(server.start())\n"
        "heavy = {'tensorflow', 'transformers', 'sklearn', 'wandb', 'torch', 'pandas', 'keras', 'joblib'}\n"
        "print(json.dumps([server.state, sorted(heavy & set(sys.modules))]))\n"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "STATE_DIR": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(found.stdout.splitlines()[-1]) == ["ready", []]
