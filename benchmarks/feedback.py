"""Is the live accuracy the real one? Labelled reviews and their truth over HTTP, against the same answers offline."""

import argparse
import asyncio
from pathlib import Path

import numpy as np

from ml.metrics import calibration_error, confusion

KEY = "of-this-benchmark-alone"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--data", type=Path, required=True, help="labelled texts (.parquet, .csv)")
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--clients", type=int, default=2)


def run(arguments: argparse.Namespace) -> int:
    """Print both; exit code 1 where they differ."""
    import httpx

    from benchmarks.server import Server
    from ml import dataset

    data = dataset.load(arguments.data).sample(arguments.rows, 5)
    # Two instances that share a key: one predicts, the other gets the truth.
    settings = {"MODEL_SOURCE": "embedded", "FEEDBACK_KEY": KEY, "REQUEST_TIMEOUT_SECONDS": "300"}
    with Server(**settings) as server, Server(**settings) as other:
        replies = asyncio.run(server.ask_all(data.texts, arguments.clients))
        with httpx.Client(base_url=f"http://127.0.0.1:{other.port}", timeout=60) as client:
            for reply, label in zip(replies, data.labels.tolist(), strict=True):
                truth = {"id": reply["id"], "label": dataset.LABELS[label]}
                client.post("/api/v1/feedback", json=truth).raise_for_status()
            (live,) = client.get("/api/v1/monitor").json()["accuracy"]["versions"].values()
    answers = np.array([[reply["confidences"][label] for label in dataset.LABELS] for reply in replies])
    offline = float((answers.argmax(axis=1) == data.labels).mean())
    error = calibration_error(data.labels, np.log(np.clip(answers, 1e-12, 1)))
    table = confusion(data.labels, answers)
    cells = {(cell["truth"], cell["prediction"]): cell["rows"] for cell in live["confusion"]}
    seen = [[cells.get((truth, answer), 0) for answer in dataset.LABELS] for truth in dataset.LABELS]
    print("| | live, from the other instance | offline, from the replies |\n|---|---:|---:|")
    print(f"| reviews | {live['rows']} | {len(data)} |")
    print(f"| accuracy | {live['accuracy']:.4f} | {offline:.4f} |")
    print(f"| calibration error | {live['calibration_error']:.4f} | {error:.4f} |")
    print(f"| confusion, by truth then answer | {seen} | {table} |")
    same = (
        abs(live["accuracy"] - offline) < 1e-6
        and seen == table
        and abs(live["calibration_error"] - error) < 1e-4
    )
    return 0 if same else 1
