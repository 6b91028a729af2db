"""ONNX text classifiers: what is answered, and what is refused before anything is served."""

import json
import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.core.errors import InvalidInputError, ModelLoadError, PredictionFailedError
from app.models.prediction import TextRequest
from app.services.artifact import Manifest, Preprocessing
from app.services.golden import check_model
from app.services.predictor import load_predictor
from tests.models import model_files, settings_for, tiny_onnx
from tests.models.distilbert import write_tokenizer

LABELS = ("negative", "positive")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_onnx(tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def predictor(folder):
    return load_predictor(model_files(folder), settings_for())


def ask(predictor, *texts: str):
    return predictor.predict(predictor.prepare(texts))


def test_kind_and_harsh_texts_are_told_apart(predictor):
    kind, harsh = ask(predictor, "A warm and funny film.", "Dull, slow and boring.")
    assert (kind.label, harsh.label) == ("positive", "negative")
    assert sum(kind.confidences.values()) == pytest.approx(1)
    assert kind.tokens == 6
    assert (kind.windows, kind.truncated, kind.unknown) == (1, False, 0)


def test_it_answers_its_golden_examples(predictor, folder):
    check = check_model(predictor, model_files(folder))
    assert (check.kind, check.examples) == ("golden", 4)
    assert check.largest_difference < 1e-5


def test_the_verdict_at_the_end_of_a_long_text_counts(predictor):
    start = "the film was of the music and the cast " * 3
    (kind,), (harsh,) = ask(predictor, start + "superb"), ask(predictor, start + "awful")
    assert kind.windows > 1
    assert not kind.truncated
    assert kind.confidences["positive"] > harsh.confidences["positive"]


def test_a_text_with_too_many_windows_is_said_to_be_cut(predictor):
    (output,) = ask(predictor, "good film . " * 400)
    assert output.truncated
    assert output.tokens == 1_200
    assert output.windows == 3


@pytest.mark.parametrize("words", range(12, 18))
def test_lengths_around_a_window_are_served(predictor, words: int):
    (output,) = ask(predictor, "film " * words)
    assert output.tokens == words
    assert output.windows == (1 if words <= 14 else 2)


def test_temperature_softens_confidences(folder, tmp_path):
    copied = copy(folder, tmp_path, temperature=1.0)
    sharp = load_predictor(model_files(copied), settings_for())
    soft = load_predictor(model_files(folder), settings_for())
    (one,), (other,) = ask(sharp, "a good film"), ask(soft, "a good film")
    gap = math.log(one.confidences["positive"] / one.confidences["negative"])
    assert math.log(other.confidences["positive"] / other.confidences["negative"]) == pytest.approx(gap / 1.5)


@pytest.mark.parametrize("text", ["", "   ", "\u200b", "\n\n", "<br />", " <br/> &nbsp; "])
def test_blank_texts_are_refused_by_their_position(predictor, text: str):
    with pytest.raises(InvalidInputError, match="the text is blank") as single:
        predictor.prepare([text])
    with pytest.raises(InvalidInputError) as listed:
        predictor.prepare(["good", text])
    assert (single.value.position, listed.value.position) == (None, 1)


@pytest.mark.parametrize("text", ["...", "\U0001f600", "good", "\ufffd", "half \ud83d"])
def test_texts_that_say_little_are_served(predictor, text: str):
    assert ask(predictor, text)[0].label in LABELS


def test_reply_and_row_of_a_request(predictor):
    request = TextRequest(text="A good film.")
    items = predictor.split(request)
    outputs = ask(predictor, *items)
    reply = predictor.join(request, items, outputs)
    assert set(reply) == {"text", "sentiment", "confidences", "tokens", "windows", "truncated"}
    assert (reply["text"], reply["sentiment"]) == ("A good film.", "Positive")
    row = predictor.row(items[0], outputs[0])
    assert row["confidence_positive"] == reply["confidences"]["positive"]
    assert (row["characters"], row["unknown_tokens"]) == (12, 0)
    assert all(isinstance(value, (str, int, float)) for value in row.values())


def test_a_list_is_answered_in_order(predictor):
    request = TextRequest(texts=["awful", "superb", "awful"])
    items = predictor.split(request)
    reply = predictor.join(request, items, ask(predictor, *items))
    assert [entry["sentiment"] for entry in reply["predictions"]] == ["Negative", "Positive", "Negative"]


def test_sixteen_threads_get_what_one_gets(predictor):
    texts = [f"a {'good' if index % 3 else 'bad'} film " * (index % 9 + 1) for index in range(50)]
    expected = [ask(predictor, text)[0] for text in texts]
    with ThreadPoolExecutor(16) as pool:
        rounds = list(pool.map(lambda _: [ask(predictor, text)[0] for text in texts], range(16)))
    assert all(answers == expected for answers in rounds)


def test_cost_counts_every_window(predictor):
    (short, long) = predictor.prepare(["good", "good film " * 14])
    assert predictor.cost(short) == 3
    assert predictor.cost(long) == sum(len(window) for window in long.windows) > 28


def test_it_imports_no_other_runtime(folder):
    code = """
import sys
from pathlib import Path
from tests.models.support import model_files, settings_for
from app.services.predictor import load_predictor
from app.services.golden import check_model
files = model_files(Path(sys.argv[1]))
check_model(load_predictor(files, settings_for()), files)
heavy = {"tensorflow", "keras", "transformers", "sklearn", "joblib", "wandb", "onnx", "torch", "scipy", "pandas"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
"""
    # tests.models itself brings in what writes the models; its parent package is replaced by an empty one.
    prelude = """
import sys, types
package = types.ModuleType("tests.models"); package.__path__ = ["tests/models"]; sys.modules["tests.models"] = package
"""
    done = subprocess.run(
        [sys.executable, "-c", prelude + code, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert done.stdout.strip() == "[]"


# What is refused at load.


def copy(folder: Path, target: Path, *, config: dict | None = None, **changes) -> Path:
    for name in ("model.onnx", "tokenizer.json"):
        (target / name).write_bytes((folder / name).read_bytes())
    defaults = {
        "task": "text-classification",
        "labels": LABELS,
        "preprocessing": Preprocessing(max_tokens=16, overlap=4),
    }
    Manifest(**(defaults | changes)).write(target)
    if config is not None:
        (target / "config.json").write_text(json.dumps(config))
    return target


def refusal(folder: Path) -> str:
    with pytest.raises(ModelLoadError) as caught:
        load_predictor(model_files(folder), settings_for("onnx"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_names_come_from_the_config_where_the_manifest_has_none(folder, tmp_path):
    copied = copy(folder, tmp_path, labels=(), config={"id2label": {"0": "bad", "1": "good"}})
    assert load_predictor(model_files(copied), settings_for()).labels == ("bad", "good")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ()}, "the outputs have no names"),
        ({"labels": (), "config": {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}}, "say nothing"),
        ({"labels": ("a", "b", "c")}, "2 outputs and 3 labels"),
        (
            {"config": {"max_position_embeddings": 8}},
            "windows of 16 tokens do not fit the model's 8 positions",
        ),
        ({"config": {"vocab_size": 30}}, "the tokenizer knows 40 tokens and the model 30"),
        ({"preprocessing": Preprocessing(max_tokens=16, overlap=12)}, "overlap at most half"),
    ],
)
def test_what_does_not_fit_together_stops_the_start(folder, tmp_path, changes, message):
    assert message in refusal(copy(folder, tmp_path, **changes))


def test_missing_and_damaged_files_are_named(folder, tmp_path):
    copied = copy(folder, tmp_path)
    (copied / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:2_000])
    assert "onnxruntime" in refusal(copied)
    assert "cannot load model.onnx" in refusal(copied)
    (copied / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    (copied / "tokenizer.json").write_text("{}")
    assert "tokenizer.json is no tokenizer file" in refusal(copied)
    (copied / "tokenizer.json").unlink()
    assert "no tokenizer at tokenizer.json" in refusal(copied)


def write_small(
    target: Path, outputs: list[str], inputs: list[str], value: float = 1.0, columns: int | str = 2
) -> Path:
    """Write a graph that answers the sum of the ids times `value` for each label, and a tokenizer."""
    from onnx import TensorProto, helper, save

    write_tokenizer(target)
    width = 2 if isinstance(columns, str) else columns
    row = helper.make_tensor("row", TensorProto.FLOAT, [1, width], [value * index for index in range(width)])
    nodes = [
        helper.make_node("Cast", [inputs[0]], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1], keepdims=1),
        *(helper.make_node("MatMul", ["mean", "row"], [name]) for name in outputs),
    ]
    integers = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in inputs
    ]
    floats = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", columns]) for name in outputs]
    graph = helper.make_graph(nodes, "small", integers, floats, [row])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    save(model, str(target / "model.onnx"))
    Manifest(task="text-classification", labels=LABELS).write(target)
    return target


def test_an_export_with_wide_integers_and_token_types_is_served(tmp_path):
    names = ["input_ids", "attention_mask", "token_type_ids"]
    served = load_predictor(model_files(write_small(tmp_path, ["logits"], names)), settings_for())
    assert ask(served, "good film")[0].label == "positive"


def test_a_graph_that_takes_something_else_is_refused(tmp_path):
    assert "takes pixels, and this loader gives input_ids" in refusal(
        write_small(tmp_path, ["logits"], ["pixels"])
    )


def test_outputs_without_logits_are_refused(tmp_path):
    assert "none of the graph's outputs (a, b) is called logits" in refusal(
        write_small(tmp_path, ["a", "b"], ["input_ids"])
    )


def test_labels_are_counted_where_the_graph_does_not_say_how_many(tmp_path):
    write_small(tmp_path, ["logits"], ["input_ids"], columns="classes")
    Manifest(task="text-classification", labels=("a", "b", "c")).write(tmp_path)
    assert "2 outputs and 3 labels" in refusal(tmp_path)


def test_a_logit_that_is_not_finite_fails_that_text(tmp_path):
    served = load_predictor(
        model_files(write_small(tmp_path, ["logits"], ["input_ids"], float("inf"))), settings_for()
    )
    with pytest.raises(PredictionFailedError, match="no finite number"):
        ask(served, "good film")
