"""One tiny training run, shared by the tests of what comes after training."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ml.dataset import Dataset
from tests.ml.samples import bert_folder, sentences

if TYPE_CHECKING:
    from ml.train import TrainingResult
    from ml.training_config import TrainingConfig


@dataclass
class RecordedRun:
    """What a W&B run was given: stands where `ml.tracking.Tracker` holds one."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)

    def log(self, values: dict[str, Any]) -> None:
        self.rows.append(values)

    def finish(self, exit_code: int) -> None:
        self.exit_codes.append(exit_code)

    def curve(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows if name in row]


@dataclass
class TinyRun:
    """A training of one layer and 32 dimensions on 160 sentences, from start to end.

    Four passes of 20 batches of one shape, without dropout, scored after each pass.
    """

    folder: Path
    config: "TrainingConfig"
    training: Dataset
    validation: Dataset
    result: "TrainingResult"
    run: RecordedRun
    lines: list[str]

    def train(
        self, folder: Path, run: RecordedRun | None = None, progress: Any = None, **changes: Any
    ) -> "TrainingResult":
        """Train on the same sentences in another folder, with some settings changed."""
        return _train(
            folder, replace(self.config, **changes), self.training, self.validation, run, progress or print
        )


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT checkpoint with random weights and the words of `tests.ml.samples`."""
    return bert_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def tiny_run(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """The run, made once."""
    from ml.batches import Stage
    from ml.dataset import split_by_film
    from ml.training_config import TrainingConfig

    config = TrainingConfig(
        base_model=str(tiny_base),
        stages=(Stage(32, 4),),
        tokens_a_batch=32 * 8,
        learning_rate=1e-2,
        dropout=0.0,
        head_dropout=0.0,
        evaluations=4,
        compile=False,
    )
    training, validation = split_by_film(sentences(240), 0.3, seed=3)
    folder, run, lines = tmp_path_factory.mktemp("run") / "tiny", RecordedRun(), []
    result = _train(folder, config, training, validation, run, lines.append)
    return TinyRun(folder, config, training, validation, result, run, lines)


def _train(
    folder: Path,
    config: "TrainingConfig",
    training: Dataset,
    validation: Dataset,
    run: RecordedRun | None,
    progress: Any,
) -> "TrainingResult":
    from ml.teacher import soft_targets
    from ml.tracking import Tracker
    from ml.train import train

    targets = soft_targets(training.labels, None, 0.0)
    return train(config, training, validation, targets, folder, Tracker(run), progress)
