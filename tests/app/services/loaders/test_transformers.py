"""TensorFlow checkpoints: equal to the ONNX graph of the same weights, traced once, and refused when untrained."""

import json
import math
import shutil
from pathlib import Path

import pytest

from app.core.errors import ModelLoadError
from app.services.artifact import Manifest
from app.services.golden import check_model
from app.services.predictor import load_predictor
from tests.models import model_files, settings_for, tiny_distilbert_tf, tiny_onnx
from tests.models.distilbert import LABELS, manifest, tiny_config, tiny_tf_model, write_tokenizer

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.timeout(600),
    # What TensorFlow, tf_keras and transformers say of each other and of NumPy 2.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

TEXTS = ["A good film.", "dull", "the music was warm and the plot was weak " * 3, "good film . " * 60, "..."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_distilbert_tf(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def predictor(folder):
    return load_predictor(model_files(folder), settings_for())


def ask(predictor, *texts: str):
    return predictor.predict(predictor.prepare(texts))


def test_it_answers_what_the_onnx_graph_of_the_same_weights_answers(predictor, folder, tmp_path):
    assert check_model(predictor, model_files(folder)).kind == "golden"
    graph = load_predictor(model_files(tiny_onnx(tmp_path)), settings_for())
    for one, other in zip(ask(predictor, *TEXTS), ask(graph, *TEXTS), strict=True):
        assert one.confidences == pytest.approx(other.confidences, abs=1e-5)
        assert (one.label, one.tokens, one.windows, one.truncated, one.unknown) == (
            other.label,
            other.tokens,
            other.windows,
            other.truncated,
            other.unknown,
        )


def test_no_length_is_traced_anew(predictor):
    for words in range(40):
        assert math.isfinite(ask(predictor, "film " * (words + 1))[0].confidences["positive"])
    assert predictor.describe()["traces"] == 1


def test_threads_get_what_one_gets(predictor):
    from concurrent.futures import ThreadPoolExecutor

    expected = ask(predictor, *TEXTS)
    with ThreadPoolExecutor(16) as pool:
        assert all(answers == expected for answers in pool.map(lambda _: ask(predictor, *TEXTS), range(16)))


def refusal(folder: Path) -> str:
    with pytest.raises(ModelLoadError) as caught:
        load_predictor(model_files(folder), settings_for("transformers"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def checkpoint(folder: Path, model) -> Path:
    write_tokenizer(folder)
    model.save_pretrained(str(folder))
    manifest("transformers").write(folder)
    return folder


def test_a_base_model_without_a_head_is_refused_by_its_layers(tmp_path):
    import numpy as np
    from transformers import TFDistilBertModel

    base = TFDistilBertModel(tiny_config())
    base(np.ones((1, 8), dtype=np.int32))
    message = refusal(checkpoint(tmp_path, base))
    assert "tf_model.h5 holds no weights for classifier, pre_classifier" in message
    assert "dropout" not in message


def test_weights_that_no_layer_takes_are_refused_by_their_layers(tmp_path):
    import h5py

    checkpoint(tmp_path, tiny_tf_model())
    with h5py.File(tmp_path / "tf_model.h5", "a") as file:
        file.copy("classifier", "verdict")
        file.attrs["layer_names"] = [str(name).encode() for name in [*file.attrs["layer_names"], "verdict"]]
    assert "weights that TFDistilBertForSequenceClassification has no place for: verdict" in refusal(tmp_path)


def test_labels_must_fit_the_head(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    Manifest(labels=("a", "b", "c")).write(tmp_path)
    assert "2 outputs and 3 labels" in refusal(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}))
    Manifest().write(tmp_path)
    assert "say nothing" in refusal(tmp_path)
    three = {"0": "a", "1": "b", "2": "c"}
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": three}))
    assert "cannot load tf_model.h5" in refusal(tmp_path)


def test_names_of_the_config_are_taken(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": {"0": "bad", "1": "good"}}))
    Manifest(preprocessing=manifest("").preprocessing).write(tmp_path)
    assert load_predictor(model_files(tmp_path), settings_for()).labels == ("bad", "good")
    assert LABELS != ("bad", "good")


def test_windows_larger_than_the_positions_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    Manifest(labels=LABELS).write(tmp_path)
    assert "windows of 512 tokens do not fit the model's 64 positions" in refusal(tmp_path)


def test_a_tokenizer_is_needed_and_may_be_a_word_list(folder, tmp_path):
    from tests.models.distilbert import WORDS

    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer.json").unlink()
    assert "there is no tokenizer.json beside the checkpoint" in refusal(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    served = load_predictor(model_files(tmp_path), settings_for("transformers"))
    assert check_model(served, model_files(tmp_path)).kind == "golden"


def test_weights_of_pytorch_are_refused_with_the_way_out(folder, tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tf_model.h5").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    assert "no TensorFlow weights (tf_model.h5)" in refusal(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    save_file(
        {"classifier.weight": np.ones((2, 16), np.float32)}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    message = refusal(tmp_path)
    assert "cannot load model.safetensors" in message
    assert "which gives tf_model.h5" in message


def test_damaged_weights_are_named(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tf_model.h5").write_bytes((folder / "tf_model.h5").read_bytes()[:3_000])
    assert "cannot load tf_model.h5" in refusal(tmp_path)
