"""The fused graph computes what DistilBERT is defined to compute."""

import numpy as np
import pytest

from app.services.text import EncodedText
from ml.onnx_graph import Classifier, write_graph
from ml.quantize import RECIPES, open_session, quantize, session_logits
from tests.ml.samples import distilbert_logits, distilbert_weights

WORDS, LAYERS, HEADS = 50, 2, 2


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return distilbert_weights(WORDS, LAYERS)


@pytest.fixture(scope="module")
def session(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    write_graph(Classifier(weights, HEADS, LAYERS), path)
    return open_session(path, threads=1)


def padded_batch(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    ids = generator.integers(0, WORDS, (len(lengths), max(lengths))).astype(np.int32)
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int32)
    return ids, mask


@pytest.mark.parametrize("lengths", [[1], [12], [9, 3, 1, 7], [200, 512]])
def test_gives_the_logits_of_the_definition(session, weights, lengths):
    ids, mask = padded_batch(lengths)
    (logits,) = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
    expected = distilbert_logits(weights, LAYERS, HEADS, ids, mask)
    assert logits == pytest.approx(expected, abs=1e-4)
    assert logits.dtype == np.float32
    assert np.ptp(expected) > 0.5, "a comparison of zeros would prove nothing"


def test_what_is_masked_makes_no_difference(session):
    ids, mask = padded_batch([9, 3])
    (logits,) = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})
    (alone,) = session.run(["logits"], {"input_ids": ids[1:, :3], "attention_mask": mask[1:, :3]})
    assert logits[1] == pytest.approx(alone[0], abs=1e-5)
    (unmasked,) = session.run(["logits"], {"input_ids": ids, "attention_mask": np.ones_like(mask)})
    assert abs(unmasked[1] - alone[0]).max() > 1e-3


def test_inputs_and_outputs_are_what_the_loader_expects(session):
    assert [(item.name, item.type, item.shape) for item in session.get_inputs()] == [
        ("input_ids", "tensor(int32)", ["batch", "tokens"]),
        ("attention_mask", "tensor(int32)", ["batch", "tokens"]),
    ]
    assert [(item.name, item.shape) for item in session.get_outputs()] == [("logits", ["batch", 2])]


def test_says_how_many_tokens_it_has_positions_for_quantised_or_not(session, weights, tmp_path):
    write_graph(Classifier(weights, HEADS, LAYERS), tmp_path / "fp32.onnx")
    quantize(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", RECIPES[1])
    for graph in (session, open_session(tmp_path / "int8.onnx", threads=1)):
        assert graph.get_modelmeta().custom_metadata_map["max_position_embeddings"] == "512"


def test_windows_of_a_text_are_averaged(session, weights):
    windows = ((2, 7, 8, 3), (2, 9, 3))
    (logits,) = session_logits(session, [EncodedText(windows, tokens=3, unknown=0, truncated=False)])
    each = [
        distilbert_logits(weights, LAYERS, HEADS, np.array([window]), np.ones((1, len(window))))[0]
        for window in windows
    ]
    assert logits == pytest.approx(np.mean(each, axis=0), abs=1e-4)
