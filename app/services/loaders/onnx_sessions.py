"""A graph's sessions in ONNX Runtime: one for a prediction that runs alone, and one for two that run at once."""

import threading
from pathlib import Path
from typing import Any

from loguru import logger

from app.core.errors import ModelLoadError

_SPIN_MICROSECONDS = 50
"""How long a thread of the runtime waits actively for more work. Its own default takes the cores from everybody else:
on a busy machine it made a text of 32 tokens twice as slow and one of 200 three times."""

_LARGE_BYTES = 48_000_000
"""Size of a graph, on disk, from which on it is not held in memory twice."""

Feed = dict[str, Any]


class Sessions:
    """Runs a graph on all cores while one prediction runs, and a small one on half of them each while there are two.

    Threads that share one product's rows wait for each other, and those of two predictions get in each other's way:
    on two cores, a thread each gave a third more texts a second than two that both shared (`benchmarks/at_once.py`).
    The second session costs the memory of the graph once more and is opened when two predictions first meet; those of
    a larger graph run one after the other, and only tokenize and reply meanwhile.
    """

    def __init__(self, graph: Path, threads: int) -> None:
        """Open the first session.

        Raises:
            ModelLoadError: it is no graph that the runtime can run.
        """
        self.all = open_session(graph, threads)
        self.most = min(threads, 2)
        self._graph = graph
        self._stamp = _stamp(graph)
        # Weights may lie beside the graph, as model.onnx.data.
        size = sum(file.stat().st_size for file in graph.parent.glob(f"{graph.name}*"))
        self._is_small = size < _LARGE_BYTES
        self._half_threads = threads // 2
        self._half: Any = None
        self._opening: threading.Thread | None = None
        self._running = 0
        self._counting = threading.Lock()
        self._alone = threading.Lock()

    def run(self, output: str, feed: Feed) -> Any:
        """Return one output of the graph; for as many threads at once as `most` says."""
        with self._counting:
            self._running += 1
            shared = self._running > 1
            if shared and self._opening is None and self.most > 1 and self._is_small:
                self._opening = threading.Thread(
                    target=self._open_half, args=(output, feed), name="open-session", daemon=True
                )
                self._opening.start()
        try:
            if shared and self._half is not None:
                return self._half.run([output], feed)[0]
            with self._alone:
                return self.all.run([output], feed)[0]
        finally:
            with self._counting:
                self._running -= 1

    def wait(self, timeout: float) -> bool:
        """Wait until the second session is open, if it is being opened; return whether there is one."""
        if self._opening is not None:
            self._opening.join(timeout)
        return self._half is not None

    def _open_half(self, output: str, feed: Feed) -> None:
        try:
            half = open_session(self._graph, self._half_threads)
            # The file that was verified and no other.
            if _stamp(self._graph) != self._stamp:
                raise ModelLoadError(f"{self._graph.name} was changed after the model was loaded")
        except (ModelLoadError, MemoryError, OSError) as error:
            logger.warning("predictions that run at once share their threads: {}", error)
            return
        # No reply may depend on what else is asked.
        if half.run([output], feed)[0].tobytes() == self.all.run([output], feed)[0].tobytes():
            self._half = half
        else:
            logger.info("predictions that run at once share their threads: other threads give other digits")


def _stamp(graph: Path) -> tuple[int, int, int]:
    facts = graph.stat()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


def open_session(graph: Path, threads: int) -> Any:
    """Open a graph on the processor.

    Raises:
        ModelLoadError: it is missing, or the runtime cannot load it.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # Its threads wait actively for a moment within a run, which is fast, and sleep between runs.
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(_SPIN_MICROSECONDS))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if not graph.is_file():
        raise ModelLoadError(f"there is no {graph.name} in the model's folder")
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # Its exceptions have no common base class of their own.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelLoadError(
            f"onnxruntime {onnxruntime.__version__} cannot load {graph.name}: {reason}"
        ) from error
