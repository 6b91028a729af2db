"""Small made-up data and models: sentences from word lists of our own, and networks with random weights."""

import json
import random
from itertools import product
from math import erf
from pathlib import Path
from typing import Any

import numpy as np

from ml.dataset import Dataset

GOOD = ("wonderful", "superb", "charming", "perfect", "funny", "excellent", "thrilling", "lovely")
BAD = ("dull", "boring", "stupid", "horrible", "tedious", "terrible", "noisy", "lazy")
THINGS = ("film", "plot", "script", "cast", "ending", "music", "story", "scene")
_SHAPES = (
    "The {thing} is {word}.",
    "What a {word} {thing}!",
    "I found the {thing} {word}, and the rest of the film was {other}.",
    "A {word} {thing} and a {other} ending",
    "my friends say: {word} {thing}, {other} story",
)
_FILL = ("the", "a", "is", "what", "i", "found", "and", "rest", "of", "was", "my", "friends", "say")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = tuple(dict.fromkeys((*SPECIAL, *".,!:;?", *_FILL, *THINGS, *GOOD, *BAD)))


def sentences(count: int, seed: int = 0, films: int = 12) -> Dataset:
    """Return `count` different labelled sentences about `films` films, positive and negative in turn."""
    generator = random.Random(seed)
    texts: dict[str, int] = {}
    while len(texts) < count:
        label = len(texts) % 2
        words = GOOD if label else BAD
        text = generator.choice(_SHAPES).format(
            thing=generator.choice(THINGS), word=generator.choice(words), other=generator.choice(words)
        )
        texts.setdefault(text, label)
    return Dataset(
        name="made",
        texts=tuple(texts),
        labels=np.array(list(texts.values()), dtype=np.int64),
        films=tuple(f"tt{index // 2 % films:07}" for index in range(count)),
    )


def golden_texts() -> tuple[str, ...]:
    """Return eight clear verdicts in the words of `sentences`."""
    return tuple(
        f"The {thing} is {word}, {word} and {word}!"
        for words, thing in product((GOOD[:2], BAD[:2]), THINGS[:2])
        for word in words
    )


def bert_folder(folder: Path, *, words: tuple[str, ...] = VOCABULARY, layers: int = 1, **config: Any) -> Path:
    """Write a BERT checkpoint with random weights, 32 dimensions and 2 heads, as the hub lays one out."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "model_type": "bert",
        "vocab_size": len(words),
        "max_position_embeddings": 512,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        **config,
    }
    (folder / "config.json").write_text(json.dumps(settings), "utf-8")
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", "utf-8")
    save_file(bert_weights(len(words), layers), folder / "model.safetensors")
    return folder


def bert_weights(words: int, layers: int) -> dict[str, np.ndarray]:
    """Return random weights under BERT's names, as float32, the pooler included."""
    generator = np.random.default_rng(5)

    def draw(*shape: int) -> np.ndarray:
        return generator.normal(0, 0.1, shape).astype(np.float32)

    tensors = {
        "embeddings.word_embeddings.weight": draw(words, 32),
        "embeddings.position_embeddings.weight": draw(512, 32) / 10,
        "embeddings.token_type_embeddings.weight": draw(2, 32),
        "embeddings.LayerNorm.weight": 1 + draw(32),
        "embeddings.LayerNorm.bias": draw(32),
        "pooler.dense.weight": draw(32, 32),
        "pooler.dense.bias": draw(32),
    }
    for index in range(layers):
        layer = f"encoder.layer.{index}"
        for name, out, into in (
            ("attention.self.query", 32, 32),
            ("attention.self.key", 32, 32),
            ("attention.self.value", 32, 32),
            ("attention.output.dense", 32, 32),
            ("intermediate.dense", 64, 32),
            ("output.dense", 32, 64),
        ):
            tensors |= {f"{layer}.{name}.weight": draw(out, into), f"{layer}.{name}.bias": draw(out)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            tensors |= {f"{layer}.{name}.weight": 1 + draw(32), f"{layer}.{name}.bias": draw(32)}
    return tensors


def distilbert_weights(words: int, layers: int, seed: int = 5) -> dict[str, np.ndarray]:
    """Return random weights of a classifier under the names below ``distilbert.``, with the head's."""
    generator = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return generator.normal(0, 0.3, shape).astype(np.float32)

    weights = {
        "embeddings.word_embeddings": draw(words, 32),
        "embeddings.position_embeddings": draw(512, 32) / 10,
    }
    norms, matrices = ["embeddings.LayerNorm"], [("pre_classifier", 32, 32), ("classifier", 2, 32)]
    for index in range(layers):
        layer = f"layer.{index}"
        norms += [f"{layer}.sa_layer_norm", f"{layer}.output_layer_norm"]
        matrices += [(f"{layer}.attention.{part}_lin", 32, 32) for part in ("q", "k", "v", "out")]
        matrices += [(f"{layer}.ffn.lin1", 64, 32), (f"{layer}.ffn.lin2", 32, 64)]
    for name in norms:
        weights |= {f"{name}.weight": 1 + draw(32), f"{name}.bias": draw(32)}
    for name, out, into in matrices:
        weights |= {f"{name}.weight": draw(out, into), f"{name}.bias": draw(out)}
    return weights


def transformer_layer(
    hidden: np.ndarray, mask: np.ndarray, part: dict[str, np.ndarray], heads: int
) -> np.ndarray:
    """Compute one encoder layer as the paper writes it; `part` has q, k, v, o, inner, outer and two norms."""
    batch, tokens, width = hidden.shape

    def linear(value: np.ndarray, name: str) -> np.ndarray:
        return value @ part[f"{name}.weight"].T + part[f"{name}.bias"]

    def split(value: np.ndarray) -> np.ndarray:
        return value.reshape(batch, tokens, heads, width // heads).transpose(0, 2, 1, 3)

    query, key, value = (split(linear(hidden, name)) for name in "qkv")
    scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(width // heads)
    scores = np.where(mask[:, None, None, :] == 1, scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    seen = (shares @ value).transpose(0, 2, 1, 3).reshape(batch, tokens, width)
    hidden = layer_norm(hidden + linear(seen, "o"), part["norm1.weight"], part["norm1.bias"])
    inner = linear(hidden, "inner")
    inner = inner * 0.5 * (1 + np.vectorize(erf)(inner / np.sqrt(2)))
    return layer_norm(hidden + linear(inner, "outer"), part["norm2.weight"], part["norm2.bias"])


def layer_norm(value: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Normalise over the last axis."""
    centred = value - value.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12) * scale + shift


def distilbert_logits(
    weights: dict[str, np.ndarray], layers: int, heads: int, ids: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Compute a DistilBERT classifier's logits in float64, from its definition."""
    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    hidden = (
        exact["embeddings.word_embeddings"][ids] + exact["embeddings.position_embeddings"][: ids.shape[1]]
    )
    hidden = layer_norm(hidden, exact["embeddings.LayerNorm.weight"], exact["embeddings.LayerNorm.bias"])
    roles = {
        "q": "attention.q_lin",
        "k": "attention.k_lin",
        "v": "attention.v_lin",
        "o": "attention.out_lin",
        "norm1": "sa_layer_norm",
        "inner": "ffn.lin1",
        "outer": "ffn.lin2",
        "norm2": "output_layer_norm",
    }
    for index in range(layers):
        hidden = transformer_layer(hidden, mask, _roles(exact, f"layer.{index}", roles), heads)
    first = hidden[:, 0] @ exact["pre_classifier.weight"].T + exact["pre_classifier.bias"]
    return np.asarray(np.maximum(first, 0) @ exact["classifier.weight"].T + exact["classifier.bias"])


def bert_hidden(
    weights: dict[str, np.ndarray], layers: int, heads: int, ids: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Compute what a BERT encoder makes of texts of token type 0, in float64, from its definition."""
    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    hidden = (
        exact["embeddings.word_embeddings.weight"][ids]
        + exact["embeddings.token_type_embeddings.weight"][0]
        + exact["embeddings.position_embeddings.weight"][: ids.shape[1]]
    )
    hidden = layer_norm(hidden, exact["embeddings.LayerNorm.weight"], exact["embeddings.LayerNorm.bias"])
    roles = {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "o": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "inner": "intermediate.dense",
        "outer": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for index in range(layers):
        hidden = transformer_layer(hidden, mask, _roles(exact, f"encoder.layer.{index}", roles), heads)
    return hidden


def _roles(weights: dict[str, np.ndarray], layer: str, roles: dict[str, str]) -> dict[str, np.ndarray]:
    return {
        f"{role}.{kind}": weights[f"{layer}.{name}.{kind}"]
        for role, name in roles.items()
        for kind in ("weight", "bias")
    }
