"""What the tiny models share."""

from pathlib import Path
from typing import Any

from app.core.config import Settings, load_settings
from app.services.artifact import Golden, GoldenExample, Manifest, ModelFiles, ModelVersion, read_manifest
from app.services.predictor import load_predictor

GOLDEN_TEXTS = (
    "A warm and funny film.",
    "Dull, slow and boring.",
    "I loved the music and the wonderful cast!",
    "A bad plot and awful acting.",
)


def model_files(path: Path) -> ModelFiles:
    """Describe a folder or file as the local source does; the digest is a constant, to save time."""
    manifest = read_manifest(path) if path.is_dir() else None
    return ModelFiles(
        path, ModelVersion("tiny", "v0", "0" * 32), "local", manifest or Manifest(), manifest is not None
    )


def settings_for(loader: str = "auto", **overrides: Any) -> Settings:
    """Return settings that no file of the machine changes."""
    return load_settings(_env_file=None, model_loader=loader, inference_threads=1, **overrides)


def write_text_golden(folder: Path, manifest: Manifest, loader: str, tolerance: float = 1e-5) -> Path:
    """Write the manifest with golden examples that are what the model says now."""
    manifest.write(folder)
    predictor = load_predictor(model_files(folder), settings_for(loader))
    outputs = predictor.predict(predictor.prepare(GOLDEN_TEXTS))
    examples = tuple(
        GoldenExample(input=text, label=output.label, confidences=output.confidences)
        for text, output in zip(GOLDEN_TEXTS, outputs, strict=True)
    )
    golden = Golden(tolerance=tolerance, examples=examples)
    manifest.model_copy(update={"golden": golden}).write(folder)
    return folder
