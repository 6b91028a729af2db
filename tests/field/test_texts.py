"""B49, B50, B55 and B56: what a sentiment model cannot know, what an image is made of, and drift of next to nothing."""

import copy
import importlib.metadata
import math

import pytest

from app.core.config import EMBEDDED_MODEL_DIR
from app.services.text import clean
from tests.app.services.monitoring.test_monitor import Sink, files, row


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    """The model of this repository behind the real routes."""
    from app.core.config import Settings
    from app.main import create_app
    from tests.app.api.client import AppClient

    settings = Settings(
        _env_file=None,
        model_source="embedded",
        state_dir=tmp_path_factory.mktemp("state"),
        inference_log=False,
    )
    with AppClient(create_app(settings)) as client:
        yield client


def positive(client, text: str) -> float:
    reply = client.post("/predict", json={"text": text})
    assert reply.status_code == 200, reply.text
    return float(reply.json()["confidences"]["positive"])


@pytest.mark.parametrize(
    "text",
    [
        "The film runs for two hours and was shot in Portugal.",
        "the of and under seventeen blue",
        "Un film magnifique, drôle et bouleversant.",
        "这部电影非常感人。",
        "!!!",
    ],
)
def test_b49_texts_of_another_kind_are_answered_with_a_confidence_that_is_calibrated(embedded, text):
    assert 0 < positive(embedded, text) < 1
    model = embedded.get("/api/v1/model").json()
    assert model["metrics"]["validation"]["calibration_error"] <= 0.02


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A warm, funny and beautifully acted film.", "A WARM, FUNNY AND BEAUTIFULLY ACTED FILM."),
        ("Dull from start to finish. Badly acted.", "Dull from start to finish.<br /><br />Badly acted."),
        ("It's slow & it's weak.", "It&#39;s slow &amp; it&#39;s weak."),
    ],
)
def test_b49_case_markup_and_entities_change_next_to_nothing(embedded, one, other):
    assert abs(positive(embedded, one) - positive(embedded, other)) < 0.05


def test_b44_a_review_of_a_thousand_words_is_judged_by_its_last_sentence_too(embedded):
    """On the model that is served; the tiny ones of test_loaders.py show the counts."""
    plot = "The story begins in a small town by the sea and goes on for several years. " * 60
    ends = {
        verdict: positive(embedded, plot + verdict)
        for verdict in (
            "I loved every minute of this wonderful film.",
            "It is the worst and dullest film ever made.",
        )
    }
    kind, harsh = ends.values()
    assert kind > harsh
    for words in (509, 510, 511, 512):
        reply = embedded.post("/predict", json={"text": " ".join(["film"] * words)}).json()
        assert (reply["tokens"], reply["windows"]) == (words, 1 if words <= 510 else 2)


NEGATORS = ["not", "no", "never", "nothing", "nor", "isn't", "don't", "without", "hardly"]


@pytest.mark.parametrize("word", NEGATORS)
def test_b50_cleaning_keeps_what_negates(word):
    assert word in clean(f"It is {word}<br />terrible &amp; dull.").split()


def test_b50_negation_is_a_slice_of_its_own_whose_accuracy_is_told_for_each_version(embedded):
    """The server promises no accuracy here; the model's metrics name what was measured."""
    from ml.acceptance import load_slices

    kinds = {sentence.kind for sentence in load_slices()}
    assert {"negation", "mixed"} <= kinds, kinds
    assert len([sentence for sentence in load_slices() if sentence.kind == "negation"]) >= 12
    card = (EMBEDDED_MODEL_DIR / "README.md").read_text("utf-8")
    assert "negation" in card.lower()


def test_b55_an_edit_without_a_new_lock_is_seen_and_told_how_to_mend(monkeypatch):
    from tests.project import test_lock as lock

    lock.test_lock_was_made_from_this_pyproject()
    edited = copy.deepcopy(lock.PYPROJECT)
    edited["project"]["dependencies"].append("another-library (>=1)")
    monkeypatch.setattr(lock, "PYPROJECT", edited)
    with pytest.raises(AssertionError, match="make lock"):
        lock.test_lock_was_made_from_this_pyproject()


def test_b55_what_runs_is_what_is_locked():
    from tests.project.test_lock import exported_pins

    locked = {name: version for name, version, _ in exported_pins("serving")}
    for name in ("fastapi", "numpy", "onnxruntime", "pydantic", "uvicorn", "wandb"):
        assert importlib.metadata.version(name) == locked[name], name


def test_b55_health_names_the_versions_of_the_libraries(client):
    versions = client.get("/api/v1/health").json()["versions"]
    assert {"marquee", "python", "fastapi", "numpy", "onnxruntime", "wandb"} <= set(versions)


def has_no_nan(value: object) -> bool:
    if isinstance(value, dict):
        return all(has_no_nan(inner) for inner in value.values())
    if isinstance(value, list | tuple):
        return all(has_no_nan(inner) for inner in value)
    return not isinstance(value, float) or math.isfinite(value)


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "", "tokens": 0, "unknown_tokens": 0},
        {"text": "...", "tokens": 0, "unknown_tokens": 0},
        {"text": None, "tokens": None},
        {"confidence_negative": None, "confidence_positive": None},
        None,
    ],
    ids=["empty", "punctuation", "null", "no scores", "no rows"],
)
def test_b56_a_window_of_next_to_nothing_makes_a_report_without_nan(tmp_path, changes):
    from app.core.config import Settings
    from app.services.monitoring import Monitor

    monitor = Monitor(Settings(_env_file=None, state_dir=tmp_path, drift_window=50, drift_minimum=20), Sink())
    monitor.start(files())
    for number in range(0 if changes is None else 60):
        monitor.observe(row(number, **(changes or {})))
    assert has_no_nan(monitor.report())
    assert b"NaN" not in monitor.metrics()
    monitor.stop()
