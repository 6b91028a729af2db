"""Every choice of a training run, in one place."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from app.services.text import WindowPolicy
from ml.batches import Stage


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
