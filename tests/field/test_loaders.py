"""B39 to B47: models that load and should not, and answers that are not what the model says."""

import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.core.errors import ModelLoadError
from app.services.artifact import Manifest
from app.services.outputs import choose_labels, meaning_of, probabilities
from app.services.predictor import load_predictor
from tests.models import (
    model_files,
    settings_for,
    tiny_distilbert_tf,
    tiny_joblib,
    tiny_keras,
    tiny_onnx,
)

LOADERS = [
    pytest.param("onnx", tiny_onnx, id="onnx"),
    pytest.param("joblib", tiny_joblib, id="joblib"),
    pytest.param("transformers", tiny_distilbert_tf, id="transformers", marks=pytest.mark.tensorflow),
    pytest.param("keras", tiny_keras, id="keras", marks=pytest.mark.tensorflow),
]
pytestmark = [
    pytest.mark.timeout(600),
    # What Keras, tf_keras and h5py say of NumPy 2.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]


def refusal(folder: Path, loader: str, **settings: Any) -> str:
    """The one line of a load that must fail."""
    with pytest.raises(ModelLoadError) as caught:
        load_predictor(model_files(folder), settings_for(loader, **settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def keras() -> Any:
    from app.core.tensorflow_runtime import import_tensorflow

    import_tensorflow()
    import keras

    return keras


def keras_model(keras: Any, activation: str = "softmax", outputs: int = 2) -> Any:
    """Answers 0.9 for the second of two classes, whatever it is asked."""
    import numpy as np

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(outputs, activation=activation)])
    bias = [math.log(9)] if outputs == 1 else [0.0, math.log(9)]
    model.layers[-1].set_weights([np.zeros((2, outputs)), np.array(bias)])
    return model


@pytest.mark.parametrize(("loader", "make"), LOADERS)
def test_b39_raw_texts_score_over_http_as_they_did_offline(serve_folder, tmp_path, loader, make):
    folder = make(tmp_path / "model")
    golden = json.loads((folder / "marquee.json").read_text("utf-8"))["golden"]
    client = serve_folder(folder, loader)
    assert client.get("/api/v1/health").json()["check"]["kind"] == "golden"
    for example in golden["examples"]:
        reply = client.post("/predict", json={"text": example["input"]}).json()
        assert reply["sentiment"].lower() == example["label"]
        assert reply["confidences"] == pytest.approx(example["confidences"], abs=1e-5)


@pytest.mark.parametrize(
    ("rows", "activation"),
    [
        ([[0.9]], "sigmoid"),
        ([[0.1, 0.9]], "softmax"),
        ([[0.0, math.log(9)]], "linear"),
        ([[math.log(9)]], "linear"),
    ],
    ids=["one sigmoid", "softmax", "logits", "one logit"],
)
def test_b40_every_form_of_output_means_the_same(rows, activation):
    assert probabilities(rows[0], meaning_of(rows, activation)) == pytest.approx([0.1, 0.9])


@pytest.mark.tensorflow
@pytest.mark.parametrize(("activation", "outputs"), [("sigmoid", 1), ("softmax", 2), ("linear", 2)])
def test_b40_a_served_model_is_not_always_of_the_first_class(
    keras, serve_folder, tmp_path, activation, outputs
):
    folder = tmp_path / "model"
    folder.mkdir()
    keras_model(keras, activation, outputs).save(folder / "net.keras")
    Manifest(task="tabular-classification", labels=("negative", "positive")).write(folder)
    reply = serve_folder(folder, "keras").post("/predict", json={"features": [1, 2]}).json()
    assert reply["label"] == "positive"
    assert reply["confidences"]["positive"] == pytest.approx(0.9, abs=1e-6)


def test_b40_an_output_that_is_neither_is_refused_at_load():
    with pytest.raises(ModelLoadError, match="neither logits nor probabilities"):
        meaning_of([[0.9, 0.8]], "sigmoid")


@pytest.mark.parametrize(("loader", "make"), LOADERS)
def test_b42_five_hundred_texts_of_a_hundred_lengths_cost_no_memory_and_no_trace(tmp_path, loader, make):
    predictor = load_predictor(model_files(make(tmp_path)), settings_for(loader))
    process = psutil.Process()

    def ask(times: int) -> int:
        for number in range(times):
            predictor.predict(predictor.prepare(["good film " * (1 + number % 100)]))
        return process.memory_info().rss

    warm = ask(100)
    assert ask(400) < warm * 1.05 + 8_000_000
    assert predictor.describe().get("traces", 1) == 1


@pytest.mark.parametrize(("loader", "make"), LOADERS)
def test_b43_sixteen_threads_get_what_one_gets_through_the_real_route(serve_folder, tmp_path, loader, make):
    """The tokenizer is entered by the workers only; texts of all lengths meet in it."""
    client = serve_folder(make(tmp_path / "model"), loader, max_waiting=10_000)
    texts = ["good", "a dull and boring film " * 30, "warm and funny", "bad " * 200]
    alone = [client.post("/predict", json={"text": text}).json()["confidences"] for text in texts]

    def ask(number: int) -> bool:
        reply = client.post("/predict", json={"text": texts[number % 4]})
        assert reply.status_code == 200, reply.text
        return bool(reply.json()["confidences"] == pytest.approx(alone[number % 4], abs=1e-6))

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, range(320)))


def test_b43_threads_that_tokenize_at_once_do_not_disturb_each_other(tmp_path):
    """Truncation and padding are state of the tokenizer, which is what raised for others."""
    predictor = load_predictor(model_files(tiny_onnx(tmp_path)), settings_for("onnx"))
    barrier = threading.Barrier(8)

    def prepare(_number: int) -> list[Any]:
        barrier.wait(20)
        prepared = [predictor.prepare(["a good film " * length])[0] for length in (1, 90, 5) * 20]
        return [output.confidences for output in predictor.predict(prepared[:3])]

    with ThreadPoolExecutor(8) as threads:
        first, *others = threads.map(prepare, range(8))
    assert all(other == first for other in others)


TEXT_LOADERS = [entry for entry in LOADERS if entry.id in ("onnx", "transformers")]


@pytest.mark.parametrize(("loader", "make"), TEXT_LOADERS)
def test_b44_a_text_longer_than_a_window_is_read_to_its_end(serve_folder, tmp_path, loader, make):
    client = serve_folder(make(tmp_path / "model"), loader)
    start = "the film was of the music and the cast " * 3
    kind, harsh = (
        client.post("/predict", json={"text": start + last}).json() for last in ("superb", "awful")
    )
    assert kind["windows"] > 1
    assert kind["truncated"] is False
    assert kind["confidences"]["positive"] > harsh["confidences"]["positive"]
    whole = client.post("/predict", json={"text": "good film . " * 7_000}).json()
    assert whole["truncated"] is True
    assert whole["tokens"] > 10_000
    window = client.get("/api/v1/model").json()["preprocessing"]["max_tokens"]
    for words in range(window - 4, window + 3):
        found = client.post("/predict", json={"text": " ".join(["film"] * words)})
        assert (found.status_code, found.json()["tokens"]) == (200, words)
    assert client.post("/predict", json={"text": "x" * 20_000}).status_code == 200


def test_b45_the_client_never_sees_a_raw_class_name():
    def config(*names: str) -> dict[str, Any]:
        return {"id2label": {str(number): name for number, name in enumerate(names)}}

    assert choose_labels(("negative", "positive"), {}, 2) == ("negative", "positive")
    assert choose_labels((), config("bad", "good"), 2) == ("bad", "good")
    assert choose_labels((), config("POSITIVE", "NEGATIVE"), 2) == ("POSITIVE", "NEGATIVE")
    for names, outputs in (((), 2), (("LABEL_0", "LABEL_1"), 2), (("a", "b", "c"), 2)):
        with pytest.raises(ModelLoadError):
            choose_labels((), config(*names) if names else {}, outputs)
    with pytest.raises(ModelLoadError, match="2 outputs and 3 labels"):
        choose_labels(("a", "b", "c"), {}, 2)


@pytest.mark.tensorflow
def test_b47_a_head_that_was_never_trained_stops_the_start(tmp_path):
    import numpy as np

    from app.core.tensorflow_runtime import import_tensorflow

    import_tensorflow()
    import h5py
    from transformers import TFDistilBertModel

    from tests.models.distilbert import manifest, tiny_config, tiny_tf_model, write_tokenizer

    def checkpoint(folder: Path, model: Any) -> Path:
        folder.mkdir()
        write_tokenizer(folder)
        model.save_pretrained(str(folder))
        manifest("transformers").write(folder)
        return folder

    base = TFDistilBertModel(tiny_config())
    base(np.ones((1, 8), dtype=np.int32))
    assert "holds no weights for classifier, pre_classifier" in refusal(
        checkpoint(tmp_path / "base", base), "transformers"
    )
    folder = checkpoint(tmp_path / "renamed", tiny_tf_model())
    with h5py.File(folder / "tf_model.h5", "a") as file:
        file.copy("classifier", "verdict")
        file.attrs["layer_names"] = [str(name).encode() for name in [*file.attrs["layer_names"], "verdict"]]
    assert "has no place for: verdict" in refusal(folder, "transformers")
