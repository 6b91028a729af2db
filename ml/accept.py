"""May this model be served? Our own sentences with a floor, and a paired test against the model in use."""

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.core.errors import StartupError
from app.services.predictor import Predictor
from ml.acceptance import LABELS, AcceptanceError, AcceptanceText, load_sentences
from ml.compare import Comparison, answers_of, compare
from ml.dataset import Dataset, DatasetError, load

__all__ = [
    "AcceptanceReport",
    "Comparison",
    "Score",
    "WrongAnswer",
    "accept",
    "acceptance_dataset",
    "compare",
]

FLOOR = 0.93
PROGRESS_FROM = 500
"""A comparison of at least so many texts shows a progress bar."""


@dataclass(frozen=True, slots=True)
class Score:
    """How many of how many texts were answered right."""

    right: int
    rows: int

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return self.right / self.rows


@dataclass(frozen=True, slots=True)
class WrongAnswer:
    """A text of our own that the model misread; `answer` says why there was none where it failed."""

    id: str
    label: str
    answer: str
    text: str


@dataclass(frozen=True)
class AcceptanceReport:
    """What a model made of the acceptance texts.

    Attributes:
        digest: of the labelled texts.
        floor: the accuracy that it must reach.
        overall: over all texts.
        kinds: by what is difficult about a text.
        wrong: the texts that it misread, in the file's order.
    """

    digest: str
    floor: float
    overall: Score
    kinds: dict[str, Score]
    wrong: tuple[WrongAnswer, ...]

    @property
    def accepted(self) -> bool:
        """Whether the floor is reached."""
        return self.overall.accuracy >= self.floor

    def __str__(self) -> str:
        """Return the scores by kind and the misread texts, one a line, the overall score last."""
        lines = [
            f"{kind:<10} {score.right:>4} of {score.rows:<4} {score.accuracy:>8.1%}"
            for kind, score in self.kinds.items()
        ]
        lines += [
            f"wrong: {wrong.id}, {wrong.label}, answered {wrong.answer}: {textwrap.shorten(wrong.text, 100)}"
            for wrong in self.wrong
        ]
        lines.append(
            f"{self.overall.right} of {self.overall.rows} right, {self.overall.accuracy:.1%}; "
            f"floor {self.floor:.1%}"
        )
        return "\n".join(lines)


def acceptance_dataset(texts: Sequence[AcceptanceText] | None = None) -> Dataset:
    """Return the acceptance texts (or `texts`) in the form that training and evaluation use."""
    import numpy as np

    texts = load_sentences() if texts is None else texts
    labels = np.array([LABELS.index(text.label) for text in texts], dtype=np.int64)
    return Dataset("acceptance", tuple(text.text for text in texts), labels)


def accept(
    predictor: Predictor, floor: float = FLOOR, texts: Sequence[AcceptanceText] | None = None
) -> AcceptanceReport:
    """Put a model to the acceptance test, through the server's own predictor.

    Args:
        predictor: a text classifier with the labels negative and positive.
        floor: the share of right answers, 0 to 1, that it must reach over all texts.
        texts: what to ask; our own sentences by default. An input at which the model fails counts as wrong.

    Raises:
        AcceptanceError: the model has other labels, or there are no texts.
    """
    texts = load_sentences() if texts is None else texts
    if not texts:
        raise AcceptanceError("no texts to put the model to")
    answers = answers_of(predictor, [text.text for text in texts])
    kinds: dict[str, list[bool]] = {}
    wrong = []
    for text, answer in zip(texts, answers, strict=True):
        kinds.setdefault(text.kind, []).append(answer == text.label)
        if answer != text.label:
            wrong.append(WrongAnswer(text.id, text.label, answer, text.text))
    return AcceptanceReport(
        digest=acceptance_dataset(texts).digest(),
        floor=floor,
        overall=Score(len(texts) - len(wrong), len(texts)),
        kinds={kind: Score(sum(right), len(right)) for kind, right in kinds.items()},
        wrong=tuple(wrong),
    )


def _existing(value: str) -> Path:
    path = Path(value)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"there is no {value}")
    return path


def _share(value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{value} is no share between 0 and 1")
    return share


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``python -m ml accept``."""
    parser.add_argument("model", type=_existing, help="the model folder to put to the test")
    parser.add_argument(
        "--floor", type=_share, default=FLOOR, help="accuracy to reach (default: %(default)s)"
    )
    parser.add_argument(
        "--against", type=_existing, help="the model in use: refuse a candidate that is worse"
    )
    parser.add_argument(
        "--data", type=_existing, help="labelled texts to compare on (default: the acceptance texts)"
    )
    parser.add_argument(
        "--split", choices=("train", "test"), default="test", help="of an aclImdb folder or archive"
    )
    parser.add_argument("--loader", default="auto", help="as MODEL_LOADER (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the report to this file")


def run(arguments: argparse.Namespace) -> int:
    """Run ``python -m ml accept``; 0 accepted, 1 rejected (the last lines say why), 2 wrong use."""
    from ml.evaluate import load_model

    if arguments.data and not arguments.against:
        return _wrong_use("--data is what two models are compared on: give the other one with --against")
    current, data = None, None
    if arguments.against:
        try:
            data = load(arguments.data, arguments.split) if arguments.data else acceptance_dataset()
            current, _ = load_model(arguments.against, arguments.loader)
        except (StartupError, DatasetError) as error:
            return _wrong_use(f"nothing to compare with: {error}")
    report: dict[str, Any] = {"model": arguments.model.name}
    reasons = []
    try:
        predictor, files = load_model(arguments.model, arguments.loader)
        report["model_digest"] = files.model.digest
        test = accept(predictor, arguments.floor)
    except (StartupError, AcceptanceError) as error:
        reasons.append(str(error))
    else:
        print(test)
        report["acceptance"] = asdict(test) | {"accepted": test.accepted}
        if not test.accepted:
            reasons.append(
                f"{test.overall.accuracy:.1%} of the acceptance texts right, below the floor of {test.floor:.1%}"
            )
        if current is not None and data is not None:
            try:
                comparison = _compared(predictor, current, data)
            except AcceptanceError as error:
                return _wrong_use(f"nothing to compare with: {error}")
            print(comparison)
            report["comparison"] = asdict(comparison)
            if not comparison.not_worse:
                reasons.append(f"against {arguments.against.name}: {comparison.reason}")
    report |= {"accepted": not reasons, "reasons": reasons}
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print("\n".join(f"Rejected: {reason}" for reason in reasons) or "Accepted")
    return 1 if reasons else 0


def _compared(candidate: Predictor, current: Predictor, data: Dataset) -> Comparison:
    if len(data) < PROGRESS_FROM:
        return compare(candidate, current, data)
    from tqdm import tqdm

    with tqdm(total=2 * len(data), desc=f"both on {data.name}", unit="text") as bar:
        return compare(candidate, current, data, progress=bar.update)


def _wrong_use(message: str) -> int:
    print(f"accept: {message}", file=sys.stderr)
    return 2
