"""Training: the loss falls, a stopped run goes on, a worse one stops, and nobody else's folder is touched."""

import json
import shutil

import numpy as np
import pytest

from app.core.tensorflow_runtime import import_tensorflow
from app.services.text import TextEncoder, WindowPolicy
from ml import dataset
from ml.base_models import load_checkpoint
from ml.batches import Stage
from ml.onnx_graph import read_classifier
from ml.train import TrainingError, predict_logits
from tests.ml.conftest import RecordedRun, TinyRun
from tests.ml.samples import distilbert_logits

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(300)]  # The first one imports TensorFlow.


def weights_of(folder) -> dict[str, np.ndarray]:
    """All variables of a run's last checkpoint, the optimizer's too."""
    reader = import_tensorflow().train.load_checkpoint(str(folder / "state"))
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names if "VARIABLE_VALUE" in name}


class TestRun:
    def test_learns(self, tiny_run: TinyRun):
        losses = tiny_run.run.curve("validation/log_loss")
        assert losses[-1] < 0.2 < losses[0]
        assert tiny_run.result.validation["log_loss"] == pytest.approx(min(losses))
        assert tiny_run.result.validation["accuracy"] >= 0.9
        assert tiny_run.result.steps == 80

    def test_leaves_a_checkpoint_with_its_tokenizer_and_its_facts(self, tiny_run: TinyRun):
        assert {"config.json", "tf_model.h5", "tokenizer.json"} <= {
            path.name for path in (tiny_run.folder / "best").iterdir()
        }
        result = json.loads((tiny_run.folder / "result.json").read_text("utf-8"))
        assert result["validation"] == tiny_run.result.validation
        assert result["temperature"] == tiny_run.result.temperature
        claim = json.loads((tiny_run.folder / "config.json").read_text("utf-8"))
        assert claim["data"] == tiny_run.training.digest()
        assert claim["config"]["stages"] == [{"max_tokens": 32, "passes": 4}]
        kept = dataset.load(tiny_run.folder / "validation.parquet")
        assert kept.digest() == tiny_run.validation.digest()

    def test_logs_curves_confusion_and_calibration(self, tiny_run: TinyRun):
        run = tiny_run.run
        assert run.curve("train/step") == [10, 20, 20, 30, 40, 40, 50, 60, 60, 70, 80, 80]
        losses = run.curve("train/loss")
        assert losses[-1] < losses[0]
        rates = run.curve("train/learning_rate")
        assert rates[0] > rates[-1] == 0
        assert len(run.curve("validation/accuracy")) == 4
        (confusion,) = run.curve("validation/confusion")
        assert [row[0] for row in confusion.data] == ["negative", "positive"]
        assert sum(sum(row[1:]) for row in confusion.data) == len(tiny_run.validation)
        (calibration,) = run.curve("validation/calibration")
        assert calibration.columns == ["confidence", "accuracy", "rows"]
        assert run.summary["temperature"] == tiny_run.result.temperature

    def test_a_finished_run_is_only_scored_again(self, tiny_run: TinyRun, tmp_path):
        shutil.copytree(tiny_run.folder, tmp_path / "again")
        lines: list[str] = []
        result = tiny_run.train(tmp_path / "again", progress=lines.append)
        assert result.validation == tiny_run.result.validation
        assert lines[-1] == "resumed at step 80 of 80"


class StoppedHere(BaseException):
    """As a kill would end it: nothing of the run's own gets to act on it."""


def test_a_stopped_run_ends_as_one_that_was_not(tiny_run: TinyRun, tmp_path):
    def stop(line: str) -> None:
        if line.startswith("step 30/80"):
            raise StoppedHere

    with pytest.raises(StoppedHere):
        tiny_run.train(tmp_path / "run", progress=stop)
    lines: list[str] = []
    result = tiny_run.train(tmp_path / "run", progress=lines.append)
    assert "resumed at step 20 of 80" in lines
    assert result.validation == pytest.approx(tiny_run.result.validation)
    expected, found = weights_of(tiny_run.folder), weights_of(tmp_path / "run")
    assert set(found) == set(expected)
    assert len(found) > 60
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_stops_early_and_stays_stopped(tiny_run: TinyRun, tmp_path):
    lines: list[str] = []
    options = {"stages": (Stage(32, 0.5),), "learning_rate": 0.0, "evaluations": 5, "patience": 2}
    result = tiny_run.train(tmp_path / "run", progress=lines.append, **options)
    assert result.steps == 6, "of 10; the first evaluation is the best, the next two are no better"
    assert "stopped early: 2 evaluations without a better validation loss" in lines
    assert tiny_run.train(tmp_path / "run", progress=lines.append, **options).steps == 6


def test_another_run_leaves_the_folder_alone(tiny_run: TinyRun):
    before = {path: path.read_bytes() for path in tiny_run.folder.glob("*.*")}
    with pytest.raises(TrainingError, match="holds a run with other settings or data"):
        tiny_run.train(tiny_run.folder, learning_rate=1e-3)
    assert {path: path.read_bytes() for path in tiny_run.folder.glob("*.*")} == before


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_says_that_it_learned_nothing(tiny_run: TinyRun, tmp_path):
    run, options = RecordedRun(), {"stages": (Stage(32, 0.2),), "learning_rate": 1e30, "evaluations": 1}
    with pytest.raises(TrainingError, match="no evaluation had a finite loss: try a lower learning rate"):
        tiny_run.train(tmp_path / "run", run, **options)
    assert not (tmp_path / "run" / "result.json").exists()


def test_whole_texts_get_the_mean_of_their_windows(tiny_run: TinyRun):
    model = load_checkpoint(tiny_run.folder / "best")
    encoder = TextEncoder.from_file(tiny_run.folder / "best" / "tokenizer.json", WindowPolicy(16, 4, 3))
    texts = [*tiny_run.validation.texts[:5], "the film is superb, " * 9, "dull " * 200, ""]
    classifier = read_classifier(model)
    assert (classifier.heads, classifier.layers) == (2, 1)
    expected = [
        np.mean(
            [
                distilbert_logits(
                    classifier.weights, 1, 2, np.array([window]), np.ones((1, len(window)), dtype=int)
                )[0]
                for window in text.windows
            ],
            axis=0,
        )
        for text in encoder.encode(texts)
    ]
    assert predict_logits(model, encoder, texts, tokens_a_batch=64) == pytest.approx(
        np.array(expected), abs=1e-4
    )
