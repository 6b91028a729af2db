"""From a TensorFlow checkpoint to a servable artifact: ONNX, int8, parity, golden examples, manifest, card."""

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.core.tensorflow_runtime import import_tensorflow
from app.services.artifact import MANIFEST_NAME, Golden, GoldenExample, Manifest, Preprocessing
from app.services.text import EncodedText, TextEncoder, WindowPolicy
from ml import dataset, quantize
from ml.base_models import load_checkpoint
from ml.card import write_card
from ml.metrics import classification_metrics, fit_temperature, probabilities
from ml.onnx_graph import read_classifier, write_graph
from ml.reference import profile

LARGEST_PARITY_GAP = 1e-3
"""Between TensorFlow's and ONNX's fp32 logits; rounding gives about 1e-5."""

LARGEST_ACCURACY_LOSS = 0.003
"""That int8 may cost against fp32 on the validation texts."""

LARGEST_FLIPS = 0.02
"""Share of labels that int8 may change."""

_GOLDEN_TOLERANCE = {"fp32": 1e-5, "int8": 0.03}


class ExportError(RuntimeError):
    """The exported model does not answer as the trained one; nothing was written."""


@dataclass(frozen=True)
class Export:
    """What `export_model` wrote.

    Attributes:
        folder: the artifact.
        manifest: its description.
        table: the graphs that were measured, fp32 first.
        parity_gap: largest difference between TensorFlow's and ONNX's fp32 logits.
    """

    folder: Path
    manifest: Manifest
    table: tuple[quantize.Measured, ...]
    parity_gap: float


def export_model(
    checkpoint: Path,
    folder: Path,
    validation: dataset.Dataset,
    golden_inputs: Sequence[str],
    training: dict[str, Any],
    *,
    precision: str = "int8",
    parity_texts: int = 64,
    sample: int = 400,
    windows: WindowPolicy | None = None,
    progress: Callable[[str], None] = print,
) -> Export:
    """Write a servable folder from a DistilBERT checkpoint.

    Args:
        checkpoint: a Hugging Face folder with TensorFlow weights and a ``tokenizer.json``.
        folder: where the artifact goes; replaced only when everything has passed.
        validation: labelled texts that the model was not trained on.
        golden_inputs: texts of our own whose answers are recorded.
        training: facts about the training for the manifest.
        precision: ``int8`` or ``fp32``.
        parity_texts: texts that TensorFlow and ONNX are compared on.
        sample: texts that the ways to quantise are compared on.
        windows: how long texts are read.
        progress: takes a line now and then.

    Raises:
        ExportError: parity fails, int8 costs too much, or `folder` holds something that is no model.
    """
    if folder.exists() and not (folder / MANIFEST_NAME).is_file() and any(folder.iterdir()):
        raise ExportError(f"{folder} is not empty and holds no model: it is not replaced")
    windows = windows or WindowPolicy()
    encoder = TextEncoder.from_file(checkpoint / "tokenizer.json", windows)
    with tempfile.TemporaryDirectory(prefix="export-", dir=folder.parent) as scratch:
        fp32 = Path(scratch) / "fp32.onnx"
        gap = _write_and_compare(checkpoint, fp32, encoder, validation.sample(parity_texts, 1).texts)
        progress(f"TensorFlow and ONNX fp32 logits differ by at most {gap:.1e} on {parity_texts} texts")
        table, chosen, recipe = _choose(
            fp32, Path(scratch), encoder, validation.sample(sample, 2), precision, progress
        )
        encoded = encoder.encode(validation.texts)
        session = quantize.open_session(chosen)
        progress(f"scoring {len(encoded)} validation texts")
        logits = quantize.session_logits(session, encoded)
        temperature = fit_temperature(validation.labels, logits)
        manifest = Manifest(
            task="text-classification",
            labels=dataset.LABELS,
            loader="onnx",
            preprocessing=Preprocessing(
                max_tokens=windows.max_tokens, overlap=windows.overlap, max_windows=windows.max_windows
            ),
            temperature=temperature,
            training=training
            | {
                "precision": precision,
                "chosen": recipe,
                "quantisation": [entry.to_dict() for entry in table],
            },
            metrics={
                "validation": classification_metrics(validation.labels, logits, temperature)
                | {"rows": len(validation), "digest": validation.digest()}
            },
            golden=_golden(session, encoder, golden_inputs, temperature, _GOLDEN_TOLERANCE[precision]),
            reference=profile(validation.name, dataset.LABELS, encoded, probabilities(logits, temperature)),
        )
        built = Path(scratch) / "artifact"
        built.mkdir()
        shutil.copyfile(chosen, built / "model.onnx")
        shutil.copyfile(checkpoint / "tokenizer.json", built / "tokenizer.json")
        manifest.write(built)
        write_card(built, manifest)
        if folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(built, folder)
    return Export(folder, manifest, tuple(table), gap)


def _write_and_compare(checkpoint: Path, path: Path, encoder: TextEncoder, texts: Sequence[str]) -> float:
    import_tensorflow()
    from ml.train import predict_logits

    model = load_checkpoint(checkpoint)
    write_graph(read_classifier(model), path)
    ours = quantize.session_logits(quantize.open_session(path), encoder.encode(texts))
    gap = float(np.abs(ours - predict_logits(model, encoder, texts)).max())
    if not gap <= LARGEST_PARITY_GAP:
        raise ExportError(
            f"ONNX and TensorFlow logits differ by {gap:.2e}, at most {LARGEST_PARITY_GAP:.0e} is rounding"
        )
    return gap


def _choose(
    fp32: Path,
    scratch: Path,
    encoder: TextEncoder,
    sample: dataset.Dataset,
    precision: str,
    progress: Callable[[str], None],
) -> tuple[list[quantize.Measured], Path, str]:
    texts: list[EncodedText] = encoder.encode(sample.texts)
    reference, logits = quantize.measure(fp32, "fp32", True, texts, sample.labels, None)
    table = [reference]
    if precision == "fp32":
        return table, fp32, "fp32"
    for index, recipe in enumerate(quantize.RECIPES):
        target = scratch / f"{index}.onnx"
        quantize.quantize(fp32, target, recipe)
        measured, _ = quantize.measure(target, recipe.name, recipe.portable, texts, sample.labels, logits)
        table.append(measured)
        progress(
            f"{recipe.name:36} {measured.megabytes:5.1f} MB  accuracy {measured.accuracy:.4f}"
            f"  flips {measured.flips:.4f}  shift {measured.mean_shift:.4f} (largest {measured.largest_shift:.3f})"
            f"  {measured.tokens_per_second:,.0f} tokens/s"
        )
    try:
        best = quantize.choose(table, LARGEST_ACCURACY_LOSS)
    except ValueError as error:
        raise ExportError(str(error)) from error
    if best.flips > LARGEST_FLIPS:
        raise ExportError(
            f"{best.recipe} changes {best.flips:.1%} of the labels, at most {LARGEST_FLIPS:.0%} may change"
        )
    progress(f"chosen: {best.recipe}")
    return table, scratch / f"{table.index(best) - 1}.onnx", best.recipe


def _golden(
    session: Any, encoder: TextEncoder, inputs: Sequence[str], temperature: float, tolerance: float
) -> Golden:
    answers = probabilities(quantize.session_logits(session, encoder.encode(inputs)), temperature)
    # Near the border rounding decides the label, and a golden example must not depend on the processor.
    clear = [
        (text, answer)
        for text, answer in zip(inputs, answers, strict=True)
        if abs(answer[1] - 0.5) > 2 * tolerance
    ]
    if len(clear) < len(inputs) / 2:
        raise ExportError(
            f"only {len(clear)} of {len(inputs)} golden inputs get a clear answer: the model has learned little"
        )
    return Golden(
        tolerance=tolerance,
        examples=tuple(
            GoldenExample(
                input=text,
                label=dataset.LABELS[int(answer.argmax())],
                confidences={
                    label: round(float(value), 6) for label, value in zip(dataset.LABELS, answer, strict=True)
                },
            )
            for text, answer in clear
        ),
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``python -m ml export``."""
    parser.add_argument(
        "run", type=Path, help="the folder of a training run (holds best/, config.json, result.json)"
    )
    parser.add_argument("target", type=Path, help="the artifact's folder")
    parser.add_argument(
        "--validation", type=Path, help="labelled texts; the run's own validation texts by default"
    )
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    parser.add_argument("--sample", type=int, default=400, help="texts that ways to quantise are compared on")


def run(arguments: argparse.Namespace) -> int:
    """Run ``python -m ml export``."""
    from ml.acceptance import golden_inputs

    source: Path = arguments.run
    facts = {"run": json.loads((source / "config.json").read_text("utf-8"))}
    if (source / "result.json").is_file():
        facts["result"] = json.loads((source / "result.json").read_text("utf-8"))
    validation = dataset.load(arguments.validation or source / "validation.parquet")
    arguments.target.parent.mkdir(parents=True, exist_ok=True)
    result = export_model(
        source / "best",
        arguments.target,
        validation,
        golden_inputs(),
        facts,
        precision=arguments.precision,
        sample=arguments.sample,
        windows=WindowPolicy.from_dict(facts["run"]["config"]["windows"]),
    )
    scores = result.manifest.metrics["validation"]
    print(
        f"{result.folder}: accuracy {scores['accuracy']:.4f}, log loss {scores['log_loss']:.4f}, "
        f"calibration error {scores['calibration_error']:.4f} on {scores['rows']} validation texts"
    )
    return 0
