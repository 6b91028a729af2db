"""Hugging Face checkpoints with TensorFlow weights: the class that ``config.json`` names, traced once."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from app.core.errors import ModelLoadError
from app.core.tensorflow_runtime import import_tensorflow
from app.services.loaders.containers import check_hdf5
from app.services.outputs import choose_labels, read_config
from app.services.predictor import LoadContext
from app.services.text import TextEncoder
from app.services.text_classifier import TOKENIZER_NAME, WindowClassifier, check_encoder, load_encoder

_H5 = ("tf_model.h5", "tf_model.h5.index.json")
_SAFETENSORS = "model.safetensors"
_HEAD = "ForSequenceClassification"
_STEP = 32


class TransformersPredictor(WindowClassifier):
    """``config.json``, ``tf_model.h5`` and ``tokenizer.json``, as ``save_pretrained`` writes them.

    The model is called through one traced function that takes windows of any length, so nothing is traced while
    requests come. Windows are padded to multiples of 32 tokens, which bounds the variants that the processor's
    library keeps of each operation. A traced function may be called from several threads at once.
    """

    def __init__(self, model: Any, encoder: TextEncoder, labels: tuple[str, ...], temperature: float) -> None:
        """Trace the model; see `load`."""
        super().__init__(encoder, labels, temperature)
        import transformers

        tensorflow = import_tensorflow()
        self._tensorflow = tensorflow
        self._model = model
        self._versions = f"tensorflow {tensorflow.__version__}, transformers {transformers.__version__}"
        signature = [tensorflow.TensorSpec((1, None), tensorflow.int32)] * 2
        self._function = tensorflow.function(
            lambda ids, mask: model(ids, attention_mask=mask, training=False).logits,
            input_signature=signature,
        )
        self._forward = self._function.get_concrete_function()

    @classmethod
    def load(cls, path: Path, context: LoadContext) -> Self:
        """Read the checkpoint of a folder; nothing is fetched from anywhere.

        Raises:
            ModelLoadError: weights are missing, left over or only PyTorch's, the labels don't fit, a file is missing.
            ImportError: TensorFlow or transformers is not installed.
        """
        if not path.is_dir():
            raise ModelLoadError(
                f"{path.name} is one file: a checkpoint is a folder with config.json, {_H5[0]}, …"
            )
        config = read_config(path)
        weights = _weights_of(path)
        import_tensorflow(context.threads)
        model, found = _from_pretrained(path, config, weights, context.max_bytes)
        _refuse_untrained(model, found, path / weights)
        labels = choose_labels(context.manifest.labels, config, model.config.num_labels)
        known = model.config.to_dict()
        if (path / TOKENIZER_NAME).is_file():
            encoder = load_encoder(path, context, known)
        else:
            encoder = _slow_encoder(path, context)
            check_encoder(encoder, known)
        return cls(model, encoder, labels, context.manifest.temperature)

    def logits(self, window: Sequence[int]) -> list[float]:
        """Call the traced function on one window, padded to the next multiple of 32 tokens."""
        size = min(-(-len(window) // _STEP) * _STEP, max(self.encoder.policy.max_tokens, len(window)))
        padding = size - len(window)
        constant = self._tensorflow.constant
        ids = constant([[*window, *[self.encoder.pad_id] * padding]], dtype="int32")
        mask = constant([[1] * len(window) + [0] * padding], dtype="int32")
        row: list[float] = self._forward(ids, mask).numpy()[0].tolist()
        return row

    def describe(self) -> dict[str, Any]:
        """Tell the libraries, the class, and how often it was traced: once."""
        return {
            "runtime": self._versions,
            "device": "cpu",
            "class": type(self._model).__name__,
            "traces": self._function.experimental_get_tracing_count(),
            **super().describe(),
        }


def _weights_of(folder: Path) -> str:
    """Return the name of the weights file that TensorFlow reads.

    Raises:
        ModelLoadError: there is none.
    """
    for name in (*_H5, _SAFETENSORS):
        if (folder / name).is_file():
            return name
    raise ModelLoadError(
        f"the checkpoint has no TensorFlow weights ({_H5[0]}): load it where PyTorch is installed with "
        f"TF…{_HEAD}.from_pretrained(folder, from_pt=True), and write it by save_pretrained(folder)"
    )


def _from_pretrained(
    folder: Path, config: dict[str, Any], weights: str, max_bytes: int
) -> tuple[Any, dict[str, Any]]:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    kind = _class_of(transformers, config)
    try:
        if weights == _H5[0]:
            check_hdf5(folder / weights, weights, max_bytes)
        model, found = kind.from_pretrained(
            str(folder),
            local_files_only=True,
            output_loading_info=True,
            use_safetensors=weights == _SAFETENSORS,
        )
    except ModelLoadError:
        raise
    except Exception as error:  # Whatever transformers, h5py, safetensors and Keras raise.
        reason = " ".join(str(error).split())[:300]
        remedy = ""
        if weights == _SAFETENSORS:
            remedy = (
                f"; {_SAFETENSORS} of PyTorch can't be read here: write the checkpoint with TensorFlow's "
                f"save_pretrained(folder, safe_serialization=False), which gives {_H5[0]}"
            )
        raise ModelLoadError(
            f"transformers {transformers.__version__} cannot load {weights}: {type(error).__name__}: {reason}{remedy}"
        ) from error
    return model, found


def _class_of(transformers: Any, config: dict[str, Any]) -> Any:
    """Return the TensorFlow class for the architecture, or the one that the model's type has for classification."""
    for name in config.get("architectures") or []:
        if isinstance(name, str) and name.endswith(_HEAD):
            found = getattr(transformers, name if name.startswith("TF") else f"TF{name}", None)
            if found is not None:
                return found
    return transformers.TFAutoModelForSequenceClassification


def _refuse_untrained(model: Any, found: dict[str, Any], weights: Path) -> None:
    """Refuse a head without trained weights, and weights that no layer took.

    Layers that have no weights, such as dropout, are named in both lists by transformers, and mean nothing.

    Raises:
        ModelLoadError: names the layers.
    """
    weightless = {layer.name for layer in model.layers if not layer.weights}
    missing = _layers(name for name in found["missing_keys"] if name not in weightless)
    if missing:
        raise ModelLoadError(
            f"{weights.name} holds no weights for {', '.join(missing)}: the model was never trained to classify, or "
            "its layers had other names; fine-tune it and save that"
        )
    unused = _layers(found["unexpected_keys"])
    if unused and weights.suffix == ".h5":
        import h5py

        with h5py.File(weights, "r") as file:
            unused = [
                name
                for name in unused
                if name not in file or len(file[name].attrs.get("weight_names", ["?"]))
            ]
    if unused:
        raise ModelLoadError(
            f"{weights.name} holds weights that {type(model).__name__} has no place for: {', '.join(unused)}; "
            "config.json and weights are not of the same model"
        )


def _layers(names: Iterable[str]) -> list[str]:
    """Return the layers that weights belong to: ``classifier/kernel:0`` is of ``classifier``."""
    return sorted({name.removesuffix(":0").rpartition("/")[0] or name for name in names})


def _slow_encoder(folder: Path, context: LoadContext) -> TextEncoder:
    """Build the tokenizer from a ``vocab.txt`` where there is no ``tokenizer.json``."""
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, use_fast=True
        )
        return TextEncoder(tokenizer.backend_tokenizer, context.manifest.preprocessing.windows())
    except ModelLoadError:
        raise
    except Exception as error:  # Whatever transformers raises for a folder without a tokenizer.
        raise ModelLoadError(
            f"there is no {TOKENIZER_NAME} beside the checkpoint: save the tokenizer into the same folder"
        ) from error
