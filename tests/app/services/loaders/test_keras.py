"""Keras models of three formats: texts, token ids and rows of numbers; outputs told apart; others refused."""

import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.core.errors import InvalidInputError, ModelLoadError, PredictionFailedError
from app.core.tensorflow_runtime import import_tensorflow
from app.models.prediction import TabularRequest
from app.services.artifact import Manifest, Preprocessing
from app.services.golden import check_model
from app.services.predictor import load_predictor
from tests.models import model_files, settings_for, tiny_keras
from tests.models.distilbert import NEGATIVE, POSITIVE, WORDS, write_tokenizer

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.timeout(600),
    # What Keras, tf_keras and h5py say of NumPy 2, of untraced saving and of the .h5 format.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

LABELS = ("negative", "positive")


@pytest.fixture(scope="module")
def keras():
    import_tensorflow()
    import keras

    return keras


def load(path: Path, **settings):
    return load_predictor(model_files(path), settings_for("keras", **settings))


def refusal(path: Path, **settings) -> str:
    with pytest.raises(ModelLoadError) as caught:
        load(path, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ask(predictor, *items):
    return predictor.predict(predictor.prepare(items))


@pytest.fixture(scope="module", params=["keras", "savedmodel"])
def text_folder(request, tmp_path_factory) -> Path:
    return tiny_keras(tmp_path_factory.mktemp(request.param), request.param)


def test_a_model_that_takes_texts_is_served_whatever_its_format(text_folder):
    files = model_files(text_folder)
    predictor = load_predictor(files, settings_for())
    assert check_model(predictor, files).kind == "golden"
    kind, harsh = ask(predictor, "A <br /> good film", "an awful film")
    assert (kind.label, harsh.label) == ("positive", "negative")
    with pytest.raises(InvalidInputError, match="the text is blank"):
        predictor.prepare(["<br />"])
    for words in range(1, 60):
        ask(predictor, "film " * words)
    assert predictor.describe()["traces"] == 1


def test_a_text_does_not_depend_on_its_neighbours(text_folder):
    predictor = load_predictor(model_files(text_folder), settings_for())
    texts = ["good", "a bad film " * 9, "it was warm", "awful"]
    alone = [ask(predictor, text)[0] for text in texts]
    with ThreadPoolExecutor(16) as pool:
        assert all(answers == alone for answers in pool.map(lambda _: ask(predictor, *texts), range(16)))


# Outputs. Each model answers the same for any row.


def fixed(keras, layer: str, width: int):
    """Return a model of two features whose last layer gives `width` numbers: 0.9 for the second class of two."""
    import numpy as np

    logits = {1: [np.log(9)], 2: [0.0, np.log(9)], 3: [0.0, 0.0, np.log(8)]}[width]
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(width, activation=layer)])
    model.layers[-1].set_weights([np.zeros((2, width)), np.array(logits)])
    return model


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize(
    ("activation", "width"), [("sigmoid", 1), ("linear", 1), ("softmax", 2), ("linear", 2)]
)
def test_each_form_of_output_gives_label_and_probability(keras, tmp_path, activation, width, ending):
    fixed(keras, activation, width).save(tmp_path / f"net{ending}")
    Manifest(task="tabular-classification", labels=LABELS).write(tmp_path)
    predictor = load(tmp_path)
    (output,) = ask(predictor, [1.0, 2.0])
    assert output.label == "positive"
    assert output.confidences["positive"] == pytest.approx(0.9, abs=1e-6)
    assert predictor.describe()["format"] == ending


def test_rows_are_answered_together_and_counted(keras, tmp_path):
    fixed(keras, "softmax", 3).save(tmp_path / "net.keras")
    Manifest(labels=("a", "b", "c")).write(tmp_path)
    predictor = load(tmp_path)
    request = TabularRequest(instances=[[1, 2], [3, 4], [5, 6]])
    reply = predictor.join(request, request.items, ask(predictor, *request.items))
    assert [entry["label"] for entry in reply["predictions"]] == ["c"] * 3
    with pytest.raises(InvalidInputError, match="expected 2 features, got 3"):
        predictor.prepare([[1, 2, 3]])
    Manifest(labels=LABELS).write(tmp_path)
    assert "3 outputs and 2 labels" in refusal(tmp_path)
    Manifest().write(tmp_path)
    assert "the outputs have no names" in refusal(tmp_path)


def test_one_linear_output_without_labels_is_a_value(keras, tmp_path):
    fixed(keras, "linear", 1).save(tmp_path / "net.keras")
    Manifest().write(tmp_path)
    (output,) = ask(load(tmp_path), [1.0, 2.0])
    assert (output.label, output.value) == (None, pytest.approx(2.1972246))


def test_outputs_by_name_and_of_one_dimension(keras, tmp_path):
    features = keras.Input((2,))
    logits = keras.layers.Dense(2, name="logits", kernel_initializer="zeros", bias_initializer="ones")(
        features
    )
    for name, outputs in (
        ("named", {"logits": logits, "hidden": features}),
        ("unnamed", {"a": logits, "b": features}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        keras.Model(features, outputs).save(folder / "net.keras")
        Manifest(labels=LABELS).write(folder)
    assert ask(load(tmp_path / "named"), [1.0, 2.0])[0].confidences == {"negative": 0.5, "positive": 0.5}
    assert "none of the model's outputs (a, b) is called logits" in refusal(tmp_path / "unnamed")
    flat = tmp_path / "flat"
    flat.mkdir()
    score = keras.layers.Reshape(())(keras.layers.Dense(1, activation="sigmoid")(features))
    keras.Model(features, score).save(flat / "net.keras")
    Manifest(labels=LABELS).write(flat)
    assert sum(ask(load(flat), [1.0, 2.0])[0].confidences.values()) == pytest.approx(1)


def test_shapes_and_activations_that_are_not_served_are_refused(keras, tmp_path):
    features = keras.Input((2,))
    wide = keras.layers.Reshape((2, 2))(keras.layers.Dense(4)(features))
    keras.Model(features, wide).save(tmp_path / "net.keras")
    Manifest(labels=LABELS).write(tmp_path)
    assert "the output has the shape (1, 2, 2) for 1 inputs" in refusal(tmp_path)
    several = keras.layers.Dense(2, activation="sigmoid", bias_initializer="ones")(features)
    keras.Model(features, several).save(tmp_path / "net.keras")
    assert "neither logits nor probabilities that sum to 1" in refusal(tmp_path)
    image = keras.Input((8, 8, 3))
    keras.Model(image, keras.layers.Flatten()(image)).save(tmp_path / "net.keras")
    assert "takes float32 of the shape (8, 8, 3)" in refusal(tmp_path)
    two = keras.Model([features, keras.Input((3,))], features)
    two.save(tmp_path / "net.keras")
    assert "the model takes 2 inputs" in refusal(tmp_path)


def test_numbers_that_are_not_finite_fail_the_row(keras, tmp_path):
    fixed(keras, "linear", 2).save(tmp_path / "net.keras")
    Manifest(labels=LABELS).write(tmp_path)
    predictor = load(tmp_path)
    with pytest.raises(PredictionFailedError, match="no finite number"):
        ask(predictor, [1e300, 1e300])


# Token ids.


def token_model(keras, length: int | None):
    import numpy as np

    ids = keras.Input((length,), dtype="int32")
    embedding = keras.layers.Embedding(len(WORDS), 1)
    pooled = keras.layers.GlobalAveragePooling1D()(embedding(ids))
    model = keras.Model(ids, keras.layers.Dense(1, activation="sigmoid", kernel_initializer="ones")(pooled))
    table = np.zeros((len(WORDS), 1))
    for chosen, polarity in ((POSITIVE, 20), (NEGATIVE, -20)):
        for word in chosen:
            table[WORDS.index(word)] = polarity
    embedding.set_weights([table])
    return model


@pytest.mark.parametrize("length", [None, 16])
def test_token_ids_come_from_the_tokenizer_beside_the_model(keras, tmp_path, length):
    token_model(keras, length).save(tmp_path / "net.keras")
    write_tokenizer(tmp_path)
    preprocessing = Preprocessing(max_tokens=16, overlap=4)
    Manifest(task="text-classification", labels=LABELS, preprocessing=preprocessing).write(tmp_path)
    predictor = load(tmp_path)
    kind, harsh, long = ask(predictor, "a superb film", "awful", "the film was fine " * 9)
    assert (kind.label, harsh.label, long.label) == ("positive", "negative", "positive")
    assert long.windows > 1
    assert predictor.describe()["traces"] == 1


def test_token_ids_without_a_tokenizer_or_with_too_long_windows_are_refused(keras, tmp_path):
    token_model(keras, 16).save(tmp_path / "net.keras")
    Manifest(task="text-classification", labels=LABELS).write(tmp_path)
    assert "there is no tokenizer.json beside it" in refusal(tmp_path)
    write_tokenizer(tmp_path)
    assert "windows of 512 tokens do not fit the model's 16 positions" in refusal(tmp_path)


def test_a_text_model_without_a_manifest_says_that_it_assumed_its_labels(keras, tmp_path):
    folder = tiny_keras(tmp_path)
    (folder / "marquee.json").unlink()
    predictor = load(folder)
    assert ask(predictor, "a superb film")[0].label == "positive"
    assert predictor.describe()["warnings"] == [
        "no labels were given: the outputs are called negative, positive"
    ]


# Formats and methods.


def test_a_saved_model_of_the_generation_before_is_read(tmp_path):
    import_tensorflow()
    import tf_keras

    model = tf_keras.Sequential([tf_keras.layers.Input((2,)), tf_keras.layers.Dense(2, activation="softmax")])
    model.save(tmp_path, save_format="tf")
    Manifest(labels=LABELS).write(tmp_path)
    predictor = load(tmp_path)
    assert predictor.describe()["runtime"].startswith("tf_keras")
    assert sum(ask(predictor, [1.0, 2.0])[0].confidences.values()) == pytest.approx(1)


@pytest.mark.parametrize("ending", [".keras", ".h5"])
def test_files_of_the_generation_before_are_read(tmp_path, ending):
    import_tensorflow()
    import numpy as np
    import tf_keras

    model = tf_keras.Sequential([tf_keras.layers.Input((2,)), tf_keras.layers.Dense(2, activation="softmax")])
    model.save(tmp_path / f"net{ending}")
    Manifest(labels=LABELS).write(tmp_path)
    (output,) = ask(load(tmp_path), [1.0, 2.0])
    assert list(output.confidences.values()) == pytest.approx(
        model(np.array([[1.0, 2.0]])).numpy()[0].tolist(), abs=1e-6
    )


def test_a_file_that_cannot_be_read_is_told_with_format_version_and_way_out(keras, tmp_path):
    fixed(keras, "softmax", 2).save(tmp_path / "good.keras")
    with zipfile.ZipFile(tmp_path / "good.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(parts["metadata.json"]) | {"keras_version": "9.0.0"}
    config = json.loads(parts["config.json"])
    config["config"]["layers"][-1]["class_name"] = "LayerOfTheFuture"
    parts |= {"metadata.json": json.dumps(metadata).encode(), "config.json": json.dumps(config).encode()}
    (tmp_path / "good.keras").unlink()
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    Manifest(labels=LABELS).write(tmp_path)
    message = refusal(tmp_path)
    assert (
        f"Keras {keras.__version__} cannot read net.keras (.keras format, written by Keras 9.0.0)" in message
    )
    assert "export it again" in message
    (tmp_path / "net.keras").replace(tmp_path / "net.h5")
    (tmp_path / "net.h5").write_bytes(b"no model")
    assert "cannot read net.h5 (.h5 format, damaged)" in refusal(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"no model")
    assert "there must be one Keras model, and there are 2: net.h5, saved_model.pb" in refusal(tmp_path)
    (tmp_path / "net.h5").unlink()
    assert "cannot read the SavedModel" in refusal(tmp_path)


def test_code_in_a_model_is_not_run(keras, tmp_path):
    features = keras.Input((2,))
    keras.Model(features, keras.layers.Lambda(lambda values: values * 2)(features)).save(
        tmp_path / "net.keras"
    )
    Manifest(labels=LABELS).write(tmp_path)
    assert "holds a Lambda layer, which is code and is not run" in refusal(tmp_path)


def test_predict_method_is_called_by_its_name(keras, tmp_path):
    fixed(keras, "softmax", 2).save(tmp_path / "net.keras")
    Manifest(labels=LABELS).write(tmp_path)
    (output,) = ask(load(tmp_path, predict_method="predict_on_batch"), [1.0, 2.0])
    assert output.confidences["positive"] == pytest.approx(0.9, abs=1e-6)
    assert "the model has no method 'predict_proba' (PREDICT_METHOD)" in refusal(
        tmp_path, predict_method="predict_proba"
    )
