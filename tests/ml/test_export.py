"""Export: what is written answers as what was trained, or nothing is written."""

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from app.services.artifact import read_manifest
from app.services.golden import check_model
from app.services.text import TextEncoder
from ml import export, quantize
from ml.evaluate import load_model
from ml.export import Export, ExportError, export_model
from ml.metrics import probabilities
from ml.onnx_graph import write_graph
from tests.ml.conftest import TinyRun
from tests.ml.samples import golden_texts, sentences

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(300)]  # The first one imports TensorFlow.


def exported(run: TinyRun, folder, **options) -> tuple[Export, list[str]]:
    lines: list[str] = []
    result = export_model(
        run.folder / "best",
        folder,
        run.validation,
        options.pop("golden", golden_texts()),
        {"seed": run.config.seed},
        parity_texts=10,
        progress=lines.append,
        **options,
    )
    return result, lines


@pytest.fixture(scope="module")
def int8(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Export, list[str]]:
    return exported(tiny_run, tmp_path_factory.mktemp("artifact") / "sentiment")


class TestArtifact:
    def test_holds_what_a_server_needs(self, int8):
        result, _ = int8
        assert {path.name for path in result.folder.iterdir()} == {
            "README.md",
            "marquee.json",
            "model.onnx",
            "tokenizer.json",
        }
        assert read_manifest(result.folder) == result.manifest
        assert (result.manifest.loader, result.manifest.labels) == ("onnx", ("negative", "positive"))

    def test_says_how_close_it_is_to_what_was_trained(self, int8):
        result, lines = int8
        assert 0 < result.parity_gap < 1e-4
        assert lines[0] == (
            f"TensorFlow and ONNX fp32 logits differ by at most {result.parity_gap:.1e} on 10 texts"
        )
        assert [entry.recipe for entry in result.table] == ["fp32", *(r.name for r in quantize.RECIPES)]
        chosen = next(line for line in lines if line.startswith("chosen: ")).removeprefix("chosen: ")
        assert chosen in {recipe.name for recipe in quantize.RECIPES if recipe.portable}

    def test_describes_itself(self, int8, tiny_run):
        manifest = int8[0].manifest
        assert manifest.training["seed"] == 0
        assert len(manifest.training["quantisation"]) == 1 + len(quantize.RECIPES)
        scores = manifest.metrics["validation"]
        assert (scores["rows"], scores["digest"]) == (len(tiny_run.validation), tiny_run.validation.digest())
        assert scores["accuracy"] >= 0.9
        assert manifest.reference["rows"] == len(tiny_run.validation)
        assert sum(manifest.reference["tokens"]["shares"]) == pytest.approx(1)

    def test_the_server_finds_its_golden_examples_answered(self, int8):
        predictor, files = load_model(int8[0].folder, threads=1)
        check = check_model(predictor, files)
        assert (check.kind, check.examples) == ("golden", len(files.manifest.golden.examples))
        assert check.largest_difference is not None
        assert check.largest_difference < 1e-5

    def test_golden_examples_are_the_graphs_own_answers(self, int8):
        result, _ = int8
        assert result.manifest.golden.tolerance == 0.03
        assert len(result.manifest.golden.examples) >= 6
        session = onnxruntime.InferenceSession(str(result.folder / "model.onnx"))
        encoder = TextEncoder.from_file(
            result.folder / "tokenizer.json", result.manifest.preprocessing.windows()
        )
        for example in result.manifest.golden.examples:
            logits = quantize.session_logits(session, encoder.encode([example.input]))
            ((negative, positive),) = probabilities(logits, result.manifest.temperature)
            assert example.confidences == pytest.approx(
                {"negative": negative, "positive": positive}, abs=1e-5
            )
            assert example.label == ("positive" if positive > 0.5 else "negative")
            assert abs(positive - 0.5) > 0.06


def test_fp32_has_a_narrow_tolerance_and_replaces_a_model(tiny_run, tmp_path):
    folder = tmp_path / "sentiment"
    folder.mkdir()
    (folder / "marquee.json").write_text("{}", "utf-8")
    (folder / "old.bin").touch()
    result, _ = exported(tiny_run, folder, precision="fp32")
    assert result.manifest.golden.tolerance == 1e-5
    assert len(result.table) == 1
    assert not (folder / "old.bin").exists()


class TestRefuses:
    def test_a_graph_that_computes_something_else(self, tiny_run, tmp_path, monkeypatch):
        def tampered(classifier, path):
            name = "layer.0.ffn.lin2.weight"
            weights = classifier.weights | {name: classifier.weights[name] * 1.05}
            write_graph(replace(classifier, weights=weights), path)

        monkeypatch.setattr(export, "write_graph", tampered)
        with pytest.raises(ExportError, match=r"ONNX and TensorFlow logits differ by .*, at most 1e-03"):
            exported(tiny_run, tmp_path / "sentiment")
        assert list(tmp_path.iterdir()) == []

    def test_a_graph_that_answers_nothing(self, tiny_run, tmp_path, monkeypatch):
        def broken(classifier, path):
            weights = classifier.weights | {"classifier.bias": np.full(2, np.nan, dtype=np.float32)}
            write_graph(replace(classifier, weights=weights), path)

        monkeypatch.setattr(export, "write_graph", broken)
        with pytest.raises(ExportError, match="differ by nan"):
            exported(tiny_run, tmp_path / "sentiment")

    @pytest.mark.parametrize(
        ("cost", "message"),
        [
            ({"accuracy": 0.5}, r"no quantised graph is within 0.003 of fp32's accuracy"),
            ({"flips": 0.05}, r"changes 5.0% of the labels, at most 2% may change"),
        ],
    )
    def test_an_int8_that_costs_too_much(self, tiny_run, tmp_path, monkeypatch, cost, message):
        measure = quantize.measure

        def measured(path, name, *arguments):
            found, logits = measure(path, name, *arguments)
            return (found if name == "fp32" else replace(found, **cost)), logits

        monkeypatch.setattr(quantize, "measure", measured)
        with pytest.raises(ExportError, match=message):
            exported(tiny_run, tmp_path / "sentiment")
        assert list(tmp_path.iterdir()) == []

    def test_golden_inputs_that_the_model_is_unsure_of(self, tiny_run, tmp_path, monkeypatch):
        monkeypatch.setattr(export, "fit_temperature", lambda *_: 1000.0)
        with pytest.raises(ExportError, match=r"only 0 of 8 golden inputs get a clear answer"):
            exported(tiny_run, tmp_path / "sentiment")

    def test_to_replace_a_folder_that_is_no_model(self, tiny_run, tmp_path):
        (tmp_path / "notes.txt").write_text("mine", "utf-8")
        with pytest.raises(ExportError, match="is not empty and holds no model: it is not replaced"):
            exported(tiny_run, tmp_path)
        assert (tmp_path / "notes.txt").read_text("utf-8") == "mine"


def test_a_validation_set_of_one_class_can_be_exported_with(tiny_run, tmp_path):
    praise = sentences(40, seed=9).take(range(1, 40, 2))
    result, _ = exported(replace(tiny_run, validation=praise), tmp_path / "sentiment", precision="fp32")
    written = json.loads((result.folder / "marquee.json").read_text("utf-8"))
    assert "roc_auc" not in written["metrics"]["validation"]
