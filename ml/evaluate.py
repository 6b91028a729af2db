"""How good a servable model is, measured through the server's own predictor."""

import argparse
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from app.services.artifact import Manifest, ModelFiles, ModelVersion, model_digest, read_manifest
from app.services.predictor import Predictor
from ml import dataset
from ml.metrics import classification_metrics, confusion

LENGTH_EDGES = (0, 128, 256, 512, 1024, 1 << 30)
CONFIDENCE_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0 + 1e-9)


@dataclass(frozen=True)
class Answers:
    """A model's answers to labelled texts.

    Attributes:
        data: the texts.
        probabilities: calibrated, shape ``(n, 2)``.
        tokens: of each text, shape ``(n,)``.
        windows: of each text, shape ``(n,)``.
        truncated: whether a part of the text was not read, shape ``(n,)``.
    """

    data: dataset.Dataset
    probabilities: np.ndarray
    tokens: np.ndarray
    windows: np.ndarray
    truncated: np.ndarray

    @property
    def logits(self) -> np.ndarray:
        """Log probabilities: logits up to a constant that softmax takes out again."""
        return np.asarray(np.log(np.clip(self.probabilities, 1e-12, 1.0)))


def load_model(
    folder: Path, loader: str = "auto", threads: int | None = None
) -> tuple[Predictor, ModelFiles]:
    """Load a model folder as the server would, with its manifest.

    Raises:
        StartupError: the folder is no model, in the words that the server would use.
    """
    from app.core.config import load_settings
    from app.services.predictor import load_predictor

    manifest = read_manifest(folder)
    files = ModelFiles(
        path=folder,
        model=ModelVersion(folder.name, "local", model_digest(folder)),
        source="local",
        manifest=manifest or Manifest(),
        has_manifest=manifest is not None,
    )
    overrides: dict[str, Any] = {"model_loader": loader, "_env_file": None}
    if threads:
        overrides["inference_threads"] = threads
    return load_predictor(files, load_settings(**overrides)), files


def answer(
    predictor: Predictor,
    data: dataset.Dataset,
    cache: Path | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Answers:
    """Ask the model about every text, one at a time as the server does for long ones.

    Args:
        predictor: a text classifier with the labels negative and positive.
        data: what to ask.
        cache: an ``.npz`` file that answers are kept in, so that an interrupted evaluation goes on where it was.
        progress: called with the number of texts answered since the last call.
    """
    count = len(data)
    done, values = 0, np.zeros((count, 5))
    if cache is not None and cache.is_file():
        with np.load(cache) as kept:
            if kept["values"].shape == values.shape:
                done, values = int(kept["done"]), kept["values"]
        if progress:
            progress(done)
    for row in range(done, count):
        (output,) = predictor.predict(predictor.prepare([data.texts[row]]))
        values[row] = (
            *(output.confidences[label] for label in dataset.LABELS),
            output.tokens,
            output.windows,
            output.truncated,
        )
        if progress:
            progress(1)
        if cache is not None and ((row + 1) % 500 == 0 or row + 1 == count):
            partial = cache.with_suffix(".partial.npz")
            np.savez(partial, done=row + 1, values=values)
            partial.replace(cache)  # A stop while it is written leaves the last one.
    return Answers(
        data, values[:, :2], values[:, 2].astype(int), values[:, 3].astype(int), values[:, 4].astype(bool)
    )


def headline(answers: Answers, temperature: float) -> dict[str, float]:
    """Return the metrics with calibrated probabilities, and the calibration error without the temperature."""
    raw = classification_metrics(answers.data.labels, answers.logits * temperature)
    return classification_metrics(answers.data.labels, answers.logits) | {
        "calibration_error_unscaled": raw["calibration_error"],
        "log_loss_unscaled": raw["log_loss"],
    }


def by_range(answers: Answers, values: np.ndarray, edges: Sequence[float]) -> list[dict[str, float]]:
    """Return rows and accuracy for each half-open range of `values`."""
    right = answers.probabilities.argmax(axis=1) == answers.data.labels
    table = []
    for low, high in pairwise(edges):
        inside = (values >= low) & (values < high)
        if inside.any():
            table.append(
                {"from": low, "to": high, "rows": int(inside.sum()), "accuracy": float(right[inside].mean())}
            )
    return table


def slices(answers: Answers) -> dict[str, list[dict[str, float]]]:
    """Return accuracy by length in tokens, by confidence, and by rating where ratings are known."""
    tables = {
        "tokens": by_range(answers, answers.tokens, LENGTH_EDGES),
        "confidence": by_range(answers, answers.probabilities.max(axis=1), CONFIDENCE_EDGES),
    }
    if answers.data.ratings:
        ratings = np.array(answers.data.ratings)
        known = sorted(set(answers.data.ratings))
        tables["rating"] = by_range(answers, ratings, [*known, known[-1] + 1])
    return tables


def evaluate(
    predictor: Predictor, data: dataset.Dataset, temperature: float, **options: Any
) -> tuple[Answers, dict[str, Any]]:
    """Ask, and put all figures about one data set together."""
    answers = answer(predictor, data, **options)
    report = {
        "data": data.name,
        "digest": data.digest(),
        "rows": len(data),
        "read_whole": float((~answers.truncated).mean()),
        "metrics": headline(answers, temperature),
        "confusion": confusion(data.labels, answers.logits),
        "slices": slices(answers),
    }
    return answers, report


def table_of(reports: Iterable[dict[str, Any]]) -> str:
    """Return the headline figures as a Markdown table, one row a data set."""
    lines = [
        "| data | rows | accuracy | F1 | ROC AUC | log loss | calibration error | before scaling |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for report in reports:
        scores = report["metrics"]
        area = f"{scores['roc_auc']:.4f}" if "roc_auc" in scores else "one class"
        lines.append(
            f"| {report['data']} | {report['rows']:,} | {scores['accuracy']:.2%} | {scores['f1']:.4f} | "
            f"{area} | {scores['log_loss']:.4f} | {scores['calibration_error']:.4f} | "
            f"{scores['calibration_error_unscaled']:.4f} |"
        )
    return "\n".join(lines)


def slice_tables(report: dict[str, Any]) -> str:
    """Return accuracy by slice as Markdown."""
    parts = []
    for name, rows in report["slices"].items():
        parts.append(f"\n| {name} | rows | accuracy |\n|---|---:|---:|")
        for row in rows:
            upper = "" if row["to"] > 1e6 else f"{row['to']:g}"
            label = (
                f"{row['from']:g}"
                if name == "rating"
                else f"{row['from']:g} to {upper}"
                if upper
                else f"{row['from']:g} up"
            )
            parts.append(f"| {label} | {row['rows']:,} | {row['accuracy']:.2%} |")
    return "\n".join(parts)


def own_slices(predictor: Predictor) -> dict[str, dict[str, float]]:
    """Return accuracy on our own sentences with negation, mixed verdicts and sarcasm."""
    from ml.acceptance import load_slices

    counts: dict[str, list[bool]] = {}
    for text in load_slices():
        (output,) = predictor.predict(predictor.prepare([text.text]))
        counts.setdefault(text.kind, []).append(output.label == text.label)
    return {kind: {"rows": len(right), "accuracy": float(np.mean(right))} for kind, right in counts.items()}


def record(folder: Path, manifest: Manifest, reports: Iterable[dict[str, Any]], own: dict[str, Any]) -> None:
    """Write figures into the manifest in `folder`, and its card anew; the model's digest changes with them."""
    from ml.card import write_card

    found = {
        report["data"]: report["metrics"] | {"rows": report["rows"], "digest": report["digest"]}
        for report in reports
    }
    # What was scored last stands first, after the validation that the model was chosen by.
    chosen = {name: values for name, values in manifest.metrics.items() if name == "validation"}
    metrics = (
        chosen
        | found
        | {k: v for k, v in manifest.metrics.items() if k not in found}
        | {"own_sentences": own}
    )
    updated = manifest.model_copy(update={"metrics": metrics})
    updated.write(folder)
    write_card(folder, updated)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``python -m ml evaluate``."""
    parser.add_argument("model", type=Path, help="a model folder with a marquee.json")
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, help="labelled texts (.parquet, .csv, aclImdb)"
    )
    parser.add_argument(
        "--split", choices=("train", "test"), default="test", help="of an aclImdb folder or archive"
    )
    parser.add_argument(
        "--exclude", type=Path, nargs="*", default=[], help="leave out texts that stand in these files"
    )
    parser.add_argument("--sample", type=int, help="only so many rows of each")
    parser.add_argument("--report", type=Path, help="a folder for report.md, report.json and plots")
    parser.add_argument(
        "--record", action="store_true", help="write the figures into the model's manifest and card"
    )
    parser.add_argument("--threads", type=int, help="cores to use; all by default")


def run(arguments: argparse.Namespace) -> int:
    """Run ``python -m ml evaluate``."""
    from tqdm import tqdm

    predictor, files = load_model(arguments.model, threads=arguments.threads)
    excluded = [dataset.load(path, arguments.split) for path in arguments.exclude]
    reports, first = [], None
    for path in arguments.data:
        data = dataset.load(path, arguments.split)
        if excluded:
            data = dataset.without_texts_of(data, excluded)
        if arguments.sample:
            data = data.sample(arguments.sample, 0)
        cache = None
        if arguments.report:
            arguments.report.mkdir(parents=True, exist_ok=True)
            key = hashlib.sha256(f"{files.model.digest}{data.digest()}".encode()).hexdigest()[:12]
            cache = arguments.report / f"answers-{data.name.replace(':', '-')}-{key}.npz"
        with tqdm(total=len(data), desc=data.name, unit="text") as bar:
            answers, report = evaluate(
                predictor, data, files.manifest.temperature, cache=cache, progress=bar.update
            )
        first = first or answers
        reports.append(report)
    own = own_slices(predictor)
    if arguments.record:
        record(arguments.model, files.manifest, reports, own)
    text = "\n\n".join(
        [
            f"Model {files.path.name}, digest {files.model.digest}, temperature {files.manifest.temperature:.3f}",
            table_of(reports),
            f"Slices of {reports[0]['data']}:\n{slice_tables(reports[0])}",
            "Own sentences:\n\n| kind | rows | accuracy |\n|---|---:|---:|\n"
            + "\n".join(f"| {kind} | {row['rows']} | {row['accuracy']:.2%} |" for kind, row in own.items()),
        ]
    )
    print(text)
    if arguments.report and first is not None:
        from ml.plots import plot_answers

        plot_answers(first, files.manifest.temperature, arguments.report)
        (arguments.report / "report.md").write_text(text + "\n", "utf-8")
        (arguments.report / "report.json").write_text(
            json.dumps({"reports": reports, "own": own}, indent=2), "utf-8"
        )
    return 0
