"""Which loader the configuration names, and what one is told when it does not fit."""

import sys
from pathlib import Path

import pytest

from app.core.errors import ModelLoadError
from app.services.artifact import Manifest
from app.services.golden import check_model
from app.services.loaders.onnx import OnnxPredictor
from app.services.predictor import LOADERS, load_predictor
from tests.models import KEYWORD_LOADER, KeywordPredictor, model_files, settings_for, tiny_keyword, tiny_onnx


@pytest.fixture(scope="module")
def onnx_folder(tmp_path_factory) -> Path:
    return tiny_onnx(tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def keyword_folder(tmp_path_factory) -> Path:
    return tiny_keyword(tmp_path_factory.mktemp("keyword"))


def refusal(folder: Path, loader: str = "auto", **settings) -> str:
    with pytest.raises(ModelLoadError) as caught:
        load_predictor(model_files(folder), settings_for(loader, **settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def made(folder: Path, *names: str, loader: str | None = None) -> Path:
    for name in names:
        (folder / name).write_bytes(b"x")
    Manifest(loader=loader).write(folder)
    return folder


@pytest.mark.parametrize("loader", ["auto", "onnx", "ONNX"])
def test_a_loader_is_taken_by_name_or_found(onnx_folder, loader: str):
    assert isinstance(load_predictor(model_files(onnx_folder), settings_for(loader)), OnnxPredictor)


def test_auto_goes_by_the_files_where_the_manifest_is_silent(onnx_folder, tmp_path):
    for name in ("model.onnx", "tokenizer.json"):
        (tmp_path / name).write_bytes((onnx_folder / name).read_bytes())
    Manifest(labels=("negative", "positive"), preprocessing={"max_tokens": 16, "overlap": 4}).write(tmp_path)
    assert isinstance(load_predictor(model_files(tmp_path), settings_for()), OnnxPredictor)


def test_an_unknown_name_is_told_the_known_ones(onnx_folder):
    message = refusal(onnx_folder, "pytorch")
    assert all(name in message for name in (*LOADERS, "auto", "package.module:Class", "'pytorch'"))


def test_a_named_loader_must_fit_the_files(onnx_folder, tmp_path):
    message = refusal(onnx_folder, "keras")
    assert "the loader keras needs one .keras or .h5 file, or a SavedModel" in message
    assert "the files are: marquee.json, model.onnx, tokenizer.json" in message
    assert "they look like onnx" in message
    assert "needs config.json, tf_model.h5 and tokenizer.json" in refusal(onnx_folder, "transformers")
    assert "needs one .pkl or .joblib file" in refusal(onnx_folder, "joblib")
    assert "the loader onnx needs model.onnx" in refusal(made(tmp_path, "model.pkl"), "onnx")


def test_several_that_fit_are_named(tmp_path):
    message = refusal(made(tmp_path, "model.onnx", "config.json", "tf_model.h5", "net.keras"))
    assert message.startswith(
        "several loaders fit (onnx: model.onnx; transformers: config.json, tf_model.h5; keras: net"
    )
    assert message.endswith("set MODEL_LOADER to one of them")


def test_a_checkpoint_is_no_keras_file(tmp_path):
    assert "no loader fits the files (marquee.json, tf_model.h5)" in refusal(made(tmp_path, "tf_model.h5"))


def test_none_that_fits_lists_what_was_found(tmp_path):
    names = [f"part-{index:02}.bin" for index in range(40)]
    message = refusal(made(tmp_path, *names))
    assert "part-00.bin" in message
    assert "and 29 more" in message


def test_auto_never_runs_code(tmp_path):
    assert "a pickle runs code when it is read; if you trust it, set MODEL_LOADER=joblib" in refusal(
        made(tmp_path, "model.pkl")
    )
    assert "which runs code: if you trust the model, set MODEL_LOADER=joblib" in refusal(
        made(tmp_path, "model.pkl", loader="joblib")
    )
    assert "set MODEL_LOADER=tests.models.custom:KeywordPredictor" in refusal(
        made(tmp_path, "words.json", loader=KEYWORD_LOADER)
    )
    assert "unknown loader 'torch'" in refusal(made(tmp_path, "model.onnx", loader="torch"))


def test_settings_without_a_meaning_are_refused(onnx_folder):
    assert "PREDICT_METHOD=predict_proba has no meaning" in refusal(
        onnx_folder, predict_method="predict_proba"
    )
    assert "MODEL_PARAMETERS is for a class of one's own" in refusal(onnx_folder, model_parameters={"a": 1})


def test_a_model_that_is_not_there_is_named(tmp_path):
    assert refusal(tmp_path / "absent") == "there is no absent to load"


@pytest.mark.parametrize(
    ("loader", "library", "files"),
    [
        ("keras", "tensorflow", ["net.keras"]),
        ("transformers", "tensorflow", ["tf_model.h5"]),
    ],
)
def test_a_missing_library_is_told_with_its_extra(tmp_path, monkeypatch, loader, library, files):
    made(tmp_path, *files)
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, library, None)
    message = refusal(tmp_path, loader)
    assert "tensorflow" in message
    assert "extra" in message


# Classes of one's own.


def test_a_class_of_ones_own_is_loaded_with_its_parameters(keyword_folder):
    files = model_files(keyword_folder)
    predictor = load_predictor(files, settings_for(KEYWORD_LOADER))
    assert isinstance(predictor, KeywordPredictor)
    assert check_model(predictor, files).kind == "golden"
    strict = load_predictor(files, settings_for(KEYWORD_LOADER, model_parameters={"enough": 3}))
    request = KeywordPredictor.Request(title="Fine", review="A good and funny film.")
    assert strict.predict(strict.prepare([request]))[0]["verdict"] == "negative"


BROKEN = """
from app.services.predictor import Predictor
from pydantic import BaseModel

class NoPredictor:
    pass

class Incomplete(Predictor):
    @classmethod
    def load(cls, path, context):
        return cls()

class NoRequest(Predictor):
    Response = BaseModel

    @classmethod
    def load(cls, path, context):
        return cls()

    def predict(self, batch):
        return batch

class Fails(NoRequest):
    Request = BaseModel

    @classmethod
    def load(cls, path, context):
        raise KeyError("weights\\nand more")

class NeedsLibrary(Fails):
    @classmethod
    def load(cls, path, context):
        import not_there.at_all

class Other(Fails):
    @classmethod
    def load(cls, path, context):
        return {"a": 1}

number = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "own_model.py").write_text(BROKEN)
    (folder / "own_import.py").write_text("import not_there\n")
    (folder / "own_error.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(folder)
    yield
    for name in ("own_model", "own_import", "own_error"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ("own_model:", "is not of the form package.module:Class"),
        ("own-model:Class", "is not of the form package.module:Class"),
        (
            "absent_package.models:Class",
            "there is no module absent_package; it must be installed, or importable",
        ),
        ("own_import:Class", "own_import needs the module not_there, which is not installed"),
        ("own_error:Class", "importing own_error failed: ZeroDivisionError"),
        (
            "own_model:Absent",
            "own_model has no Absent; predictors in it: Incomplete, NoRequest, Fails, NeedsLibrary, Other",
        ),
        ("own_model:number", "own_model:number is no subclass of Predictor"),
        ("own_model:NoPredictor", "own_model:NoPredictor is no subclass of Predictor"),
        ("own_model:Incomplete", "own_model:Incomplete does not define predict"),
        ("own_model:NoRequest", "own_model:NoRequest.Request must be a pydantic model class"),
        ("own_model:Fails", "the loader own_model:Fails failed: KeyError: 'weights\\nand more'"),
        (
            "own_model:NeedsLibrary",
            "not_there is not installed, and the loader own_model:NeedsLibrary needs it",
        ),
        ("own_model:Other", "load() must return a Predictor, not dict"),
    ],
)
def test_each_mistake_with_a_class_has_one_plain_line(module, keyword_folder, loader: str, message: str):
    assert message in refusal(keyword_folder, loader)


def test_an_error_that_a_class_raises_on_purpose_is_kept(tmp_path):
    Manifest().write(tmp_path)
    assert refusal(tmp_path, KEYWORD_LOADER) == "the folder holds no words.json"
