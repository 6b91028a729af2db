"""Fine-tune DistilBERT in TensorFlow on labelled texts, from a seed, in fixed shapes, resumable."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.core.tensorflow_runtime import import_tensorflow
from app.services.text import TextEncoder
from ml import base_models, training_data
from ml.batches import fill, plan
from ml.dataset import LABELS, Dataset
from ml.metrics import classification_metrics, confusion, fit_temperature, reliability
from ml.tracking import Tracker
from ml.training_config import TrainingConfig
from ml.training_step import TrainingStep


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why."""


@dataclass(frozen=True)
class TrainingResult:
    """What came out: where the best weights lie and how they scored on the validation split."""

    checkpoint: Path
    steps: int
    seconds: float
    validation: dict[str, float]
    temperature: float


def train(
    config: TrainingConfig,
    training: Dataset,
    validation: Dataset,
    targets: np.ndarray,
    folder: Path,
    tracker: Tracker,
    progress: Callable[[str], None] = print,
) -> TrainingResult:
    """Train, and write a Hugging Face checkpoint with its tokenizer into ``folder/best``.

    A run that was stopped goes on from its last checkpoint; without dropout it ends with the weights of a run
    that was not (dropout draws other masks after a stop). The validation texts are kept beside the checkpoints.

    Args:
        config: all choices.
        training: what is learned from.
        validation: what the best moment is chosen by; of other films than `training`.
        targets: probabilities of the labels for each training text, shape ``(n, 2)``.
        folder: where checkpoints go; a run found there is resumed.
        tracker: where curves go.
        progress: takes a line of text now and then.

    Raises:
        TrainingError: the folder holds a run with another configuration or other data, or the loss was never
            finite.
    """
    tensorflow = import_tensorflow()
    _claim(folder, config, training)
    training_data.save(validation, folder / "validation.parquet")
    base_models.copy_tokenizer(config.base_model, folder / "best")
    encoder = TextEncoder.from_file(folder / "best" / "tokenizer.json", config.windows)
    progress(f"tokenizing {len(training)} texts")
    tokens = encoder.token_ids(training.texts)
    batches = plan([len(ids) for ids in tokens], config.stages, config.tokens_a_batch, config.seed)
    tensorflow.keras.utils.set_random_seed(config.seed)
    model = base_models.load_base_model(
        config.base_model,
        dropout=config.dropout,
        attention_dropout=0.0,
        seq_classif_dropout=config.head_dropout,
    )
    loop = TrainingStep(
        model,
        config,
        len(batches),
        sum(len(batch.rows) for batch in batches) / max(1, len(batches)),
    )
    state = folder / "state"
    manager = tensorflow.train.CheckpointManager(loop.checkpoint, str(state), max_to_keep=2)
    if manager.latest_checkpoint:
        loop.checkpoint.restore(manager.latest_checkpoint)
        progress(f"resumed at step {int(loop.step)} of {len(batches)}")

    started, saved = time.monotonic(), time.monotonic()
    marks = {
        math.ceil(len(batches) * (index + 1) / config.evaluations) for index in range(config.evaluations)
    }
    special = (encoder.start_id, encoder.end_id, encoder.pad_id)
    bad = int(loop.bad_evaluations)
    seen, window_losses = 0, []
    for index in range(int(loop.step), len(batches)):
        if bad >= max(1, config.patience):
            progress(f"stopped early: {bad} evaluations without a better validation loss")
            break
        batch = batches[index]
        loss, norm = loop.run(fill(batch, tokens, targets, config.windows, special))
        seen += batch.size * batch.length
        window_losses.append(loss)
        done = index + 1
        if done % 10 == 0 or done == len(batches):
            rate = seen / (time.monotonic() - started)
            row = {
                "train/loss": float(np.mean(window_losses)),
                "train/gradient_norm": norm,
                "train/tokens_per_second": rate,
            }
            tracker.log({**row, "train/step": done, "train/learning_rate": loop.learning_rate(done)})
            progress(f"step {done}/{len(batches)}  loss {row['train/loss']:.4f}  {rate:,.0f} tokens/s")
            window_losses = []
        if done in marks:
            last = done == len(batches)
            sample = validation if last else validation.sample(config.validation_sample, config.seed)
            logits = predict_logits(model, encoder, sample.texts, config.tokens_a_batch)
            scores = classification_metrics(sample.labels, logits)
            tracker.log(
                {f"validation/{name}": value for name, value in scores.items()} | {"train/step": done}
            )
            progress(f"validation at step {done}: " + "  ".join(f"{k} {v:.4f}" for k, v in scores.items()))
            better = bool(np.float32(scores["log_loss"]) < loop.best_loss.numpy())  # Kept as float32.
            bad = 0 if better else bad + 1
            if better:
                loop.best_loss.assign(scores["log_loss"])
                model.save_pretrained(str(folder / "best"))
            loop.bad_evaluations.assign(bad)
            manager.save()
            saved = time.monotonic()
        elif time.monotonic() - saved > 300:
            manager.save()
            saved = time.monotonic()
    if not math.isfinite(float(loop.best_loss)):
        raise TrainingError("no evaluation had a finite loss: try a lower learning rate, or more texts")
    best = base_models.load_checkpoint(folder / "best")
    logits = predict_logits(best, encoder, validation.texts, config.tokens_a_batch)
    scores = classification_metrics(validation.labels, logits)
    temperature = fit_temperature(validation.labels, logits)
    np.savez(folder / "validation.npz", logits=logits, labels=validation.labels)
    tracker.summarize(
        {f"validation/{name}": value for name, value in scores.items()} | {"temperature": temperature}
    )
    tracker.log_table(
        "validation/confusion",
        ["truth", *LABELS],
        [[name, *counts] for name, counts in zip(LABELS, confusion(validation.labels, logits), strict=True)],
    )
    tracker.log_table(
        "validation/calibration",
        ["confidence", "accuracy", "rows"],
        reliability(validation.labels, logits, temperature),
    )
    result = TrainingResult(folder / "best", int(loop.step), time.monotonic() - started, scores, temperature)
    (folder / "result.json").write_text(
        json.dumps({**asdict(result), "checkpoint": "best"}, indent=2), "utf-8"
    )
    return result


def predict_logits(
    model: Any, encoder: TextEncoder, texts: Sequence[str], tokens_a_batch: int = 4096
) -> np.ndarray:
    """Return the model's logits for whole texts, windows averaged; float32, shape ``(n, labels)``."""
    tensorflow = import_tensorflow()
    encoded = encoder.encode(texts)
    windows = [(row, window) for row, text in enumerate(encoded) for window in text.windows]
    windows.sort(key=lambda item: len(item[1]))
    forward = tensorflow.function(
        lambda ids, mask: model(ids, attention_mask=mask, training=False).logits,
        input_signature=[tensorflow.TensorSpec((None, None), tensorflow.int32)] * 2,
    )
    sums = np.zeros((len(texts), model.config.num_labels), dtype=np.float64)
    position = 0
    while position < len(windows):
        count = max(1, tokens_a_batch // len(windows[min(len(windows), position + 32) - 1][1]))
        chosen = windows[position : position + count]
        longest = max(len(window) for _, window in chosen)
        ids = np.full((len(chosen), longest), encoder.pad_id, dtype=np.int32)
        mask = np.zeros((len(chosen), longest), dtype=np.int32)
        for index, (_, window) in enumerate(chosen):
            ids[index, : len(window)] = window
            mask[index, : len(window)] = 1
        for (row, _), logits in zip(chosen, forward(ids, mask).numpy(), strict=True):
            sums[row] += logits
        position += count
    counts = np.array([len(text.windows) for text in encoded])[:, None]
    return np.asarray(sums / counts, dtype=np.float32)


def _claim(folder: Path, config: TrainingConfig, training: Dataset) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    wanted = {
        "config": config.to_dict(),
        "data": training.digest(),
        "rows": len(training),
        "sources": training.name,
    }
    if path.is_file() and json.loads(path.read_text("utf-8")) != wanted:
        raise TrainingError(
            f"{folder} holds a run with other settings or data: choose another folder or remove it"
        )
    path.write_text(json.dumps(wanted, indent=2), "utf-8")
