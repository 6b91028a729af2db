"""B34, B35 and B37: files that another script, another library or another version wrote."""

import json
import subprocess
import sys

import pytest

from app.services.artifact import Manifest
from app.services.predictor import load_predictor
from tests.field.test_loaders import keras, keras_model, refusal
from tests.models import model_files, settings_for, tiny_joblib, tiny_onnx, tiny_tabular

__all__ = ["keras"]

pytestmark = [
    pytest.mark.timeout(600),
    # What Keras, tf_keras and h5py say of NumPy 2.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

DUMPING = """
import sys, joblib
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
{origin}
model = make_pipeline(FunctionTransformer(tidy), CountVectorizer(), LogisticRegression())
joblib.dump(model.fit(["good", "bad"], [1, 0]), sys.argv[1])
"""
TIDY = "def tidy(texts):\n    return [text.lower() for text in texts]\n"


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        (TIDY, ("tidy", "__main__", "importable package")),
        ("from helpers import tidy", ("helpers", "not installed")),
    ],
    ids=["the script", "a module"],
)
def test_b34_what_a_pickle_needs_is_named(tmp_path, origin, words):
    (tmp_path / "helpers.py").write_text(TIDY)
    (tmp_path / "dump.py").write_text(DUMPING.format(origin=origin))
    folder = tmp_path / "model"
    folder.mkdir()
    subprocess.run(
        [sys.executable, str(tmp_path / "dump.py"), str(folder / "model.pkl")], check=True, timeout=100
    )
    message = refusal(folder, "joblib")
    for word in words:
        assert word in message


def test_b35_a_pickle_that_cannot_predict_is_refused_at_the_start(tmp_path):
    import joblib

    tiny_tabular(tmp_path)
    fitted = joblib.load(tmp_path / "model.pkl")
    del fitted.steps[-1][1].coef_
    joblib.dump(fitted, tmp_path / "model.pkl")
    message = refusal(tmp_path, "joblib")
    assert "installed: scikit-learn" in message
    content = (tmp_path / "model.pkl").read_bytes()
    (tmp_path / "model.pkl").write_bytes(content.replace(b"sklearn.pipeline", b"sklearn.pipelong"))
    assert "sklearn.pipelong" in refusal(tmp_path, "joblib")


def test_b35_a_version_warning_is_kept_and_can_be_made_to_stop_the_start(tmp_path, monkeypatch):
    import warnings

    import sklearn
    import sklearn.base
    from sklearn.exceptions import InconsistentVersionWarning

    warnings.simplefilter("ignore", InconsistentVersionWarning)
    with monkeypatch.context() as patch:
        patch.setattr(sklearn.base, "__version__", "0.1.2")
        tiny_joblib(tmp_path)
    predictor = load_predictor(model_files(tmp_path), settings_for("joblib"))
    (told, *_) = predictor.describe()["warnings"]
    for message in (told, refusal(tmp_path, "joblib", pickle_version_skew="refuse")):
        assert "0.1.2" in message
        assert sklearn.__version__ in message


@pytest.mark.tensorflow
@pytest.mark.parametrize("form", [".keras", ".h5", "savedmodel"])
def test_b37_each_keras_format_loads(keras, tmp_path, form):
    model = keras_model(keras)
    if form == "savedmodel":
        model.export(str(tmp_path), verbose=False)
    else:
        model.save(tmp_path / f"net{form}")
    Manifest(task="tabular-classification", labels=("negative", "positive")).write(tmp_path)
    predictor = load_predictor(model_files(tmp_path), settings_for("keras"))
    assert predictor.predict(predictor.prepare([[1.0, 2.0]]))[0].label == "positive"


@pytest.mark.tensorflow
def test_b37_what_cannot_be_read_is_told_with_format_version_and_way_out(keras, tmp_path):
    import zipfile

    keras_model(keras).save(tmp_path / "first.keras")
    with zipfile.ZipFile(tmp_path / "first.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (tmp_path / "first.keras").unlink()
    parts["metadata.json"] = json.dumps(
        json.loads(parts["metadata.json"]) | {"keras_version": "9.0.0"}
    ).encode()
    parts["config.json"] = parts["config.json"].replace(b'"Dense"', b'"Denser"')
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    Manifest(labels=("negative", "positive")).write(tmp_path)
    message = refusal(tmp_path, "keras")
    for words in (".keras format", "9.0.0", keras.__version__, "export it again"):
        assert words in message


def test_b37_a_loader_that_does_not_fit_the_files_is_told_so(tmp_path):
    tiny_onnx(tmp_path)
    assert "keras" in refusal(tmp_path, "keras")
