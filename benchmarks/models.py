"""The models that are measured: the embedded one, a DistilBERT of full size with random weights, a small pipeline.

Made once and kept in the cache; the speed of a graph does not depend on what its weights say.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from app.core.config import EMBEDDED_MODEL_DIR
from app.services.artifact import Manifest, Preprocessing, model_digest

ROOT = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("BENCHMARKS_CACHE", ROOT / ".benchmarks")).resolve()
MODELS = ("embedded", "full", "pipeline")
RECIPE = "int8 per channel, 7 bit"
"""How the embedded model was quantised; see its card."""
_LABELS = ("negative", "positive")
_LAYERS, _HEADS, _WIDTH, _INNER, _WORDS, _POSITIONS = 6, 12, 768, 3072, 30_522, 512


def folder_of(model: str) -> Path:
    """Return the servable folder of one of `MODELS`, made if need be."""
    if model == "embedded":
        return EMBEDDED_MODEL_DIR
    return full_size("int8") if model == "full" else pipeline()


def variables(model: str) -> dict[str, str]:
    """Return what a server needs to serve one of `MODELS`."""
    if model == "embedded":
        return {"MODEL_SOURCE": "embedded"}
    folder = folder_of(model)
    return {
        "MODEL_SOURCE": "local",
        "LOCAL_MODEL_DIR": str(folder.parent),
        "LOCAL_MODEL_NAME": folder.name,
        "MODEL_LOADER": "joblib" if model == "pipeline" else "onnx",
        "MODEL_DIGEST": model_digest(folder),
    }


def full_size(precision: str) -> Path:
    """Return a folder with a 6×768 DistilBERT classifier of random weights, ``fp32`` or ``int8``."""
    from ml.quantize import RECIPES, quantize

    folder = CACHE / "models" / f"full-{precision}"
    if (folder / "marquee.json").is_file():
        return folder
    _say(f"writing a 6×768 model of random weights as {precision}")
    if precision == "int8":
        source = full_size("fp32") / "model.onnx"
        folder.mkdir(parents=True, exist_ok=True)
        quantize(source, folder / "model.onnx", next(recipe for recipe in RECIPES if recipe.name == RECIPE))
    else:
        from ml.onnx_graph import write_graph

        folder.mkdir(parents=True, exist_ok=True)
        write_graph(full_size_classifier(), folder / "model.onnx")
    shutil.copyfile(EMBEDDED_MODEL_DIR / "tokenizer.json", folder / "tokenizer.json")
    _describe("onnx").write(folder)
    return folder


def full_size_classifier() -> Any:
    """Return random weights in the shapes of ``distilbert-base``."""
    from ml.onnx_graph import Classifier

    generator = np.random.default_rng(7)

    def small(*shape: int) -> np.ndarray:
        return generator.normal(0, 0.02, shape).astype(np.float32)

    found = {
        "embeddings.word_embeddings": small(_WORDS, _WIDTH),
        "embeddings.position_embeddings": small(_POSITIONS, _WIDTH),
    }

    def linear(name: str, outputs: int, inputs: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = small(outputs, inputs), small(outputs)

    def norm(name: str) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = np.ones(_WIDTH, np.float32), small(_WIDTH)

    norm("embeddings.LayerNorm")
    for index in range(_LAYERS):
        layer = f"layer.{index}"
        for part in ("q", "k", "v", "out"):
            linear(f"{layer}.attention.{part}_lin", _WIDTH, _WIDTH)
        norm(f"{layer}.sa_layer_norm")
        linear(f"{layer}.ffn.lin1", _INNER, _WIDTH)
        linear(f"{layer}.ffn.lin2", _WIDTH, _INNER)
        norm(f"{layer}.output_layer_norm")
    linear("pre_classifier", _WIDTH, _WIDTH)
    linear("classifier", len(_LABELS), _WIDTH)
    return Classifier(found, _HEADS, _LAYERS)


def pipeline() -> Path:
    """Return a folder with a TF-IDF and logistic regression, fitted on drawn texts with about 9,000 terms."""
    folder = CACHE / "models" / "pipeline"
    if (folder / "marquee.json").is_file():
        return folder
    import joblib
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    from benchmarks.texts import draw, lengths

    _say("fitting a TF-IDF pipeline")
    written = draw(lengths("imdb", 2000), 5)
    half = len(written) // 2
    chosen = [text + " good" * 3 for text in written[:half]] + [text + " bad" * 3 for text in written[half:]]
    fitted = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10, max_iter=500))
    fitted.fit(chosen, [1] * half + [0] * (len(written) - half))
    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(fitted, folder / "model.pkl")
    _describe("joblib").write(folder)
    return folder


def _describe(loader: str) -> Manifest:
    return Manifest(
        task="text-classification",
        labels=_LABELS,
        loader=loader,
        preprocessing=Preprocessing(max_tokens=512, overlap=64, max_windows=8),
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr)
