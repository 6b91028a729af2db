"""A DistilBERT of one layer that knows forty words, as ONNX graph and as TensorFlow checkpoint, same weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from app.services.artifact import Manifest, Preprocessing
from ml.base_models import assign, wordpiece_tokenizer
from ml.onnx_graph import Classifier, write_graph
from tests.models.support import write_text_golden

LABELS = ("negative", "positive")
POSITIVE = ("good", "great", "funny", "warm", "loved", "wonderful", "best", "fine", "superb")
NEGATIVE = ("bad", "dull", "boring", "slow", "awful", "worst", "hated", "poor", "weak")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
NEUTRAL = (
    "a",
    "the",
    "film",
    "and",
    "i",
    "plot",
    "cast",
    "music",
    "acting",
    "it",
    "was",
    "of",
    "not",
    ".",
    ",",
    "!",
    "##s",
)
WORDS = (*SPECIAL, *POSITIVE, *NEGATIVE, *NEUTRAL)
POSITIONS = 64
_SIZE, _INNER, _HEADS = 16, 32, 2


def weights(labels: int = 2) -> dict[str, np.ndarray]:
    """Return weights under PyTorch's names that tell kind words from harsh ones: dimension 0 carries the verdict."""
    random = np.random.default_rng(5)

    def small(*shape: int) -> np.ndarray:
        return random.normal(0, 0.1, shape).astype(np.float32)

    words, positions = small(len(WORDS), _SIZE), small(POSITIONS, _SIZE)
    words[:, 0], positions[:, 0] = 0, 0
    for polarity, chosen in ((2.0, POSITIVE), (-2.0, NEGATIVE)):
        for word in chosen:
            words[WORDS.index(word), 0] = polarity
    identity = np.eye(_SIZE, dtype=np.float32)
    found = {"embeddings.word_embeddings": words, "embeddings.position_embeddings": positions}
    for part in ("q", "k", "v", "out"):
        kernel = 2 * identity if part in ("v", "out") else 0
        found[f"layer.0.attention.{part}_lin.weight"] = kernel + small(_SIZE, _SIZE) / 4
        found[f"layer.0.attention.{part}_lin.bias"] = small(_SIZE) / 4
    found["layer.0.ffn.lin1.weight"], found["layer.0.ffn.lin1.bias"] = small(_INNER, _SIZE), small(_INNER)
    found["layer.0.ffn.lin2.weight"], found["layer.0.ffn.lin2.bias"] = small(_SIZE, _INNER), small(_SIZE)
    for norm in ("embeddings.LayerNorm", "layer.0.sa_layer_norm", "layer.0.output_layer_norm"):
        found[f"{norm}.weight"], found[f"{norm}.bias"] = np.ones(_SIZE, np.float32), small(_SIZE)
    verdict = np.zeros((_SIZE, _SIZE), np.float32)
    verdict[0, 0], verdict[1, 0] = -1, 1
    found["pre_classifier.weight"], found["pre_classifier.bias"] = verdict, np.zeros(_SIZE, np.float32)
    head = np.zeros((labels, _SIZE), np.float32)
    head[0, 0], head[1, 1] = 2, 2
    found["classifier.weight"], found["classifier.bias"] = head, np.zeros(labels, np.float32)
    return found


def manifest(loader: str) -> Manifest:
    """Describe the model; windows of 16 tokens, so that short texts have several."""
    return Manifest(
        task="text-classification",
        labels=LABELS,
        loader=loader,
        preprocessing=Preprocessing(max_tokens=16, overlap=4, max_windows=3),
        temperature=1.5,
    )


def write_tokenizer(folder: Path) -> None:
    """Write the tokenizer of the forty words."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS), "utf-8")
    wordpiece_tokenizer(vocabulary).save(str(folder / "tokenizer.json"))
    vocabulary.unlink()


def tiny_onnx(folder: Path) -> Path:
    """Write ``model.onnx``, its tokenizer and manifest; needs no TensorFlow."""
    write_tokenizer(folder)
    write_graph(Classifier(weights(), _HEADS, 1), folder / "model.onnx")
    return write_text_golden(folder, manifest("onnx"), "onnx")


def tiny_config(**settings: Any) -> Any:
    """Return transformers' configuration of the same model."""
    from transformers import DistilBertConfig

    return DistilBertConfig(
        vocab_size=len(WORDS),
        max_position_embeddings=POSITIONS,
        n_layers=1,
        n_heads=_HEADS,
        dim=_SIZE,
        hidden_dim=_INNER,
        dropout=0.0,
        **{"id2label": dict(enumerate(LABELS)), "label2id": {"negative": 0, "positive": 1}, **settings},
    )


def tiny_tf_model(**settings: Any) -> Any:
    """Return a ``TFDistilBertForSequenceClassification`` with these weights."""
    from app.core.tensorflow_runtime import import_tensorflow

    import_tensorflow()
    from transformers import TFDistilBertForSequenceClassification

    model = TFDistilBertForSequenceClassification(tiny_config(**settings))
    model(np.ones((1, 8), dtype=np.int32))
    values = weights(model.config.num_labels)
    heads = {name: values.pop(name) for name in list(values) if "classifier" in name}
    assign(model, values)
    for layer in (model.pre_classifier, model.classifier):
        kernel, bias = (heads[f"{layer.name}.{kind}"] for kind in ("weight", "bias"))
        layer.set_weights([kernel.T, bias])
    return model


def tiny_distilbert_tf(folder: Path) -> Path:
    """Write a TensorFlow checkpoint with the answers of the ONNX graph as its golden examples."""
    from app.services.artifact import read_manifest

    reference = read_manifest(tiny_onnx(folder))
    assert reference is not None
    (folder / "model.onnx").unlink()
    tiny_tf_model().save_pretrained(str(folder))
    assert json.loads((folder / "config.json").read_text("utf-8"))["architectures"]
    manifest("transformers").model_copy(update={"golden": reference.golden}).write(folder)
    return folder
