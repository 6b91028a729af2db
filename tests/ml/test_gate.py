"""The verdict that decides about traffic, on tiny models where the registry's pull would put them."""

import json
from pathlib import Path

import pytest

from app.core.config import Settings
from app.services.artifact import MANIFEST_NAME, ModelFiles
from ml import gate
from ml.__main__ import main
from ml.acceptance import load_sentences
from tests.models.distilbert import tiny_onnx
from tests.models.numbers import tiny_tabular
from tests.models.support import model_files, settings_for


def serve(monkeypatch: pytest.MonkeyPatch, **versions: Path) -> list[str]:
    """Let `obtain_model` find these folders, by version; return what it was asked for."""
    asked: list[str] = []

    def obtain(settings: Settings) -> ModelFiles:
        asked.append(f"{settings.model_version}:{settings.model_digest}")
        return model_files(versions[settings.model_version])

    monkeypatch.setattr(gate, "obtain_model", obtain)
    return asked


def test_model_that_keeps_its_word_is_accepted_with_the_requests_to_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, v2=tiny_onnx(tmp_path / "v2"))
    verdict = gate.verdict(settings_for(model_version="v2"), None, "golden", 0.9)
    assert (verdict["accepted"], verdict["reasons"]) == (True, [])
    assert next(example["body"] for example in verdict["golden"]["examples"]) == {
        "text": "A warm and funny film."
    }


def test_model_of_another_kind_has_its_own_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, v2=tiny_tabular(tmp_path / "v2"))
    verdict = gate.verdict(settings_for("joblib", model_version="v2"), None, "golden", 0.9)
    assert verdict["accepted"]
    assert {tuple(example["body"]) for example in verdict["golden"]["examples"]} == {("features",)}


def test_model_that_breaks_its_word_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_onnx(tmp_path / "v2")
    manifest = json.loads((folder / MANIFEST_NAME).read_text("utf-8"))
    manifest["golden"]["examples"][1]["label"] = "positive"
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest), "utf-8")
    serve(monkeypatch, v2=folder)
    (reason,) = gate.verdict(settings_for(model_version="v2"), None, "golden", 0.9)["reasons"]
    assert reason.startswith("golden example 2 of 4: expected the label 'positive'")


def test_model_is_compared_with_the_version_that_has_traffic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_onnx(tmp_path / "model")
    asked = serve(monkeypatch, v1=folder, v2=folder)
    verdict = gate.verdict(settings_for(model_version="v2"), "v1:" + "a" * 32, "sentences", 0.0)
    assert verdict["accepted"]
    assert asked == ["v2:None", "v1:" + "a" * 32]
    verdict = gate.verdict(settings_for(model_version="v2"), None, "sentences", 1.0)
    assert "below the floor of 100.0%" in verdict["reasons"][0]


def test_worse_model_is_named_with_what_it_was_compared_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_onnx(tmp_path / "model")
    serve(monkeypatch, v1=folder, v2=folder)
    labels = [text.label for text in load_sentences()]
    answers = iter([["negative"] * len(labels), labels])
    monkeypatch.setattr("ml.compare.answers_of", lambda *arguments: next(answers))
    (reason,) = gate.verdict(settings_for(model_version="v2"), "v1:", "sentences", 0.0)["reasons"]
    assert reason.startswith("against v1, which has traffic: Worse: ")


def test_command_gives_one_line_of_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, v2=tiny_onnx(tmp_path / "v2"))
    monkeypatch.setenv("MODEL_VERSION", "v2")
    assert main(["gate", "--acceptance", "golden"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out)["accepted"] is True
    assert "4 examples" in output.err
