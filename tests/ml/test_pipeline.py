"""The life of a model by command line: train, export, evaluate, publish, on made-up sentences."""

import json
import shlex

import pytest

from app.services.artifact import model_digest, read_manifest
from app.services.golden import check_model
from ml import dataset
from ml.__main__ import main
from ml.evaluate import load_model
from ml.training_data import save
from tests.ml.samples import sentences

pytestmark = [pytest.mark.tensorflow, pytest.mark.timeout(300)]  # The first one imports TensorFlow.


def command(line: str) -> int:
    return main(shlex.split(line))


def test_from_sentences_to_the_registry(wandb_server, wandb_as, tiny_base, tmp_path, capsys):
    data = sentences(300)
    train, test, report = tmp_path / "train.parquet", tmp_path / "test.parquet", tmp_path / "report"
    save(data.take(range(240)), train)
    save(data.take(range(230, 300)), test)
    run, model = tmp_path / "run", tmp_path / "model" / "sentiment"
    with wandb_as("trainer"):
        assert not command(
            f"train {run} --data {train} --held-out {test} --base-model {tiny_base} --stages 32:4 "
            "--tokens-a-batch 256 --learning-rate 1e-2 --dropout 0 --validation-share 0.3 --evaluations 2 "
            "--no-compile --project reviews"
        )
        out = capsys.readouterr().out
        assert "10 rows left out: duplicates, or texts of test" in out
        assert out.splitlines()[-1].startswith(f"{run / 'best'}: accuracy ")

        assert not command(f"export {run} {model} --sample 30")
        out = capsys.readouterr().out
        assert out.startswith("TensorFlow and ONNX fp32 logits differ by at most ")
        assert out.splitlines()[-1].startswith(f"{model}: accuracy ")

        assert not command(f"evaluate {model} --data {test} --report {report} --record")
        assert (report / "report.md").read_text("utf-8") == capsys.readouterr().out

        assert not command(
            f"publish {model} --project reviews --report {report} --promote always "
            "--registry wandb-registry-model/sentiment"
        )

    claim = json.loads((run / "config.json").read_text("utf-8"))
    (training,) = wandb_server.runs(project="reviews", job_type="training")
    assert training.state == "finished"
    assert training.config_values["data"] == claim["data"]
    assert training.config_values["learning_rate"] == 0.01
    rows = wandb_server.rows(training)
    losses = [row["train/loss"] for row in rows if "train/loss" in row]
    assert losses[-1] < losses[0]
    assert len([row for row in rows if "validation/accuracy" in row]) == 2
    assert {"validation/confusion", "validation/calibration"} <= {name for row in rows for name in row}
    assert training.summary_values["validation/accuracy"] >= 0.9

    manifest = read_manifest(model)
    assert manifest is not None
    assert manifest.training["run"]["data"] == claim["data"]
    figures = json.loads((report / "report.json").read_text("utf-8"))
    assert manifest.metrics["test"]["accuracy"] == figures["reports"][0]["metrics"]["accuracy"] >= 0.9
    assert manifest.metrics["own_sentences"] == figures["own"]
    assert "| test | 70 | " in (model / "README.md").read_text("utf-8")
    assert manifest.metrics["validation"]["digest"] == dataset.load(run / "validation.parquet").digest()
    assert check_model(*load_model(model, threads=1)).kind == "golden"

    assert figures["reports"][0]["digest"] == data.take(range(230, 300)).digest()
    assert set(figures["own"]) == {"negation", "mixed", "sarcasm"}
    assert (report / "evaluation.png").is_file()

    artifact = wandb_server.artifact("acme/reviews/sentiment:production")
    assert artifact.digest == model_digest(model)
    assert artifact.metadata_values["metrics"]["test"] == manifest.metrics["test"]
    assert artifact.metadata_values["labels"] == ["negative", "positive"]
    card = wandb_server.artifact_files("acme/reviews/sentiment:latest")["README.md"]
    assert card == (model / "README.md").read_bytes()
    assert wandb_server.aliases("acme-org_ent/wandb-registry-model/sentiment") == {
        "latest": "v0",
        "production": "v0",
    }
