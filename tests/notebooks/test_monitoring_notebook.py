"""The notebook about monitoring runs on what instances logged, and says when the model is not good any more."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "03_monitoring.ipynb"
START = datetime(2026, 5, 1, tzinfo=UTC)


def log_inferences(wandb, entity: str) -> None:
    """Log what an instance would: 120 predictions, half of them judged and wrong, later ones shorter, three windows."""
    with wandb.init(project="reviews", entity=entity, job_type="inferences") as run:
        for index in range(120):
            run.log(
                {
                    "id": f"p{index}",
                    "time": (START + timedelta(minutes=index)).isoformat(timespec="milliseconds"),
                    "confidence_negative": 0.1 + 0.001 * index,
                    "confidence_positive": 0.9 - 0.001 * index,
                    "tokens": 200 + index % 7 if index < 60 else 9 + index % 7,
                    "unknown_tokens": 0,
                    "familiar_pairs": 0.4 + 0.001 * (index % 50),
                    "queue_ms": 1.0,
                    "inference_ms": 20.0,
                    "model_version": "v7",
                }
            )
            if index < 60:
                run.log(
                    {
                        "id": f"p{index}-feedback",
                        "kind": "feedback",
                        "prediction_id": f"p{index}",
                        "truth": "negative",
                    }
                )
        for minute in range(3):
            window = {
                "start": START.timestamp() + 60 * minute,
                "predictions": 40,
                "requests": 40,
                "failures": 0,
            }
            window |= {f"latency_ms/{name}": 25.0 for name in ("p50", "p95", "p99")}
            window |= {"drift/tokens": 0.5, "drifted/tokens": 1}
            run.log({f"window/{name}": value for name, value in window.items()})


def said_by(notebook) -> str:
    return "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_pulls_the_runs_and_gives_its_verdict(
    wandb_server, wandb_as, wandb_environment, monkeypatch, tmp_path
):
    from nbclient import NotebookClient

    with wandb_as("instance") as wandb:
        log_inferences(wandb, wandb_server.entity)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    folders = ("IPYTHONDIR", "MPLCONFIGDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")
    variables = {**wandb_environment("people"), **dict.fromkeys(folders, str(tmp_path / "kernel"))}
    for name, value in (variables | {"PROJECT_NAME": "reviews", "WANDB_ENTITY": wandb_server.entity}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("INFERENCE_PROJECT_NAME", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    said = said_by(client.execute())
    assert "120 predictions by v7, 60 with their truth, 3 windows" in said
    verdicts = {line.split()[0]: line for line in said.splitlines() if line.split()}
    assert verdicts["accuracy"].endswith("missed")
    assert verdicts["errors"].endswith("met")
    assert "tokens" in verdicts["texts"]
    assert verdicts["texts"].endswith("drifted")


def test_what_is_committed_has_its_outputs_and_quotes_no_sentence():
    from ml.acceptance import load_sentences

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count == place for place, cell in enumerate(code, 1))
    said = said_by(notebook)
    assert "with their truth" in said
    assert not any(sentence.text in said for sentence in load_sentences())
    assert sum("image/png" in output.get("data", {}) for cell in code for output in cell.outputs) == 2
