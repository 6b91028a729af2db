"""From process start to the first right answer over HTTP, in parts.

Against what nobody can avoid (interpreter, imports of the serving set, reading the model), a bare app with the same
model, and, where TensorFlow is installed, the same server with a TensorFlow checkpoint of the same size. Everything is
compiled to bytecode first: without it every figure is the compiler's. Runs take turns, so that a busy moment of the
machine meets all.
"""

import argparse
import compileall
import http.client
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.core.config import EMBEDDED_MODEL_DIR
from benchmarks.report import add_json, finish, machine, median, progress, ratio

ROOT = Path(__file__).resolve().parents[1]
OURS = "process start to first answer"
BARE = "bare FastAPI app, same file"
UNAVOIDABLE = "unavoidable: interpreter, imports, reading the model, one answer"
TENSORFLOW = "the same size as a TensorFlow checkpoint"
BODY = json.dumps({"text": "A warm, funny and beautifully acted film."})

_PARTS = """
import fastapi, uvicorn, pydantic_settings, loguru, numpy, onnxruntime
from tokenizers import Tokenizer
tokenizer = Tokenizer.from_file("{folder}/tokenizer.json")
session = onnxruntime.InferenceSession("{folder}/model.onnx", providers=["CPUExecutionProvider"])
ids = numpy.array([tokenizer.encode("A warm, funny and beautifully acted film.").ids], dtype="int32")
session.run(None, {{"input_ids": ids, "attention_mask": numpy.ones_like(ids)}})
"""
_WRITE = """
import sys
from app.core.tensorflow_runtime import import_tensorflow
import_tensorflow()
from transformers import DistilBertConfig, TFDistilBertForSequenceClassification
model = TFDistilBertForSequenceClassification(DistilBertConfig(dim=384, hidden_dim=1536, n_layers=6, n_heads=12))
model(model.dummy_inputs)
model.save_pretrained(sys.argv[1])
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument(
        "--no-tensorflow", action="store_true", help="leave out the same model as a TensorFlow checkpoint"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table."""
    before = machine()
    _compile()
    tensorflow = not arguments.no_tensorflow and importlib.util.find_spec("tensorflow") is not None
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        environment = _environment(Path(scratch))
        checkpoint = environment | _checkpoint(Path(scratch)) if tensorflow else {}
        bar = progress(arguments.runs, "run")
        for _ in range(arguments.runs):
            ours, timings = _first_answer([sys.executable, "-m", "app"], environment)
            bare, _ = _first_answer(
                [sys.executable, "-m", "benchmarks.bare_app", str(EMBEDDED_MODEL_DIR)], environment
            )
            found = {"interpreter": _command("pass", environment), **timings, OURS: ours, BARE: bare}
            found["interpreter and imports of the app"] = _command("import app.main", environment)
            found[UNAVOIDABLE] = _command(_PARTS.format(folder=EMBEDDED_MODEL_DIR), environment)
            if checkpoint:
                found[TENSORFLOW], _ = _first_answer([sys.executable, "-m", "app"], checkpoint)
            for name, value in found.items():
                seconds.setdefault(name, []).append(value)
            bar.update()
        bar.close()
    finish("cold_start", arguments, rows(seconds), before, seconds=seconds)
    return 0


def rows(seconds: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """Return medians with the range, and what the cold start is to each of the others."""
    total = median(seconds[OURS])
    goals = {UNAVOIDABLE: "at most 1.25", TENSORFLOW: "at most 0.167"}
    return [
        {
            "part": name,
            "seconds": median(values),
            "from": min(values),
            "to": max(values),
            "cold start is ×": ratio(total, median(values))
            if name in (BARE, UNAVOIDABLE, TENSORFLOW)
            else None,
            "goal": goals.get(name),
        }
        for name, values in seconds.items()
    ]


def _checkpoint(scratch: Path) -> dict[str, str]:
    """Write a TensorFlow checkpoint of the embedded size, random weights; return a server's variables for it."""
    folder = scratch / "models" / "checkpoint"
    folder.mkdir(parents=True)
    subprocess.run([sys.executable, "-c", _WRITE, str(folder)], cwd=ROOT, check=True, capture_output=True)
    for name in ("tokenizer.json", "marquee.json"):
        shutil.copyfile(EMBEDDED_MODEL_DIR / name, folder / name)
    # Other weights have other golden answers.
    manifest = json.loads((folder / "marquee.json").read_text("utf-8")) | {"loader": "transformers"}
    manifest.pop("golden", None)
    (folder / "marquee.json").write_text(json.dumps(manifest), "utf-8")
    return {
        "MODEL_SOURCE": "local",
        "LOCAL_MODEL_DIR": str(folder.parent),
        "LOCAL_MODEL_NAME": folder.name,
        "MODEL_LOADER": "transformers",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }


def _compile() -> None:
    """Compile the project and its environment to bytecode."""
    for folder in (ROOT / "app", ROOT / "benchmarks", Path(sys.prefix) / "lib", Path(os.__file__).parent):
        compileall.compile_dir(folder, quiet=2, workers=0)


def _environment(scratch: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"MODEL_SOURCE": "embedded", "STATE_DIR": str(scratch), "INFERENCE_LOG": "true"}


def _first_answer(command: list[str], environment: dict[str, str]) -> tuple[float, dict[str, float]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment | {"PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
            if time.perf_counter() - started > 120:
                raise RuntimeError(f"{' '.join(command)} gave no answer within 120 s")
            try:
                reply = _ask(port, "POST", "/predict", BODY)
            except OSError:
                reply = None
            if reply is not None:
                seconds = time.perf_counter() - started
                positive = reply.get("positive", reply.get("confidences", {}).get("positive", 0))
                if positive <= 0.5 and environment.get("MODEL_LOADER") != "transformers":
                    raise RuntimeError(f"a wrong answer: {reply}")
                break
            time.sleep(0.002)
        health = _ask(port, "GET", "/api/v1/health", None) if command[-1] == "app" else None
        return seconds, dict(health.get("start_seconds", {})) if health else {}
    finally:
        process.terminate()
        process.wait(15)


def _ask(port: int, method: str, path: str, body: str | None) -> dict | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        return json.loads(content) if response.status == 200 else None
    finally:
        connection.close()


def _command(code: str, environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
    return time.perf_counter() - started
