"""One question in place of two, where `predict` is the likeliest class of `predict_proba`: labels stay the same."""

import numpy as np
import pytest

from app.services.artifact import Manifest
from app.services.loaders.estimator import _LIKELIEST, Estimator


def made(name: str, seed: int = 0):
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    return {
        "ExtraTreesClassifier": ExtraTreesClassifier(n_estimators=7, max_depth=2, random_state=seed),
        "LogisticRegression": LogisticRegression(),
        "RandomForestClassifier": RandomForestClassifier(n_estimators=7, max_depth=2, random_state=seed),
    }[name]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", sorted(_LIKELIEST))
def test_the_label_is_what_predict_says(name, classes):
    random = np.random.default_rng(classes)
    rows, targets = random.normal(size=(300, 4)), random.integers(0, classes, 300)
    fitted = made(name).fit(rows, [f"class {target}" for target in targets])
    estimator = Estimator(fitted, "predict", Manifest())
    estimator.settle(rows[:1], is_text=False)
    # The rows of noise, and those where the classes are as good as equal.
    asked = np.concatenate([random.normal(size=(2000, 4)), np.zeros((1, 4)), rows * 1e-12])
    answers = estimator.answer(asked)
    assert [answer.label for answer in answers] == fitted.predict(asked).tolist()
    found = [list(answer.confidences.values()) for answer in answers]
    assert np.allclose(found, fitted.predict_proba(asked))


def test_a_known_class_is_asked_once_and_a_subclass_twice():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    class Cautious(LogisticRegression):
        def predict(self, X):  # noqa: N803 - scikit-learn's name
            return np.where(self.predict_proba(X)[:, 1] > 0.9, self.classes_[1], self.classes_[0])

    rows = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    targets = ["no", "no", "yes", "yes"]
    answers = {}
    for kind in (LogisticRegression, Cautious):
        estimator = Estimator(
            make_pipeline(StandardScaler(), kind()).fit(rows, targets), "predict", Manifest()
        )
        estimator.settle(rows[:1], is_text=False)
        (answers[kind],) = estimator.answer(np.array([[0.2]]))
    assert answers[LogisticRegression].label == "yes"
    assert answers[Cautious].label == "no"
    assert answers[Cautious].confidences == answers[LogisticRegression].confidences
