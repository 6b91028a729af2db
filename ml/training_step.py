"""One step of training in TensorFlow: gradients, clipping, AdamW with warm-up and decay, compiled once a shape."""

import math
from typing import Any

from app.core.tensorflow_runtime import import_tensorflow
from ml.batches import Arrays
from ml.training_config import TrainingConfig


class TrainingStep:
    """The compiled training step with everything that a checkpoint must hold."""

    def __init__(self, model: Any, config: TrainingConfig, steps: int, mean_rows: float) -> None:
        """Set up the optimizer of a run of so many steps; `mean_rows` is how many texts a batch holds on average."""
        tensorflow = import_tensorflow()
        import tf_keras

        self._tensorflow = tensorflow
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
