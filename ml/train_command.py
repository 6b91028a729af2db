"""The command line of ``python -m ml train``."""

import argparse
from pathlib import Path

from ml import dataset
from ml.batches import Stage
from ml.tracking import Tracker
from ml.train import train
from ml.training_config import TrainingConfig
from ml.training_data import assemble


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    defaults = TrainingConfig()
    parser.add_argument("folder", type=Path, help="where checkpoints go; a run found there is resumed")
    parser.add_argument(
        "--data", type=Path, required=True, help="labelled texts (.parquet, .csv, aclImdb folder or archive)"
    )
    parser.add_argument(
        "--held-out", type=Path, nargs="*", default=[], help="test sets whose texts must not be trained on"
    )
    parser.add_argument(
        "--extra", type=Path, nargs="*", default=[], help="further labelled texts to learn from"
    )
    parser.add_argument("--extra-rows", type=int, default=12_000, help="at most so many of each extra file")
    parser.add_argument("--sample", type=int, help="only so many rows of the data, for a quick try")
    parser.add_argument("--base-model", default=defaults.base_model, help="hub name, folder, or minilm-l6")
    parser.add_argument(
        "--stages", type=_stage, nargs="+", default=list(defaults.stages), metavar="TOKENS:PASSES"
    )
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument("--tokens-a-batch", type=int, default=defaults.tokens_a_batch)
    parser.add_argument("--dropout", type=float, default=defaults.dropout)
    parser.add_argument(
        "--teacher-share", type=float, default=defaults.teacher_share, help="of a target, 0 to 1"
    )
    parser.add_argument("--validation-share", type=float, default=0.05)
    parser.add_argument("--validation-sample", type=int, default=defaults.validation_sample)
    parser.add_argument("--evaluations", type=int, default=defaults.evaluations)
    parser.add_argument("--patience", type=int, default=defaults.patience)
    parser.add_argument("--no-compile", action="store_true", help="do not compile the step with XLA")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--project", help="the W&B project for curves; offline where no key is set")


def run(arguments: argparse.Namespace) -> int:
    """Train as the arguments say."""
    main = dataset.load(arguments.data, _split(arguments.data, "train"))
    if arguments.sample:
        main = main.sample(arguments.sample, arguments.seed)
    held_out = [dataset.load(path, _split(path, "test")) for path in arguments.held_out]
    extra = [
        dataset.load(path, _split(path, "train")).sample(arguments.extra_rows, 7) for path in arguments.extra
    ]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    data = assemble(
        main,
        held_out,
        extra,
        validation_share=arguments.validation_share,
        teacher_share=arguments.teacher_share,
        folder=arguments.folder,
    )
    config = TrainingConfig(
        base_model=arguments.base_model,
        stages=tuple(arguments.stages),
        tokens_a_batch=arguments.tokens_a_batch,
        learning_rate=arguments.learning_rate,
        dropout=arguments.dropout,
        teacher_share=arguments.teacher_share,
        evaluations=arguments.evaluations,
        patience=arguments.patience,
        validation_sample=arguments.validation_sample,
        compile=not arguments.no_compile,
        seed=arguments.seed,
    )
    facts = {
        "data": data.training.digest(),
        "rows": len(data.training),
        "validation": data.validation.digest(),
    }
    tracker = Tracker.start(
        arguments.project, "training", config.to_dict() | facts, arguments.folder / "wandb"
    )
    exit_code = 1
    try:
        result = train(config, data.training, data.validation, data.targets, arguments.folder, tracker)
        exit_code = 0
    finally:
        tracker.finish(exit_code)
    print(
        f"{result.checkpoint}: "
        + ", ".join(f"{name} {value:.4f}" for name, value in result.validation.items())
    )
    return 0


def _stage(value: str) -> Stage:
    try:
        return Stage.parse(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _split(path: Path, name: str) -> str | None:
    """Files hold one split; the archive and its folder hold both."""
    return None if path.suffix in {".parquet", ".csv"} else name
