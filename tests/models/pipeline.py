"""A scikit-learn pipeline for texts, fitted on a handful of sentences."""

from pathlib import Path
from typing import Any

from app.services.artifact import Manifest
from tests.models.support import write_text_golden

KIND = (
    "a good and funny film", "i loved this wonderful film", "a warm and superb cast", "the best music of the year",
    "great acting and a fine plot", "good music and a great cast",
)  # fmt: skip
HARSH = (
    "a bad and boring film", "i hated this awful film", "a dull and weak cast", "the worst music of the year",
    "poor acting and a slow plot", "bad music and a poor cast",
)  # fmt: skip


def text_pipeline(**settings: Any) -> Any:
    """Return a fitted TF-IDF and logistic regression, classes 0 and 1."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10, **settings))
    return pipeline.fit([*HARSH, *KIND], [0] * len(HARSH) + [1] * len(KIND))


def dump(loaded: Any, folder: Path, name: str = "model.pkl") -> Path:
    """Pickle an object into a folder; return the folder."""
    import joblib

    folder.mkdir(parents=True, exist_ok=True)
    joblib.dump(loaded, folder / name)
    return folder


def tiny_joblib(folder: Path) -> Path:
    """Write ``model.pkl`` and its manifest; load it with ``MODEL_LOADER=joblib``."""
    dump(text_pipeline(), folder)
    manifest = Manifest(task="text-classification", labels=("negative", "positive"), loader="joblib")
    return write_text_golden(folder, manifest, "joblib")
