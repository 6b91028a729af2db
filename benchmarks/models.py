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
LAYERS, HEADS, WORDS, POSITIONS = 6, 12, 30_522, 512


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
    # A pickle runs code, so a server reads only the one whose digest it is told.
    pinned = {"MODEL_DIGEST": model_digest(folder)} if model == "pipeline" else {}
    return pinned | {
        "MODEL_SOURCE": "local",
        "LOCAL_MODEL_DIR": str(folder.parent),
        "LOCAL_MODEL_NAME": folder.name,
        "MODEL_LOADER": "joblib" if model == "pipeline" else "onnx",
        "MODEL_DIGEST": model_digest(folder),
    }


def full_size(precision: str) -> Path:
    """Return a folder with a 6×768 DistilBERT classifier of random weights, ``fp32`` or ``int8``."""
    folder = CACHE / "models" / f"full-{precision}"
    if (folder / "marquee.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(graph(768, precision), folder / "model.onnx")
    shutil.copyfile(EMBEDDED_MODEL_DIR / "tokenizer.json", folder / "tokenizer.json")
    _describe("onnx").write(folder)
    return folder


def graph(width: int, precision: str) -> Path:
    """Return a fused graph of 6 layers of `width` with random weights, ``fp32`` or ``int8`` by `RECIPE`."""
    from ml.onnx_graph import write_graph
    from ml.quantize import RECIPES, quantize

    target = CACHE / "models" / f"{LAYERS}x{width}-{precision}.onnx"
    if target.is_file():
        return target
    _say(f"writing a {LAYERS}×{width} graph of random weights as {precision}")
    target.parent.mkdir(parents=True, exist_ok=True)
    half_done = target.with_suffix(".part")
    if precision == "int8":
        recipe = next(recipe for recipe in RECIPES if recipe.name == RECIPE)
        quantize(graph(width, "fp32"), half_done, recipe)
    else:
        write_graph(random_classifier(width), half_done)
    return half_done.replace(target)


def random_classifier(width: int) -> Any:
    """Return random weights in the shapes of ``distilbert-base`` (768), or of the embedded model (384)."""
    from ml.onnx_graph import Classifier

    generator = np.random.default_rng(7)
    inner = 4 * width

    def small(*shape: int) -> np.ndarray:
        return generator.normal(0, 0.02, shape).astype(np.float32)

    found = {
        "embeddings.word_embeddings": small(WORDS, width),
        "embeddings.position_embeddings": small(POSITIONS, width),
    }

    def linear(name: str, outputs: int, inputs: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = small(outputs, inputs), small(outputs)

    def norm(name: str) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = np.ones(width, np.float32), small(width)

    norm("embeddings.LayerNorm")
    for index in range(LAYERS):
        layer = f"layer.{index}"
        for part in ("q", "k", "v", "out"):
            linear(f"{layer}.attention.{part}_lin", width, width)
        norm(f"{layer}.sa_layer_norm")
        linear(f"{layer}.ffn.lin1", inner, width)
        linear(f"{layer}.ffn.lin2", width, inner)
        norm(f"{layer}.output_layer_norm")
    linear("pre_classifier", width, width)
    linear("classifier", len(_LABELS), width)
    return Classifier(found, HEADS, LAYERS)


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
