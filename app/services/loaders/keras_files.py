"""Opening Keras models of three formats and two generations, and what they tell about themselves."""

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.errors import ModelLoadError
from app.core.tensorflow_runtime import import_tensorflow
from app.services.loaders.choice import KINDS, listing
from app.services.loaders.containers import check_hdf5, check_saved_model, check_zip

_WAY_OUT = "export it again with the installed version as a .keras file, or serve it by a class of your own"
_CUSTOM = "serve it by a class of your own (MODEL_LOADER=package.module:Class)"


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A loaded model.

    Attributes:
        call: takes a tensor of the input's kind, batch first, and returns what the model returns.
        shape: of the input without the batch; None for a free dimension.
        dtype: of the input: ``string``, ``int32``, ``float32``, …
        embeds: whether its first layer looks numbers up in a table, so that they are token ids.
        activation: of the last layer, such as ``softmax``; None where the model does not tell.
        format: in words, such as ``.keras``.
        version: of the library that reads it.
        loaded: the object itself, for other methods than a call.
    """

    call: Callable[[Any], Any]
    shape: tuple[int | None, ...]
    dtype: str
    embeds: bool
    activation: str | None
    format: str
    version: str
    loaded: Any


def open_model(path: Path, threads: int, max_bytes: int) -> OpenModel:
    """Read the one Keras model of a folder, or a single file.

    Raises:
        ModelLoadError: there are several, or it cannot be read; names the format, the installed version and the way
            out.
        ImportError: TensorFlow is not installed.
    """
    names = KINDS["keras"].finds(listing(path))
    if len(names) != 1:
        raise ModelLoadError(f"there must be one Keras model, and there are {len(names)}: {', '.join(names)}")
    import_tensorflow(threads)
    if names[0] == "saved_model.pb":
        return _saved_model(path if path.is_dir() else path.parent)
    return _keras_file(path / names[0] if path.is_dir() else path, max_bytes)


def _keras_file(file: Path, max_bytes: int) -> OpenModel:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    kind = file.suffix
    try:
        if zipfile.is_zipfile(file):
            check_zip(file, max_bytes)
        else:
            check_hdf5(file, file.name, max_bytes)
        model = keras.models.load_model(file, compile=False, safe_mode=True)
    except ModelLoadError:
        raise
    except Exception as error:  # A file of another generation makes almost any exception.
        raise _unreadable(
            error, f"{file.name} ({_written_by(file)})", f"Keras {keras.__version__}"
        ) from error
    return _described(model, kind, f"keras {keras.__version__}")


def _saved_model(folder: Path) -> OpenModel:
    tensorflow = import_tensorflow()
    try:
        check_saved_model(folder)
    except ModelLoadError:
        raise
    except Exception as error:
        raise _unreadable(error, "the SavedModel", f"tensorflow {tensorflow.__version__}") from error
    if (folder / "keras_metadata.pb").is_file():
        import tf_keras
        from tf_keras.src.saving.serialization_lib import SafeModeScope

        name = f"tf_keras {tf_keras.__version__}"
        try:
            with SafeModeScope(safe_mode=True):  # Or it would run the code of Lambda layers.
                model = tf_keras.models.load_model(folder, compile=False)
        except Exception as error:
            raise _unreadable(error, "the SavedModel", name) from error
        return _described(model, "SavedModel", name)
    name = f"tensorflow {tensorflow.__version__}"
    try:
        loaded = tensorflow.saved_model.load(str(folder))
    except Exception as error:
        raise _unreadable(error, "the SavedModel", name) from error
    signature = loaded.signatures.get("serving_default")
    if signature is None:
        raise ModelLoadError(
            f"the SavedModel has no signature serving_default (it has: {', '.join(loaded.signatures) or 'none'}): "
            "write it with model.export(folder)"
        )
    inputs = signature.structured_input_signature[1]
    if len(inputs) != 1:
        raise ModelLoadError(f"the SavedModel takes {len(inputs)} inputs ({', '.join(inputs)}): {_CUSTOM}")
    ((key, spec),) = inputs.items()

    def call(tensor: Any) -> Any:
        # A signature keeps nothing alive of the object that it came from.
        assert loaded is not None
        return signature(**{key: tensorflow.cast(tensor, spec.dtype)})

    return OpenModel(call, tuple(spec.shape[1:]), spec.dtype.name, False, None, "SavedModel", name, loaded)


def _described(model: Any, kind: str, version: str) -> OpenModel:
    """Find out what a Keras model takes and how its last layer ends."""
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1:
        problem = f"takes {len(inputs)} inputs" if inputs else "does not tell its input (it was never built)"
        raise ModelLoadError(f"the model {problem}: {_CUSTOM}")
    dtype = inputs[0].dtype
    activation = getattr(getattr(model.layers[-1], "activation", None), "__name__", None)
    first = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"][:1]
    return OpenModel(
        call=lambda tensor: model(tensor, training=False),
        shape=tuple(inputs[0].shape[1:]),
        dtype=dtype if isinstance(dtype, str) else dtype.name,
        embeds=bool(first) and type(first[0]).__name__ == "Embedding",
        activation=activation,
        format=kind,
        version=version,
        loaded=model,
    )


def _written_by(file: Path) -> str:
    """Return the format and the Keras version that a file says it was written by."""
    written = None
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                written = json.loads(archive.read("metadata.json")).get("keras_version")
        else:
            import h5py

            with h5py.File(file, "r") as content:
                written = content.attrs.get("keras_version")
    except (OSError, ValueError, KeyError):
        return f"{file.suffix} format, damaged"
    return f"{file.suffix} format, written by Keras {written}" if written else f"{file.suffix} format"


def _unreadable(error: Exception, what: str, reader: str) -> ModelLoadError:
    reason = " ".join(str(error).split())[:300]
    if "safe_mode" in reason or "Lambda" in reason:
        return ModelLoadError(
            f"{what} holds a Lambda layer, which is code and is not run: replace it by a layer, or {_CUSTOM}"
        )
    return ModelLoadError(f"{reader} cannot read {what}: {type(error).__name__}: {reason}; {_WAY_OUT}")
