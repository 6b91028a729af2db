"""The engine as every peer calls it: the same file, the same session options; no project code, any Python.

``serve(run)`` is what the scripts beside this one end with: it reads the command line
``FOLDER PORT THREADS BATCHING PROCESSES`` that the benchmark starts them with.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What a peer is started with; `batching` is whether it is to use its own, `processes` how many hold the model."""

    folder: Path
    port: int
    threads: int
    batching: bool
    processes: int = 1


MOST_TOGETHER = 32
"""Items that a peer's own batching may put together."""
WAIT_SECONDS = 0.005
"""How long a peer that batches by waiting may wait."""


def options() -> Options:
    """Read the command line; what a framework starts again itself reads it from the environment."""
    values = os.environ.setdefault("PEER_OPTIONS", "\n".join(sys.argv[1:6])).split("\n")
    folder, port, threads, batching, processes = values
    return Options(Path(folder), int(port), int(threads), batching == "1", int(processes))


class Engine:
    """``model.onnx`` with ``tokenizer.json``, or ``model.pkl``; one of them lies in the folder."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._temperature = json.loads((folder / "marquee.json").read_text("utf-8")).get("temperature", 1.0)
        self._pipeline = None
        if (folder / "model.pkl").is_file():
            import joblib

            self._pipeline = joblib.load(folder / "model.pkl")
            return
        import numpy
        import onnxruntime
        from tokenizers import Tokenizer

        self._numpy = numpy
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        settings.add_session_config_entry("session.intra_op.spin_duration_us", "50")
        settings.add_session_config_entry("session.force_spinning_stop", "1")
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), settings, providers=["CPUExecutionProvider"]
        )

    def predict(self, texts: Sequence[str]) -> list[float]:
        """Return the probability that each text is positive; texts are padded to the longest."""
        if self._pipeline is not None:
            return [float(row[1]) for row in self._pipeline.predict_proba(list(texts))]
        encoded = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        windows = [[101, *entry.ids[:510], 102] for entry in encoded]
        longest = max(map(len, windows))
        padded = [window + [0] * (longest - len(window)) for window in windows]
        mask = [[1] * len(window) + [0] * (longest - len(window)) for window in windows]
        feed = {
            "input_ids": self._numpy.array(padded, dtype="int32"),
            "attention_mask": self._numpy.array(mask, dtype="int32"),
        }
        (logits,) = self._session.run(["logits"], feed)
        return [1 / (1 + math.exp((a - b) / self._temperature)) for a, b in logits.tolist()]


def serve(run: Callable[[Options], None]) -> None:
    """Run a peer until it is stopped."""
    run(options())
