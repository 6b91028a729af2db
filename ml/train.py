"""Fine-tune DistilBERT in TensorFlow on labelled texts, from a seed, in fixed shapes, resumable."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.core.tensorflow_runtime import import_tensorflow
from app.services.text import TextEncoder, WindowPolicy
from ml import base_models, training_data
from ml.batches import Arrays, Stage, fill, plan
from ml.dataset import LABELS, Dataset
from ml.metrics import classification_metrics, confusion, fit_temperature, reliability
from ml.tracking import Tracker


class TrainingError(RuntimeError):
    """Training cannot start or go on; the message says why."""


@dataclass(frozen=True)
class TrainingConfig:
    """Every choice of a training run; written beside the checkpoints and into the artifact.

    Attributes:
        base_model: where the weights come from (`ml.base_models`).
        stages: how long a part of each text is seen, and how often.
        tokens_a_batch: padded tokens in one step.
        learning_rate: its peak.
        warm_up: share of the steps until the peak; linear decay to zero after it.
        weight_decay: AdamW's, on matrices only.
        clip_norm: the global norm that gradients are clipped to.
        dropout: of hidden states; 0 for one or two passes.
        head_dropout: before the classifier.
        teacher_share: how much of a target comes from the n-gram teacher; 0 for none.
        evaluations: how often the validation split is scored, evenly spread.
        patience: evaluations without a better validation loss after which training stops.
        validation_sample: texts scored at each of them but the last.
        windows: how serving reads a text.
        compile: compile the step with XLA, which a processor gains from.
        seed: fixes order, parts and head.
    """

    base_model: str = "distilbert-base-uncased"
    stages: tuple[Stage, ...] = (Stage(128, 1.0), Stage(512, 1.0))
    tokens_a_batch: int = 4096
    learning_rate: float = 6e-5
    warm_up: float = 0.06
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    dropout: float = 0.1
    head_dropout: float = 0.1
    teacher_share: float = 0.0
    evaluations: int = 4
    patience: int = 3
    validation_sample: int = 1000
    windows: WindowPolicy = field(default_factory=WindowPolicy)
    compile: bool = True
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]


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
    loop = _Loop(
        tensorflow,
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


class _Loop:
    """The compiled training step with everything that a checkpoint must hold."""

    def __init__(
        self, tensorflow: Any, model: Any, config: TrainingConfig, steps: int, mean_rows: float
    ) -> None:
        import tf_keras

        self._tensorflow = tensorflow
        self._model = model
        self._steps, self._config = steps, config
        self._scale = 1 / max(1.0, mean_rows)
        optimizer = tf_keras.optimizers.AdamW(0.0, weight_decay=config.weight_decay, epsilon=1e-6)
        optimizer.exclude_from_weight_decay(var_names=["bias", "LayerNorm", "layer_norm"])
        optimizer.build(model.trainable_variables)
        self.step = tensorflow.Variable(0, dtype=tensorflow.int64, trainable=False)
        self.best_loss = tensorflow.Variable(math.inf, trainable=False)
        self.bad_evaluations = tensorflow.Variable(0, dtype=tensorflow.int64, trainable=False)
        self.checkpoint = tensorflow.train.Checkpoint(
            model=model,
            optimizer=optimizer,
            step=self.step,
            best_loss=self.best_loss,
            bad_evaluations=self.bad_evaluations,
        )
        variables = model.trainable_variables

        def compute(ids: Any, mask: Any, targets: Any, weights: Any) -> tuple[Any, Any]:
            with tensorflow.GradientTape() as tape:
                logits = model(ids, attention_mask=mask, training=True).logits
                losses = tensorflow.nn.softmax_cross_entropy_with_logits(labels=targets, logits=logits)
                # Each text weighs the same, however many fit into its batch.
                total = tensorflow.reduce_sum(losses * weights) * self._scale
            gradients, norm = tensorflow.clip_by_global_norm(
                tape.gradient(total, variables), config.clip_norm
            )
            optimizer.apply_gradients(zip(gradients, variables, strict=True))
            return tensorflow.reduce_sum(losses * weights) / tensorflow.reduce_sum(weights), norm

        self._optimizer, self._function = optimizer, compute
        self._compiled: dict[tuple[int, ...], Any] = {}

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then linear decay to zero."""
        warm = max(1, round(self._steps * self._config.warm_up))
        share = step / warm if step < warm else (self._steps - step) / max(1, self._steps - warm)
        return self._config.learning_rate * max(0.0, share)

    def run(self, arrays: Arrays) -> tuple[float, float]:
        """Take one step; return the mean loss and the gradients' norm."""
        if arrays.ids.shape not in self._compiled:
            self._compiled[arrays.ids.shape] = self._tensorflow.function(
                self._function, jit_compile=self._config.compile
            )
        self._optimizer.learning_rate = self.learning_rate(int(self.step) + 1)
        constant = self._tensorflow.constant
        inputs = (arrays.ids, arrays.mask, arrays.targets, arrays.weights)
        loss, norm = self._compiled[arrays.ids.shape](*(constant(array) for array in inputs))
        self.step.assign_add(1)
        return float(loss), float(norm)


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
