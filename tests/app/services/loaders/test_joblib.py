"""Pickled models: texts and rows of numbers, other versions, other methods, and what cannot be read."""

import math
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sklearn
from sklearn.cluster import KMeans
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC, LinearSVC

from app.core.errors import (
    ConfigurationError,
    DigestMismatchError,
    InvalidInputError,
    ModelLoadError,
    PredictionFailedError,
)
from app.models.prediction import TabularRequest
from app.services.artifact import Golden, GoldenExample, Manifest
from app.services.golden import check_model
from app.services.predictor import load_predictor
from app.services.registry import obtain_model
from tests.models import model_files, settings_for, tiny_joblib, tiny_tabular
from tests.models.numbers import NAMES, ROWS, classifier
from tests.models.pipeline import HARSH, KIND, dump, text_pipeline

SENTENCES = [*HARSH, *KIND]
VERDICTS = [0] * len(HARSH) + [1] * len(KIND)


def load(folder: Path, **settings):
    return load_predictor(model_files(folder), settings_for("joblib", **settings))


def refusal(folder: Path, **settings) -> str:
    with pytest.raises(ModelLoadError) as caught:
        load(folder, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def ask(predictor, *items):
    return predictor.predict(predictor.prepare(items))


# Texts.


def test_a_text_pipeline_answers_what_it_answers_offline(tmp_path):
    files = model_files(tiny_joblib(tmp_path))
    predictor = load_predictor(files, settings_for("joblib"))
    assert check_model(predictor, files).kind == "golden"
    texts = ["A good <br /> film", "an awful plot"]
    expected = text_pipeline().predict_proba(texts)
    for output, row in zip(ask(predictor, *texts), expected, strict=True):
        assert list(output.confidences.values()) == pytest.approx(row.tolist(), abs=1e-12)
    assert [output.label for output in ask(predictor, *texts)] == ["positive", "negative"]


def test_without_a_manifest_zero_and_one_are_negative_and_positive(tmp_path):
    predictor = load(dump(text_pipeline(), tmp_path))
    assert predictor.labels == ("negative", "positive")
    assert ask(predictor, "a superb and wonderful film")[0].label == "positive"


def test_a_single_file_is_served(tmp_path):
    folder = dump(text_pipeline(), tmp_path, "review.joblib")
    assert load(folder / "review.joblib").labels == ("negative", "positive")


def test_names_of_the_pickle_are_kept_or_renamed(tmp_path):
    named = make_pipeline(CountVectorizer(), LogisticRegression()).fit(
        SENTENCES, [["bad", "good"][v] for v in VERDICTS]
    )
    assert load(dump(named, tmp_path)).labels == ("bad", "good")
    Manifest(labels=("negative", "positive")).write(tmp_path)
    assert ask(load(tmp_path), "a good film")[0].label == "positive"
    Manifest(labels=("good", "bad")).write(tmp_path)
    assert "in the order good, bad, the model in the order bad, good" in refusal(tmp_path)
    Manifest(labels=("a", "b", "c")).write(tmp_path)
    assert "2 outputs and 3 labels" in refusal(tmp_path)


@pytest.mark.parametrize(
    "first",
    [
        FeatureUnion([("words", TfidfVectorizer()), ("letters", TfidfVectorizer(analyzer="char"))]),
        make_pipeline(FunctionTransformer(list), CountVectorizer()),
    ],
    ids=["union", "own first step"],
)
def test_texts_are_found_out_behind_other_first_steps(tmp_path, first):
    fitted = make_pipeline(first, LogisticRegression()).fit(SENTENCES, VERDICTS)
    assert ask(load(dump(fitted, tmp_path)), "a wonderful cast")[0].label == "positive"


def test_margins_become_confidences_of_the_predicted_label(tmp_path):
    fitted = make_pipeline(TfidfVectorizer(), LinearSVC()).fit(SENTENCES, VERDICTS)
    predictor = load(dump(fitted, tmp_path))
    (output,) = ask(predictor, "a good film")
    margin = float(fitted.decision_function(["a good film"])[0])
    assert output.confidences["positive"] == pytest.approx(1 / (1 + math.exp(-margin)))
    assert predictor.describe()["confidences"] == "decision_function: the logit of the second class"


def test_a_text_regressor_is_refused(tmp_path):
    fitted = make_pipeline(TfidfVectorizer(), LinearRegression()).fit(SENTENCES, VERDICTS)
    assert "answers a text with a number and has no classes" in refusal(dump(fitted, tmp_path))


def test_a_batch_is_answered_as_one_by_one_and_by_any_thread(tmp_path):
    predictor = load(tiny_joblib(tmp_path))
    texts = [f"a {word} film {index}" for index, word in enumerate(["good", "bad", "dull", "warm"] * 12)]
    alone = [ask(predictor, text)[0] for text in texts]
    assert ask(predictor, *texts) == alone
    with ThreadPoolExecutor(16) as pool:
        rounds = list(pool.map(lambda _: ask(predictor, *texts), range(16)))
    assert all(answers == alone for answers in rounds)


# Rows of numbers.


def test_rows_are_answered_with_their_class(tmp_path):
    files = model_files(tiny_tabular(tmp_path))
    predictor = load_predictor(files, settings_for("joblib"))
    assert check_model(predictor, files).kind == "golden"
    assert predictor.labels == NAMES
    request = TabularRequest(instances=[ROWS[0], ROWS[4]])
    reply = predictor.join(request, request.items, ask(predictor, *request.items))
    assert [entry["label"] for entry in reply["predictions"]] == ["herb", "shrub"]
    assert sum(reply["predictions"][0]["confidences"].values()) == pytest.approx(1)
    single = TabularRequest(features=ROWS[0])
    assert predictor.join(single, single.items, ask(predictor, *single.items))["label"] == "herb"


@pytest.mark.parametrize("length", [0, 3, 5])
def test_a_row_of_another_length_is_refused(tmp_path, length: int):
    predictor = load(tiny_tabular(tmp_path))
    with pytest.raises(InvalidInputError, match=f"expected 4 features, got {length}") as single:
        predictor.prepare([[0.0] * length])
    with pytest.raises(InvalidInputError) as listed:
        predictor.prepare([ROWS[0], [0.0] * length])
    assert (single.value.position, listed.value.position) == (None, 1)


def test_a_regressor_answers_a_value(tmp_path):
    fitted = LinearRegression().fit(ROWS, np.arange(len(ROWS)))
    predictor = load(dump(fitted, tmp_path))
    request = TabularRequest(features=ROWS[2])
    (output,) = ask(predictor, *request.items)
    assert output.value == pytest.approx(fitted.predict([ROWS[2]])[0])
    assert set(predictor.join(request, request.items, [output])) == {"value"}
    assert set(predictor.row(ROWS[2], output)) == {"value", *(f"feature_{index}" for index in range(4))}


def test_clusters_are_labels_without_confidences(tmp_path):
    fitted = KMeans(3, n_init=1, random_state=0).fit(ROWS)
    (output,) = ask(load(dump(fitted, tmp_path)), ROWS[0])
    assert (output.label, output.confidences) == (str(fitted.predict([ROWS[0]])[0]), {})


def test_margins_of_pairs_are_no_confidences(tmp_path):
    many = [[*row, shift] for row in ROWS for shift in (0, 1)]
    fitted = SVC(decision_function_shape="ovo").fit(many, [index % 4 for index in range(len(many))])
    (output,) = ask(load(dump(fitted, tmp_path)), many[0])
    assert output.label in {"0", "1", "2", "3"}
    assert output.confidences == {}


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_a_number_that_is_not_finite_fails_the_row(tmp_path):
    predictor = load(dump(LinearRegression().fit(ROWS, [1.0] * len(ROWS)), tmp_path))
    predictor.estimator._loaded.coef_ = np.full(4, 1e300)
    with pytest.raises(PredictionFailedError, match="no finite number"):
        ask(predictor, [1e300] * 4)


def test_names_of_columns_are_told_and_not_warned_of(tmp_path):
    fitted = LogisticRegression().fit(ROWS, [0, 1, 1] * 3)
    fitted.feature_names_in_ = np.array(["a", "b", "c", "d"], dtype=object)
    predictor = load(dump(fitted, tmp_path))
    assert predictor.describe()["feature_names"] == ["a", "b", "c", "d"]
    assert predictor.describe()["warnings"] == []
    assert ask(predictor, ROWS[0])[0].label in {"0", "1"}


class Threshold:
    """Takes rows, tells nothing about itself."""

    def predict(self, rows):
        return ["high" if row[0] > 0.5 else "low" for row in rows]


def test_an_object_that_tells_nothing_needs_an_example(tmp_path):
    dump(Threshold(), tmp_path)
    (tmp_path / "model.pkl").replace(tmp_path / "model.joblib")
    assert "does not tell its number of features" in refusal(tmp_path)
    example = GoldenExample(input=[0.7, 0.1], label="high")
    Manifest(golden=Golden(examples=(example,))).write(tmp_path)
    files = model_files(tmp_path)
    predictor = load_predictor(files, settings_for("joblib"))
    assert check_model(predictor, files).kind == "golden"
    with pytest.raises(InvalidInputError, match="expected 2 features"):
        predictor.prepare([[1.0]])


# Another method.


def test_predict_method_is_called_by_its_name(tmp_path):
    dump(text_pipeline(), tmp_path)
    usual, named = load(tmp_path), load(tmp_path, predict_method="predict_proba")
    assert ask(named, "a good film")[0] == ask(usual, "a good film")[0]
    margins = load(tmp_path, predict_method="decision_function")
    assert ask(margins, "a good film")[0].confidences == pytest.approx(
        ask(usual, "a good film")[0].confidences
    )


def test_a_method_that_is_not_there_is_told_the_others(tmp_path):
    message = refusal(dump(text_pipeline(), tmp_path), predict_method="predict_all")
    assert (
        "the Pipeline in the pickle has no method 'predict_all' (PREDICT_METHOD); it has predict, predict_proba"
        in message
    )
    assert "the dict in the pickle has no method 'predict'" in refusal(dump({"model": 1}, tmp_path))


def test_several_answers_for_one_input_are_refused(tmp_path):
    assert "4 values for one input" in refusal(dump(LinearRegression().fit(ROWS, ROWS), tmp_path))
    several = MultiOutputClassifier(LogisticRegression()).fit(
        ROWS, [[index % 2, index % 3] for index in range(9)]
    )
    assert "several questions at once" in refusal(dump(several, tmp_path))


# What cannot be read, or not be used.

SCRIPT = """
import sys, joblib
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

def tidy(texts):
    return [text.lower() for text in texts]

if __name__ == "__main__":
    model = make_pipeline(FunctionTransformer(tidy), CountVectorizer(), LogisticRegression())
    joblib.dump(model.fit(["good", "bad"], [1, 0]), sys.argv[1])
"""


def test_a_function_of_the_script_that_wrote_it_is_named(tmp_path):
    script = tmp_path / "training_script.py"
    script.write_text(SCRIPT)
    subprocess.run([sys.executable, str(script), str(tmp_path / "model.pkl")], check=True, timeout=100)
    message = refusal(tmp_path)
    assert "model.pkl needs tidy of the module __main__, the script that wrote it" in message
    assert "must live in an importable package" in message


def test_a_module_that_is_not_installed_is_named(tmp_path, monkeypatch):
    (tmp_path / "own_steps.py").write_text("class Step:\n    def predict(self, rows):\n        return rows\n")
    monkeypatch.syspath_prepend(tmp_path)
    import own_steps

    folder = dump(own_steps.Step(), tmp_path / "model")
    del sys.modules["own_steps"]
    (tmp_path / "own_steps.py").unlink()
    message = refusal(folder)
    assert "needs the module own_steps, which is not installed" in message
    assert "installed: scikit-learn" in message


@pytest.mark.parametrize("content", [b"", b"no pickle at all", b"\x80\x04\x95\xff\xff"])
def test_a_damaged_pickle_is_said_to_be_one(tmp_path, content: bytes):
    (tmp_path / "model.pkl").write_bytes(content)
    assert "model.pkl is no pickle that can be read" in refusal(tmp_path)


def test_an_attribute_that_is_gone_stops_the_start(tmp_path):
    fitted = classifier()
    del fitted.steps[-1][1].coef_
    message = refusal(dump(fitted, tmp_path))
    assert "model.pkl: it can be read but not used" in message
    assert "installed: scikit-learn" in message


class Skewed(LogisticRegression):
    """Warns when it is read, as scikit-learn does for other versions."""

    def __setstate__(self, state):
        warnings.warn(
            InconsistentVersionWarning(
                estimator_name="LogisticRegression",
                current_sklearn_version="1.9.1",
                original_sklearn_version="1.2.0",
            ),
            stacklevel=2,
        )
        self.__dict__.update(state)


def test_other_versions_are_remembered_and_told(tmp_path):
    predictor = load(dump(Skewed().fit(ROWS, [0, 1, 1] * 3), tmp_path))
    told = "LogisticRegression was pickled by scikit-learn 1.2.0 and is read by 1.9.1"
    assert predictor.describe()["warnings"] == [told]
    broken = Skewed().fit(ROWS, [0, 1, 1] * 3)
    del broken.coef_
    assert f"({told})" in refusal(dump(broken, tmp_path))


def test_several_pickles_are_refused(tmp_path):
    dump(text_pipeline(), tmp_path)
    dump(text_pipeline(), tmp_path, "vectorizer.pkl")
    assert "there must be one pickle, and there are 2: model.pkl, vectorizer.pkl" in refusal(tmp_path)


# What a pickle needs beside its bytes.


def skewed(folder: Path, monkeypatch) -> Path:
    """A pickle that another scikit-learn wrote."""
    import sklearn.base

    with monkeypatch.context() as patch:
        patch.setattr(sklearn.base, "__version__", "0.1.2")
        return tiny_joblib(folder)


def test_a_pickle_of_another_version_is_served_with_a_warning_that_names_both(tmp_path, monkeypatch):
    warnings.simplefilter("ignore", InconsistentVersionWarning)
    predictor = load(skewed(tmp_path, monkeypatch))
    assert any("0.1.2" in line and sklearn.__version__ in line for line in predictor.describe()["warnings"])


def test_a_pickle_of_another_version_stops_the_start_where_that_is_asked(tmp_path, monkeypatch):
    warnings.simplefilter("ignore", InconsistentVersionWarning)
    message = refusal(skewed(tmp_path, monkeypatch), pickle_version_skew="refuse")
    assert "0.1.2" in message
    assert sklearn.__version__ in message
    assert "PICKLE_VERSION_SKEW=warn" in message
    tiny_joblib(tmp_path)
    assert load(tmp_path, pickle_version_skew="refuse").labels == ("negative", "positive")


def test_a_pickle_that_every_user_may_change_is_warned_of(tmp_path, log_lines):
    folder = tiny_joblib(tmp_path / "model")
    load(folder)
    assert log_lines == []
    for place in (folder / "model.pkl", folder):
        mode = place.stat().st_mode
        place.chmod(mode | 0o002)
        load(folder)
        assert log_lines == [
            f"WARNING {place} can be written by every user, and a pickle in it runs code: chmod o-w it\n"
        ]
        log_lines.clear()
        place.chmod(mode)


def test_a_local_pickle_is_read_only_if_its_digest_was_given(tmp_path):
    tiny_joblib(tmp_path / "model")
    values = {"model_source": "local", "local_model_dir": tmp_path, "local_model_name": "model"}
    with pytest.raises(ConfigurationError, match="MODEL_DIGEST=") as caught:
        obtain_model(settings_for("joblib", **values))
    digest = str(caught.value).rpartition("=")[2]
    assert obtain_model(settings_for("joblib", **values, model_digest=digest)).model.digest == digest
    (tmp_path / "model" / "model.pkl").write_bytes(b"another")
    with pytest.raises(DigestMismatchError):
        obtain_model(settings_for("joblib", **values, model_digest=digest))
