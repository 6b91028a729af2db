"""Text classifiers as ONNX graphs, run by ONNX Runtime on the processor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from app.core.errors import ModelLoadError
from app.services.loaders.onnx_sessions import Sessions
from app.services.outputs import check_labels, choose_labels, read_config
from app.services.predictor import LoadContext
from app.services.text import TextEncoder
from app.services.text_classifier import WindowClassifier, load_encoder

GRAPH_NAME = "model.onnx"
_KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_TOGETHER = 256
"""Tokens up to which batches were measured to pay for floats: longer texts keep the cores busy by themselves."""


class OnnxPredictor(WindowClassifier):
    """``model.onnx`` (inputs ``input_ids``, ``attention_mask``, batch × tokens; output ``logits``, batch × labels)
    with its ``tokenizer.json``.

    ONNX Runtime's sessions may be called from several threads at once. Short texts of one length are predicted together
    where that does not change a digit of the answers, which is tried when the graph is loaded.
    """

    def __init__(
        self,
        sessions: Sessions,
        encoder: TextEncoder,
        labels: tuple[str, ...],
        temperature: float,
        threads: int,
    ) -> None:
        """Wrap a graph's sessions; see `load`."""
        super().__init__(encoder, labels, temperature)
        import numpy
        import onnxruntime

        self.sessions = sessions
        self._threads = threads
        self._version = onnxruntime.__version__
        self._output = _logits_name(sessions.all)
        self._numpy = numpy
        self._inputs = {
            entry.name: numpy.int32 if entry.type == "tensor(int32)" else numpy.int64
            for entry in sessions.all.get_inputs()
        }
        self.parallel = sessions.most
        if self._rows_are_independent():
            self.batch_cost = _TOGETHER

    @classmethod
    def load(cls, path: Path, context: LoadContext) -> Self:
        """Open the graph and the tokenizer of a folder.

        Raises:
            ModelLoadError: a file is missing or damaged, or the graph is no text classifier.
        """
        folder = path if path.is_dir() else path.parent
        graph = folder / GRAPH_NAME if path.is_dir() else path
        config = read_config(folder)
        sessions = Sessions(graph, context.threads)
        session = sessions.all
        unknown = [entry.name for entry in session.get_inputs() if entry.name not in _KNOWN_INPUTS]
        names = [entry.name for entry in session.get_inputs()]
        if unknown or "input_ids" not in names:
            raise ModelLoadError(
                f"{graph.name} takes {', '.join(names)}, and this loader gives {', '.join(_KNOWN_INPUTS)}: "
                "export a text classifier, or serve it by a class of your own (MODEL_LOADER=package.module:Class)"
            )
        facts = session.get_modelmeta().custom_metadata_map
        positions = facts.get("max_position_embeddings", "")
        if positions.isdigit():
            config = {"max_position_embeddings": int(positions), **config}
        encoder = load_encoder(folder, context, config)
        outputs = _output_count(session)
        labels = choose_labels(context.manifest.labels, config, outputs)
        predictor = cls(sessions, encoder, labels, context.manifest.temperature, context.threads)
        if outputs is None:
            check_labels(labels, len(predictor.logits([encoder.start_id, encoder.end_id])))
        return predictor

    def logits(self, window: Sequence[int]) -> list[float]:
        """Run the graph on one window."""
        return self.logits_together([window])[0]

    def logits_together(self, windows: Sequence[Sequence[int]]) -> list[list[float]]:
        """Run the graph on windows of one length."""
        numpy = self._numpy
        feed = {}
        for name, kind in self._inputs.items():
            if name == "input_ids":
                feed[name] = numpy.array(windows, dtype=kind)
            else:
                make = numpy.ones if name == "attention_mask" else numpy.zeros
                feed[name] = make((len(windows), len(windows[0])), dtype=kind)
        logits = self.sessions.run(self._output, feed)
        rows: list[list[float]] = logits.tolist()
        return rows

    def describe(self) -> dict[str, Any]:
        """Tell the runtime, too."""
        return {
            "runtime": f"onnxruntime {self._version}",
            "device": "cpu",
            "threads": self._threads,
            "parallel": self.parallel,
            "tokens_together": self.batch_cost if self.batch_cost > 1 else None,
            **super().describe(),
        }

    def _rows_are_independent(self) -> bool:
        """Return whether rows of a batch get the digits that they get alone: with dynamic int8 scales they don't."""
        words = range(self.encoder.vocabulary_size)
        for length in (4, 17):
            rows = [
                [self.encoder.start_id, *words[start : start + length], self.encoder.end_id]
                for start in (0, len(words) // 2)
            ]
            if self.logits_together(rows) != [self.logits(row) for row in rows]:
                return False
        return True


def _logits_name(session: Any) -> str:
    names = [entry.name for entry in session.get_outputs()]
    if "logits" in names:
        return "logits"
    if len(names) == 1:
        return str(names[0])
    raise ModelLoadError(f"none of the graph's outputs ({', '.join(names)}) is called logits")


def _output_count(session: Any) -> int | None:
    name = _logits_name(session)
    shape = next(entry.shape for entry in session.get_outputs() if entry.name == name)
    if len(shape) != 2:
        raise ModelLoadError(f"the output {name} has {len(shape)} dimensions; batch × labels is what is read")
    return shape[1] if isinstance(shape[1], int) else None
