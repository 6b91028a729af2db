"""A second opinion for training: a linear model over word n-grams, asked only about texts it has not seen.

Its graded answers carry more than a bare label: how strongly the words speak. Mixed into the targets they
make a small network learn more from each review, which counts where every pass is dear.
"""

import numpy as np

from app.services.text import clean
from ml.dataset import Dataset

_WORD = r"(?u)\b\w[\w']*\b|[!?]"


def out_of_fold(data: Dataset, folds: int, seed: int) -> np.ndarray:
    """Return ``P(positive)`` of each text by a model trained on the other folds; float32, shape ``(n,)``.

    Texts about one film are in one fold, so that no answer comes from a review of the same film.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, KFold

    texts = [clean(text) for text in data.texts]
    features = TfidfVectorizer(
        ngram_range=(1, 3),
        min_df=3,
        sublinear_tf=True,
        token_pattern=_WORD,
        dtype=np.float32,
    ).fit_transform(texts)
    if data.films:
        splits = GroupKFold(folds).split(features, data.labels, groups=data.films)
    else:
        splits = KFold(folds, shuffle=True, random_state=seed).split(features)
    answers = np.zeros(len(texts), dtype=np.float32)
    for train, held_out in splits:
        model = LogisticRegression(C=20.0, max_iter=200, random_state=seed)
        model.fit(features[train], data.labels[train])
        answers[held_out] = model.predict_proba(features[held_out])[:, 1]
    return answers


def soft_targets(labels: np.ndarray, answers: np.ndarray | None, share: float) -> np.ndarray:
    """Mix labels with the teacher's answers into targets; float32, shape ``(n, 2)``, rows sum to 1."""
    positive: np.ndarray = labels.astype(np.float32)
    if answers is not None:
        positive = (1 - share) * positive + share * answers
    return np.stack([1 - positive, positive], axis=1, dtype=np.float32)
