"""The limit and the share of it: operations are counted right, and the graphs compute what they say."""

import numpy as np
import pytest

from benchmarks import engine, graphs, models


def test_operations_are_two_for_each_product_of_a_layer_and_of_attention():
    width, tokens = 4, 3
    linear = 3 * tokens * width * width + tokens * width * width + 2 * tokens * width * 4 * width
    attention = 2 * tokens * tokens * width
    assert engine.operations(tokens, width, layers=1) == 2 * (linear + attention)
    assert engine.operations(tokens, width, layers=6) == 12 * (linear + attention)


@pytest.mark.parametrize(
    ("precision", "kind"), [("fp32", np.float32), ("int8", np.uint8), ("int8 QDQ", np.float32)]
)
def test_a_product_is_a_product(precision, kind):
    import onnxruntime

    graph = graphs.product(3, 8, 5, precision)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    left = np.arange(24).reshape(3, 8).astype(kind)
    (out,) = session.run(None, {"left": left})
    assert out.shape == (3, 5)
    (same,) = session.run(None, {"left": left[::-1].copy()})
    assert np.array_equal(out, same[::-1])


def test_the_plain_graph_answers_as_the_fused_one(tmp_path, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(models, "CACHE", tmp_path)
    monkeypatch.setattr(graphs, "CACHE", tmp_path)
    for module in (models, graphs):
        monkeypatch.setattr(module, "LAYERS", 1)
        monkeypatch.setattr(module, "WORDS", 50)
    ids = np.arange(14, dtype=np.int32).reshape(2, 7)
    feed = {"input_ids": ids, "attention_mask": np.array([[1] * 7, [1] * 4 + [0] * 3], dtype=np.int32)}
    fused, plain = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["logits"], feed)[0]
        for path in (models.graph(24, "fp32"), graphs.plain(24))
    )
    assert np.allclose(fused, plain, atol=1e-5)


def test_an_engine_that_is_not_there_says_so():
    with pytest.raises(RuntimeError, match="No such file|NO_SUCHFILE|doesn't exist"):
        engine.Worker(engine.Engine("x", "onnx", "/nowhere/model.onnx", "fp32"), 1).__enter__()
