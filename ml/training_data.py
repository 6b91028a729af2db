"""The rows of one training: cleaned of leaks, split by film, with extra texts and the teacher's answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml import dataset
from ml.dataset import Dataset, DatasetError
from ml.teacher import out_of_fold, soft_targets


@dataclass(frozen=True)
class TrainingData:
    """What `ml.train.train` takes.

    Attributes:
        training: the main texts without validation, then the extra ones.
        validation: main texts about films that are not in training.
        targets: probabilities of the labels, shape ``(len(training), 2)``.
    """

    training: Dataset
    validation: Dataset
    targets: np.ndarray


def assemble(
    main: Dataset,
    held_out: Sequence[Dataset],
    extra: Sequence[Dataset] = (),
    *,
    validation_share: float = 0.05,
    teacher_share: float = 0.0,
    folds: int = 5,
    seed: int = 7,
    folder: Path | None = None,
    progress: Callable[[str], None] = print,
) -> TrainingData:
    """Put the rows together.

    Args:
        main: what the model is for.
        held_out: test sets; their texts are taken out of everything that is trained on.
        extra: further labelled texts to learn from, never to validate on.
        validation_share: of the main texts.
        teacher_share: how much of a main text's target comes from the n-gram teacher.
        folds: of the teacher.
        seed: of the split.
        folder: where the teacher's answers are kept.
        progress: takes a line now and then.

    Raises:
        DatasetError: the main texts cannot be trained with.
    """
    report = dataset.check(main)
    progress(
        f"{main.name}: {report.rows} rows, {report.positive_share:.1%} positive, {report.duplicates} duplicates, "
        f"{report.contradictions} contradictions"
    )
    if report.problems:
        raise DatasetError(f"{main.name}: {'; '.join(report.problems)}")
    usable = dataset.without_texts_of(dataset.without_duplicates(main), held_out)
    names = ", ".join(part.name for part in held_out) or "nothing"
    progress(f"{len(main) - len(usable)} rows left out: duplicates, or texts of {names}")
    training, validation = dataset.split_by_film(usable, validation_share, seed)
    for part, rows in (("training", training), ("validation", validation)):
        if len(np.unique(rows.labels)) < len(dataset.LABELS):
            raise DatasetError(
                f"{main.name}: the {part} part, {len(rows)} of {len(usable)} rows, does not hold both classes: "
                "give more rows or another validation share"
            )
    answers = None
    if teacher_share:
        answers = _teacher(training, folds, seed, folder, progress)
        accuracy = float(((answers > 0.5) == training.labels).mean())
        progress(f"the teacher is right about {accuracy:.1%} of the texts that it has not seen")
    targets = [soft_targets(training.labels, answers, teacher_share)]
    parts = [training]
    for more in extra:
        unseen = dataset.without_texts_of(more, [*held_out, validation])
        parts.append(unseen)
        targets.append(soft_targets(unseen.labels, None, 0.0))
    return TrainingData(
        dataset.join("+".join(part.name for part in parts), parts), validation, np.concatenate(targets)
    )


def save(data: Dataset, path: Path) -> None:
    """Write `data` as Parquet, in the columns that `ml.dataset.load` reads."""
    import pandas

    columns: dict[str, object] = {"text": list(data.texts), "label": data.labels}
    if data.films:
        columns["movie"] = list(data.films)
    if data.ratings:
        columns["rating"] = list(data.ratings)
    pandas.DataFrame(columns).to_parquet(path, index=False)


def _teacher(
    training: Dataset, folds: int, seed: int, folder: Path | None, progress: Callable[[str], None]
) -> np.ndarray:
    path = folder / "teacher.npz" if folder is not None else None
    digest = training.digest()
    if path is not None and path.is_file():
        with np.load(path) as kept:
            if str(kept["digest"]) == digest:
                return np.asarray(kept["answers"])
    progress(f"asking the n-gram teacher about {len(training)} texts in {folds} folds")
    answers = out_of_fold(training, folds, seed)
    if path is not None:
        np.savez(path, digest=digest, answers=answers)
    return answers
