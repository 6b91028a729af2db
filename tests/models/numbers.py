"""A scikit-learn classifier for rows of four numbers."""

from pathlib import Path
from typing import Any

from app.services.artifact import Golden, GoldenExample, Manifest
from tests.models.pipeline import dump

ROWS = (
    [1.0, 0.2, 0.1, 0.0], [0.9, 0.1, 0.3, 0.2], [1.1, 0.0, 0.2, 0.1],
    [0.1, 1.0, 0.2, 0.3], [0.2, 0.9, 0.0, 0.1], [0.0, 1.2, 0.1, 0.2],
    [0.2, 0.1, 1.0, 0.9], [0.1, 0.3, 1.1, 0.8], [0.0, 0.2, 0.9, 1.1],
)  # fmt: skip
NAMES = ("herb", "shrub", "tree")


def classifier() -> Any:
    """Return a fitted pipeline with the classes herb, shrub and tree."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    return pipeline.fit(ROWS, [name for name in NAMES for _ in range(3)])


def tiny_tabular(folder: Path) -> Path:
    """Write ``model.pkl`` and its manifest; load it with ``MODEL_LOADER=joblib``."""
    fitted = classifier()
    dump(fitted, folder)
    examples = tuple(
        GoldenExample(
            input=row,
            label=str(fitted.predict([row])[0]),
            confidences=dict(zip(NAMES, fitted.predict_proba([row])[0].tolist(), strict=True)),
        )
        for row in ROWS[::3]
    )
    Manifest(task="tabular-classification", loader="joblib", golden=Golden(examples=examples)).write(folder)
    return folder
