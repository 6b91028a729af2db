"""Text classifiers as ONNX graphs, run by ONNX Runtime on the processor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from app.core.errors import ModelLoadError
from app.services.outputs import check_labels, choose_labels, read_config
from app.services.predictor import LoadContext
from app.services.text import TextEncoder
from app.services.text_classifier import WindowClassifier, load_encoder

GRAPH_NAME = "model.onnx"
_KNOWN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class OnnxPredictor(WindowClassifier):
    """``model.onnx`` (inputs ``input_ids``, ``attention_mask``, batch × tokens; output ``logits``, batch × labels)
    with its ``tokenizer.json``.

    ONNX Runtime's sessions may be called from several threads at once.
    """

    def __init__(
        self, session: Any, encoder: TextEncoder, labels: tuple[str, ...], temperature: float, threads: int
    ) -> None:
        """Wrap a session; see `load`."""
        super().__init__(encoder, labels, temperature)
        import numpy
        import onnxruntime

        self._session = session
        self._threads = threads
        self._version = onnxruntime.__version__
        self._output = _logits_name(session)
        self._numpy = numpy
        self._inputs = {
            entry.name: numpy.int32 if entry.type == "tensor(int32)" else numpy.int64
            for entry in session.get_inputs()
        }

    @classmethod
    def load(cls, path: Path, context: LoadContext) -> Self:
        """Open the graph and the tokenizer of a folder.

        Raises:
            ModelLoadError: a file is missing or damaged, or the graph is no text classifier.
        """
        folder = path if path.is_dir() else path.parent
        graph = folder / GRAPH_NAME if path.is_dir() else path
        config = read_config(folder)
        session = _open(graph, context.threads)
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
        predictor = cls(session, encoder, labels, context.manifest.temperature, context.threads)
        if outputs is None:
            check_labels(labels, len(predictor.logits([encoder.start_id, encoder.end_id])))
        return predictor

    def logits(self, window: Sequence[int]) -> list[float]:
        """Run the graph on one window."""
        numpy = self._numpy
        feed = {}
        for name, kind in self._inputs.items():
            if name == "input_ids":
                feed[name] = numpy.array([window], dtype=kind)
            else:
                make = numpy.ones if name == "attention_mask" else numpy.zeros
                feed[name] = make((1, len(window)), dtype=kind)
        (logits,) = self._session.run([self._output], feed)
        row: list[float] = logits[0].tolist()
        return row

    def describe(self) -> dict[str, Any]:
        """Tell the runtime, too."""
        return {
            "runtime": f"onnxruntime {self._version}",
            "device": "cpu",
            "threads": self._threads,
            **super().describe(),
        }


def _open(graph: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # Its threads wait actively within a run, which is fast, and sleep between runs.
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
