"""A paired test of two models on the same labelled texts: is the candidate worse than the one in use?"""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.services.predictor import Predictor
from ml.acceptance import LABELS, AcceptanceError
from ml.dataset import Dataset

ALPHA = 0.05
MARGIN = 0.005

LEAST_ALLOWANCE = 3
"""So many texts may be lost on any data, however small: of a hundred and fifty texts the margin is not even one."""


@dataclass(frozen=True)
class Comparison:
    """Two models on the same texts.

    Attributes:
        data: the name of the texts.
        digest: of the labelled texts; two comparisons speak of the same thing only where it is equal.
        rows: number of texts.
        candidate_right: texts that the candidate answers right.
        current_right: texts that the model in use answers right.
        lost: texts that only the model in use answers right.
        gained: texts that only the candidate answers right.
        p_value: the chance of losing so many of the texts on which they differ if both were equally good.
        not_worse: the verdict.
        reason: the verdict in words.
    """

    data: str
    digest: str
    rows: int
    candidate_right: int
    current_right: int
    lost: int
    gained: int
    p_value: float
    not_worse: bool
    reason: str

    def __str__(self) -> str:
        """Return the counts and the verdict in words."""
        return (
            f"On {self.data}, {self.rows} texts ({self.digest}): candidate {self.candidate_right / self.rows:.2%}, "
            f"current {self.current_right / self.rows:.2%}. Only the current model answers {self.lost} right, only the "
            f"candidate {self.gained}; one-sided exact McNemar test p = {self.p_value:.3g}.\n{self.reason}"
        )


def compare(
    candidate: Predictor,
    current: Predictor,
    data: Dataset,
    *,
    alpha: float = ALPHA,
    margin: float = MARGIN,
    progress: Callable[[int], Any] | None = None,
) -> Comparison:
    """Ask two models about the same texts, and say whether the candidate is not worse.

    It is worse if an exact one-sided McNemar test says so at `alpha`, or if it loses more than `margin` of the
    texts (or `LEAST_ALLOWANCE`, where that is more). The test looks only at texts on which the two differ.

    Args:
        candidate: the model that is to be used.
        current: the model in use.
        data: labelled texts.
        alpha: the level of the test.
        margin: the loss of accuracy that is put up with, 0.005 for half a point.
        progress: called with the number of answers since the last call, two for each text in all.

    Raises:
        AcceptanceError: a model has other labels than negative and positive, or there are no texts.
    """
    if not len(data):
        raise AcceptanceError(f"{data.name} holds no texts to compare on")
    labels = [LABELS[label] for label in data.labels.tolist()]
    first, second = (
        [
            answer == label
            for answer, label in zip(answers_of(model, data.texts, progress), labels, strict=True)
        ]
        for model in (candidate, current)
    )
    lost = sum(new < old for new, old in zip(first, second, strict=True))
    gained = sum(new > old for new, old in zip(first, second, strict=True))
    p_value = mcnemar(lost, gained)
    allowance = max(margin * len(data), LEAST_ALLOWANCE)
    if p_value < alpha:
        not_worse, reason = False, f"Worse: so great a loss is no chance (p below {alpha:g})."
    elif lost - gained > allowance:
        not_worse, reason = False, f"Worse: {lost - gained} texts fewer right, {allowance:g} are put up with."
    elif lost > gained:
        not_worse, reason = True, f"Not worse: {lost - gained} texts fewer right, which chance explains."
    else:
        not_worse, reason = (
            True,
            f"Not worse: {gained - lost} texts more right." if gained > lost else "Not worse: equal.",
        )
    return Comparison(
        data.name, data.digest(), len(data), sum(first), sum(second), lost, gained, p_value, not_worse, reason
    )


def mcnemar(lost: int, gained: int) -> float:
    """Return the exact one-sided p-value: the chance that `lost` or more of ``lost + gained`` fair coins show heads."""
    count = lost + gained
    term, total = 1, 0  # term is the binomial coefficient of `count` over the number of texts gained.
    for heads in range(gained + 1):
        total += term
        term = term * (count - heads) // (heads + 1)
    return total / (1 << count)


def answers_of(
    predictor: Predictor, texts: Sequence[str], progress: Callable[[int], Any] | None = None
) -> list[str]:
    """Ask a model about each text.

    Args:
        predictor: a text classifier with the labels negative and positive.
        texts: what to ask.
        progress: called with the number of answers since the last call.

    Returns:
        The label of each text; where the model failed, ``nothing`` and why, which is no label.

    Raises:
        AcceptanceError: the model has other labels.
    """
    if set(predictor.labels) != set(LABELS):
        found = ", ".join(predictor.labels) or "none"
        raise AcceptanceError(f"the model must have the labels {' and '.join(LABELS)}; it has: {found}")
    answers = []
    for text in texts:
        answers.append(_answer(predictor, text))
        if progress:
            progress(1)
    return answers


def _answer(predictor: Predictor, text: str) -> str:
    # One at a time, as the server asks when nothing else waits; its answers do not depend on neighbours.
    try:
        (output,) = predictor.predict(predictor.prepare([text]))
        return str(output.label)
    except Exception as error:  # noqa: BLE001 - whatever a model fails with, its user gets no answer.
        return f"nothing ({type(error).__name__}: {textwrap.shorten(str(error), 100)})"
