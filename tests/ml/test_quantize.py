"""int8 graphs: smaller, close to fp32, and chosen by rules that can say no."""

from dataclasses import replace

import numpy as np
import pytest

from app.services.text import EncodedText
from ml.onnx_graph import Classifier, write_graph
from ml.quantize import RECIPES, Measured, Recipe, choose, measure, open_session, quantize
from tests.ml.samples import distilbert_weights

FP32 = Measured("fp32", True, 40.0, 0.92, 0.2, 0.0, 0.0, 0.0, 1000.0)


def candidate(name: str, **changes: object) -> Measured:
    return replace(FP32, recipe=name, megabytes=10.0, mean_shift=0.01, **changes)


class TestChoose:
    def test_takes_what_moves_probabilities_least(self):
        near, far = candidate("near"), candidate("far", accuracy=0.93)
        assert choose([FP32, replace(far, mean_shift=0.02), near], 0.003) is near

    def test_speed_and_size_do_not_decide(self):
        near, fast = candidate("near"), candidate("fast", tokens_per_second=9000.0)
        assert choose([FP32, replace(fast, mean_shift=0.011), near], 0.003) is near

    def test_a_graph_that_other_processors_compute_otherwise_is_left_out(self):
        best = replace(candidate("full range"), portable=False, mean_shift=0.0)
        assert choose([FP32, best, candidate("seven bits")], 0.003).recipe == "seven bits"

    def test_a_graph_that_costs_too_much_is_left_out(self):
        best = replace(candidate("lossy"), accuracy=0.9165, mean_shift=0.0)
        assert choose([FP32, best, candidate("exact", accuracy=0.9175)], 0.003).recipe == "exact"

    @pytest.mark.parametrize("changes", [{"accuracy": 0.91}, {"portable": False}])
    def test_refuses_where_none_qualifies(self, changes):
        with pytest.raises(ValueError, match=r"no quantised graph is within 0.003 of fp32's accuracy 0.9200"):
            choose([FP32, candidate("only", **changes)], 0.003)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "fp32.onnx"
    write_graph(Classifier(distilbert_weights(2000, 1), heads=2, layers=1), path)
    return path


TEXTS = [
    EncodedText((tuple(range(start, start + 20)),), tokens=18, unknown=0, truncated=False)
    for start in range(0, 1600, 40)
]
LABELS = np.arange(len(TEXTS)) % 2


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_each_recipe_makes_a_small_graph_that_agrees(graph, tmp_path, recipe, caplog):
    target = tmp_path / "int8.onnx"
    quantize(graph, target, recipe)
    reference, logits = measure(graph, "fp32", True, TEXTS, LABELS, None)
    measured, _ = measure(target, recipe.name, recipe.portable, TEXTS, LABELS, logits)
    assert (reference.flips, reference.mean_shift, reference.largest_shift) == (0, 0, 0)
    assert measured.megabytes < 0.45 * reference.megabytes
    assert 0 < measured.mean_shift <= measured.largest_shift
    if recipe.portable:  # Whether the others agree depends on the processor: that is why they are not chosen.
        assert measured.largest_shift < 0.15
        assert measured.flips <= 0.1
    assert measured.tokens_per_second > 0
    assert not caplog.records


def test_what_is_kept_stays_fp32(graph, tmp_path):
    import onnx

    def matrices(*keep: str) -> set[str]:
        target = tmp_path / "graph.onnx"
        quantize(graph, target, Recipe("kept", True, True, True, keep))
        return {node.name for node in onnx.load(str(target)).graph.node if node.op_type == "MatMul"}

    assert matrices() == set()
    assert matrices("classifier") == {"pre_classifier.product/MatMul", "classifier.product/MatMul"}


def test_portable_recipes_are_those_whose_sums_cannot_overflow():
    assert {recipe.name for recipe in RECIPES if not recipe.portable} == {"int8 per channel"}


def test_threads_are_taken_as_given(graph):
    assert open_session(graph, threads=1).get_session_options().intra_op_num_threads == 1
