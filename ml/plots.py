"""Pictures of an evaluation: where the model is right, and whether its confidence can be believed."""

from pathlib import Path

import numpy as np

from ml.evaluate import LENGTH_EDGES, Answers, by_range
from ml.metrics import confusion, reliability

_INK, _ACCENT, _MUTED = "#1f2937", "#c2410c", "#9ca3af"


def plot_answers(answers: Answers, temperature: float, folder: Path) -> Path:
    """Draw reliability, confusion, accuracy by length and by share answered into ``evaluation.png``."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 9), constrained_layout=True)
    _reliability(axes[0, 0], answers, temperature)
    _confusion(axes[0, 1], answers)
    _lengths(axes[1, 0], answers)
    _coverage(axes[1, 1], answers)
    figure.suptitle(f"{answers.data.name}: {len(answers.data):,} texts", color=_INK)
    path = folder / "evaluation.png"
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _reliability(axis, answers: Answers, temperature: float) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    for scale, label, colour in (
        (temperature, "as trained", _MUTED),
        (1.0, "after temperature scaling", _ACCENT),
    ):
        bins = [
            (confidence, accuracy)
            for confidence, accuracy, rows in reliability(answers.data.labels, answers.logits * scale)
            if rows >= 10
        ]
        axis.plot([x for x, _ in bins], [y for _, y in bins], "o-", color=colour, label=label)
    axis.plot([0.5, 1], [0.5, 1], ":", color=_INK, linewidth=1, label="perfect")
    axis.set(xlabel="confidence", ylabel="share right", title="Can the confidence be believed?")
    axis.legend(frameon=False)


def _confusion(axis, answers: Answers) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    counts = np.array(confusion(answers.data.labels, answers.logits))
    axis.imshow(counts, cmap="Oranges")
    for truth in (0, 1):
        for guess in (0, 1):
            shade = "white" if counts[truth, guess] > counts.max() / 2 else _INK
            axis.text(
                guess, truth, f"{counts[truth, guess]:,}", ha="center", va="center", color=shade, fontsize=14
            )
    names = ("negative", "positive")
    axis.set(
        xticks=(0, 1), yticks=(0, 1), xticklabels=names, yticklabels=names, xlabel="answer", ylabel="truth"
    )
    axis.set_title("What was taken for what")


def _lengths(axis, answers: Answers) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    rows = by_range(answers, answers.tokens, LENGTH_EDGES)
    names = [f"{row['from']:g}+" if row["to"] > 1e6 else f"{row['from']:g}–{row['to']:g}" for row in rows]
    bars = axis.bar(names, [row["accuracy"] for row in rows], color=_ACCENT)
    axis.bar_label(bars, [f"{row['accuracy']:.1%}\n{row['rows']:,}" for row in rows], fontsize=9)
    low = min(row["accuracy"] for row in rows)
    axis.set(ylim=(max(0.0, low - 0.1), 1.02), xlabel="tokens", ylabel="accuracy", title="Accuracy by length")


def _coverage(axis, answers: Answers) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    confidence = answers.probabilities.max(axis=1)
    right = (answers.probabilities.argmax(axis=1) == answers.data.labels)[np.argsort(-confidence)]
    share = np.arange(1, len(right) + 1) / len(right)
    axis.plot(share, np.cumsum(right) / np.arange(1, len(right) + 1), color=_ACCENT)
    axis.set(
        xlabel="share of texts answered, the surest first",
        ylabel="accuracy of those",
        title="If unsure ones were left to people",
    )
