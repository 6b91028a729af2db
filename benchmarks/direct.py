"""The engine alone, in a process of its own: the texts that a server gets, without a server.

``python -m benchmarks.direct MODEL TEXTS.json --threads 2`` prints, as JSON, texts a second one at a time through the
server's own predictor, as many at once as it takes, and in batches that are sorted by length and padded to the longest.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from app.core.config import load_settings
from app.services.artifact import Manifest, ModelFiles, ModelVersion, read_manifest
from app.services.loaders.onnx import OnnxPredictor
from app.services.predictor import Predictor, load_predictor
from app.services.text_classifier import WindowClassifier

BATCHES = (1, 4, 16, 32)


def load(folder: Path, threads: int) -> Predictor:
    """Load a folder as a server does, without checks."""
    manifest = read_manifest(folder) or Manifest()
    files = ModelFiles(folder, ModelVersion(folder.name, "v0", "0" * 32), "local", manifest, True)
    settings = load_settings(
        _env_file=None, model_loader=manifest.loader or "auto", inference_threads=threads
    )
    return load_predictor(files, settings)


def measure(predictor: Predictor, texts: Sequence[str], batches: Sequence[int]) -> dict[str, float]:
    """Return texts a second by the way they were asked, tokenizing included."""
    ways: dict[str, Callable[[], None]] = {}
    for size in batches:
        if size == 1 or not isinstance(predictor, WindowClassifier):
            ways[f"{size} at a time"] = lambda size=size: _served(predictor, texts, size)
        elif isinstance(predictor, OnnxPredictor):
            ways[f"{size} padded to the longest"] = lambda size=size: _padded(predictor, texts, size)
    if predictor.parallel > 1:
        ways[f"{predictor.parallel} at once"] = lambda: _at_once(predictor, texts)
    found = {}
    for size, way in ways.items():
        started = time.perf_counter()
        way()
        found[size] = len(texts) / (time.perf_counter() - started)
    return found


def _served(predictor: Predictor, texts: Sequence[str], size: int) -> None:
    for start in range(0, len(texts), size):
        predictor.predict(predictor.prepare(texts[start : start + size]))


def _at_once(predictor: Predictor, texts: Sequence[str]) -> None:
    with ThreadPoolExecutor(predictor.parallel) as pool:
        list(pool.map(lambda text: predictor.predict(predictor.prepare([text])), texts))


def _padded(predictor: OnnxPredictor, texts: Sequence[str], size: int) -> None:
    import numpy

    session = predictor.sessions.all
    windows = sorted((list(w) for text in predictor.prepare(texts) for w in text.windows), key=len)
    types = {entry.name: entry.type for entry in session.get_inputs()}
    for start in range(0, len(windows), size):
        batch = windows[start : start + size]
        longest = len(batch[-1])
        ids = numpy.array([window + [0] * (longest - len(window)) for window in batch])
        mask = numpy.array([[1] * len(window) + [0] * (longest - len(window)) for window in batch])
        feed = {"input_ids": ids, "attention_mask": mask}
        session.run(
            ["logits"],
            {name: feed[name].astype("int32" if "32" in types[name] else "int64") for name in types},
        )


def main() -> None:
    """Measure once a line of standard input, until it ends, so that turns can be taken with a server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    arguments = parser.parse_args()
    texts = json.loads(arguments.texts.read_text("utf-8"))
    predictor = load(arguments.model, arguments.threads)
    # What is opened when predictions first meet is open before anything is measured.
    _at_once(predictor, texts[:8])
    if isinstance(predictor, OnnxPredictor):
        predictor.sessions.wait(60)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure(predictor, texts, arguments.batches)), flush=True)


if __name__ == "__main__":
    main()
