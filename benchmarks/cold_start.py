"""From process start to the first right answer over HTTP, in parts, against a bare app with the same model.

Both are compiled to bytecode first: without it every figure is the compiler's. Runs of the two take turns, so that a
busy moment of the machine meets both.
"""

import argparse
import compileall
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from app.core.config import EMBEDDED_MODEL_DIR

ROOT = Path(__file__).resolve().parents[1]
BODY = json.dumps({"text": "A warm, funny and beautifully acted film."})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures here too")


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the table."""
    _compile()
    with tempfile.TemporaryDirectory() as scratch:
        environment = _environment(Path(scratch))
        ours: list[float] = []
        bare: list[float] = []
        parts: dict[str, list[float]] = {}
        for _ in range(arguments.runs):
            seconds, timings = _first_answer([sys.executable, "-m", "app"], environment)
            ours.append(seconds)
            for name, value in timings.items():
                parts.setdefault(name, []).append(value)
            seconds, _ = _first_answer(
                [sys.executable, "-m", "benchmarks.bare_app", str(EMBEDDED_MODEL_DIR)], environment
            )
            bare.append(seconds)
            parts.setdefault("interpreter", []).append(_command("pass", environment))
            parts.setdefault("interpreter and imports of the app", []).append(
                _command("import app.main", environment)
            )
    total, base = statistics.median(ours), statistics.median(bare)
    rows = {name: statistics.median(values) for name, values in parts.items()}
    print("| part | seconds (median) |\n|---|---:|")
    for name, value in rows.items():
        print(f"| {name} | {value:.3f} |")
    print(
        f"| **process start to first answer** | **{total:.3f}** (from {min(ours):.3f} to {max(ours):.3f}) |"
    )
    print(f"| bare FastAPI app, same file | {base:.3f} (from {min(bare):.3f} to {max(bare):.3f}) |")
    print(f"| **ratio** | **{total / base:.2f}** |")
    if arguments.json:
        figures = {"seconds": ours, "bare": bare, "parts": rows, "ratio": total / base}
        arguments.json.write_text(json.dumps(figures, indent=2), "utf-8")
    return 0


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
            if time.perf_counter() - started > 60:
                raise RuntimeError(f"{' '.join(command)} gave no answer within 60 s")
            try:
                reply = _ask(port, "POST", "/predict", BODY)
            except OSError:
                reply = None
            if reply is not None:
                seconds = time.perf_counter() - started
                positive = reply.get("positive", reply.get("confidences", {}).get("positive", 0))
                assert positive > 0.5, reply
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
