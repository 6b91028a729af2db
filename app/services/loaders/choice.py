"""Which loader reads a model: the one that the configuration names, else the one that the files ask for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from app.core.config import Settings
from app.core.errors import ModelLoadError
from app.services.artifact import MANIFEST_NAME, ModelFiles
from app.services.predictor import LOADERS

_MOST_LISTED = 12
_CHECKPOINTS = ("tf_model.h5", "tf_model.h5.index.json", "model.safetensors", "pytorch_model.bin")
_PICKLES = (".pkl", ".pickle", ".joblib")
_EXTRA = "the 'tensorflow' extra (make install-tensorflow)"
_IN_EXTRA = ("tensorflow", "tf_keras", "keras", "transformers", "h5py")
_USES_METHOD = ("keras", "joblib")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a loader reads.

    Attributes:
        needs: its files, in words.
        finds: the files of a listing that make it the right one; empty where it is not.
    """

    needs: str
    finds: Callable[[list[str]], list[str]]


def weights_of(names: list[str], *endings: str) -> list[str]:
    """Return the names with one of the endings, a Hugging Face checkpoint's ``tf_model.h5`` left out."""
    return [name for name in names if PurePath(name).suffix.lower() in endings and name not in _CHECKPOINTS]


def _checkpoint(names: list[str]) -> list[str]:
    weights = [name for name in names if name in _CHECKPOINTS]
    return ["config.json", *weights] if weights and "config.json" in names else []


def _keras(names: list[str]) -> list[str]:
    return weights_of(names, ".keras", ".h5", ".hdf5") + [name for name in names if name == "saved_model.pb"]


KINDS = {
    "onnx": Kind("model.onnx and tokenizer.json", lambda names: weights_of(names, ".onnx")),
    "transformers": Kind("config.json, tf_model.h5 and tokenizer.json", _checkpoint),
    "keras": Kind("one .keras or .h5 file, or a SavedModel (saved_model.pb)", _keras),
    "joblib": Kind("one .pkl or .joblib file", lambda names: weights_of(names, *_PICKLES)),
}


def choose_loader(files: ModelFiles, settings: Settings) -> str:
    """Return the name of a loader, or ``package.module:Class``.

    Raises:
        ModelLoadError: the name is unknown or does not fit the files; `auto` finds none, several, or one that runs
            code of the artifact; a setting is given that the loader does not use.
    """
    wanted = settings.model_loader
    names = listing(files.path)
    if ":" in wanted:
        return wanted
    name = _automatic(files, names) if wanted.lower() == "auto" else wanted.lower()
    if name not in LOADERS:
        raise ModelLoadError(
            f"MODEL_LOADER={wanted!r} is unknown; there are auto, {', '.join(LOADERS)} and package.module:Class"
        )
    if not KINDS[name].finds(names):
        fitting = [other for other, kind in KINDS.items() if kind.finds(names)]
        hint = f"; they look like {' or '.join(fitting)}" if fitting else ""
        raise ModelLoadError(
            f"the loader {name} needs {KINDS[name].needs}; the files are: {_listed(names)}{hint}"
        )
    if settings.predict_method != "predict" and name not in _USES_METHOD:
        raise ModelLoadError(
            f"PREDICT_METHOD={settings.predict_method} has no meaning for the loader {name}: leave it unset"
        )
    if settings.model_parameters:
        raise ModelLoadError(
            f"MODEL_PARAMETERS is for a class of one's own; the loader {name} takes none: leave it unset"
        )
    return name


def listing(path: Path) -> list[str]:
    """Return the names of a model's files: those in its folder, or its own where it is a single file."""
    if not path.exists():
        raise ModelLoadError(f"there is no {path.name} to load")
    return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else [path.name]


def missing_library(loader: str, error: ImportError) -> str:
    """Return what to say when a loader's library cannot be imported."""
    library = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not library:
        return f"the loader {loader} failed to import a library: {' '.join(str(error).split())[:300]}"
    if loader in LOADERS and library in _IN_EXTRA:
        return f"{library} is not installed: the loader {loader} needs {_EXTRA}"
    return f"{library} is not installed, and the loader {loader} needs it"


def _automatic(files: ModelFiles, names: list[str]) -> str:
    named = files.manifest.loader
    if named is not None and (named == "joblib" or ":" in named):
        raise ModelLoadError(
            f"{MANIFEST_NAME} asks for the loader {named}, which runs code: if you trust the model, set "
            f"MODEL_LOADER={named}"
        )
    if named is not None:
        if named not in LOADERS:
            raise ModelLoadError(f"{MANIFEST_NAME} asks for the unknown loader {named!r}")
        return named
    fitting = {
        name: found for name, kind in KINDS.items() if name != "joblib" and (found := kind.finds(names))
    }
    if len(fitting) == 1:
        return next(iter(fitting))
    if fitting:
        choices = "; ".join(f"{name}: {', '.join(found)}" for name, found in fitting.items())
        raise ModelLoadError(f"several loaders fit ({choices}): set MODEL_LOADER to one of them")
    hint = ""
    if KINDS["joblib"].finds(names):
        hint = ": a pickle runs code when it is read; if you trust it, set MODEL_LOADER=joblib"
    raise ModelLoadError(f"no loader fits the files ({_listed(names)}){hint}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return (", ".join(names[:_MOST_LISTED]) or "none") + more
