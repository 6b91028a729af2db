"""Versions of the embedded model: as it is, better described, broken, and worse but at peace with itself."""

import json
import math
from pathlib import Path
from typing import Any

from app.core.config import EMBEDDED_MODEL_DIR
from app.services.artifact import MANIFEST_NAME, Golden, GoldenExample, read_manifest
from ml.acceptance import load_sentences
from ml.evaluate import load_model

Files = dict[str, bytes]
WORSE_ACCURACY = 0.92
"""Below the model in use, above the floor that the build is told: only the comparison can tell."""


def embedded() -> Files:
    """The embedded model's files."""
    return {path.name: path.read_bytes() for path in sorted(EMBEDDED_MODEL_DIR.iterdir()) if path.is_file()}


def described(note: str) -> Files:
    """The same model with another note in its manifest: another digest, the same answers."""
    return _with_manifest(embedded(), training={"note": note})


def with_broken_golden() -> Files:
    """The same model, but its second golden example expects the other label."""
    files = embedded()
    golden = json.loads(files[MANIFEST_NAME])["golden"]
    example = golden["examples"][1]
    example["label"] = "negative" if example["label"] == "positive" else "positive"
    return _with_manifest(files, golden=golden)


def _with_manifest(files: Files, **changes: Any) -> Files:
    content = json.loads(files[MANIFEST_NAME]) | changes
    return files | {MANIFEST_NAME: json.dumps(content, indent=2).encode()}


def worse(folder: Path) -> Files:
    """The embedded model leaning to negative, its golden examples measured anew: consistent, and worse by its lean."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    for name, content in embedded().items():
        (folder / name).write_bytes(content)
    manifest = read_manifest(folder)
    assert manifest is not None
    graph = onnx.load(folder / "model.onnx")
    (bias,) = (item for item in graph.graph.initializer if item.name == "classifier.bias")
    lean = np.array([_lean(folder, manifest.temperature), 0], dtype=np.float32)
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + lean, bias.name))
    onnx.save(graph, folder / "model.onnx")
    predictor, _ = load_model(folder)
    inputs = [example.input for example in manifest.golden.examples]
    outputs = predictor.predict(predictor.prepare(inputs))
    examples = tuple(
        GoldenExample(input=text, label=output.label, confidences=output.confidences)
        for text, output in zip(inputs, outputs, strict=True)
    )
    golden = Golden(tolerance=manifest.golden.tolerance, examples=examples)
    manifest.model_copy(update={"golden": golden}).write(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def _lean(folder: Path, temperature: float) -> float:
    """How much a logit must be raised so that `WORSE_ACCURACY` of our sentences are answered right.

    Windows are averaged by their logits, so that a lean of the last layer is one of the whole answer.
    """
    predictor, _ = load_model(folder)
    margins = []
    for text in load_sentences():
        (output,) = predictor.predict(predictor.prepare([text.text]))
        kind = output.confidences["positive"]
        margins.append((temperature * (math.log(kind) - math.log1p(-kind)), text.label))
    for lean in sorted(margin for margin, label in margins if margin > 0 and label == "positive"):
        right = sum((margin - lean > 1e-3) == (label == "positive") for margin, label in margins)
        if right / len(margins) <= WORSE_ACCURACY:
            return lean + 1e-3
    raise AssertionError(f"no lean makes the accuracy {WORSE_ACCURACY}")
