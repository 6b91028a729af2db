"""Ids that carry their prediction: read by whoever has the key, refused when forged, changed, old or no id at all."""

import base64
import time
from typing import Any

import pytest

from app.core.config import Settings
from app.core.errors import ExpiredIdError, InvalidFieldsError, UnknownIdError
from app.services import feedback
from app.services.feedback import Feedback, PredictionIds


def ids(key: str | None = "shared-between-instances", **changes: Any) -> PredictionIds:
    return PredictionIds(Settings(_env_file=None, feedback_key=key, **changes))


class Told:
    """Log and monitor in one."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.judged: list[tuple[str, str]] = []
        self.repeated = 0

    def record(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def judge(self, truth: str, issued: Any) -> None:
        self.judged.append((truth, issued.label))

    def count_repeated(self) -> None:
        self.repeated += 1


@pytest.fixture
def told():
    return Told()


def joiner(told: Told, source: PredictionIds) -> Feedback:
    return Feedback(source, told, told)


def test_another_instance_with_the_key_reads_what_the_id_carries():
    issued = ids().read(ids().issue("positive", 0.9731, "v12"))
    assert (issued.label, issued.version) == ("positive", "v12")
    assert issued.confidence == pytest.approx(0.9731, abs=1e-5)
    assert abs(issued.issued - time.time()) <= 2


@pytest.mark.parametrize(
    ("label", "confidence", "version"),
    [
        (None, None, "v1"),
        ("", 0.0, ""),
        ("très négatif", 1.0, "embedded"),
        ("x" * 500, 0.5, "v" * 500),
        ("日" * 90, 0.5, "v1"),
    ],
)
def test_any_label_and_version_fit(label, confidence, version):
    text = ids().issue(label, confidence, version)
    issued = ids().read(text)
    assert (label or "").startswith(issued.label)
    assert version.startswith(issued.version)
    assert issued.confidence == confidence
    assert text.replace("-", "").replace("_", "").isalnum()
    assert len(text) <= 400


def test_ids_are_unique():
    source = ids()
    assert len({source.issue("positive", 0.5, "v1") for _ in range(1_000)}) == 1_000


def test_an_instance_without_the_key_refuses_and_says_what_to_do():
    text = ids(None).issue("positive", 0.9, "v1")
    with pytest.raises(UnknownIdError, match="FEEDBACK_KEY"):
        ids(None).read(text)
    with pytest.raises(UnknownIdError, match="not issued by this service"):
        ids("another-key").read(text)


def test_no_changed_bit_gets_through():
    source = ids()
    signed = base64.urlsafe_b64decode(source.issue("negative", 0.8, "v3") + "==")
    for index in range(len(signed)):
        changed = bytearray(signed)
        changed[index] ^= 1
        with pytest.raises((UnknownIdError, InvalidFieldsError)):
            source.read(base64.urlsafe_b64encode(bytes(changed)).rstrip(b"=").decode())


@pytest.mark.parametrize(
    "text", ["", "x", "zz zz", "é" * 60, "A" * 60, "A" * 399, "A" * 5_000, "5f2b0c6de1f94a0cb3a1a3c2a7d0f5aa"]
)
def test_what_is_no_id_is_named_as_the_field_that_is_wrong(text):
    with pytest.raises(InvalidFieldsError) as refused:
        ids().read(text)
    assert refused.value.fields[0][0] == "id"


def test_an_id_has_one_spelling():
    source = ids()
    text = source.issue("positive", 0.5, "v1")
    for other in (text + "=", text + "==", f" {text}", text[:-1] + chr(ord(text[-1]) + 1)):
        with pytest.raises((UnknownIdError, InvalidFieldsError)):
            source.read(other)


def test_old_ids_are_refused(monkeypatch):
    source = ids(feedback_days=2)
    text = source.issue("positive", 0.9, "v1")
    now = time.time()
    monkeypatch.setattr(feedback.time, "time", lambda: now + 2 * 86_400 - 60)
    assert source.read(text).label == "positive"
    monkeypatch.setattr(feedback.time, "time", lambda: now + 2 * 86_400 + 60)
    with pytest.raises(ExpiredIdError, match="2 days"):
        source.read(text)


def test_a_truth_is_counted_once_and_logged_by_the_id(told):
    source = ids()
    text = source.issue("positive", 0.9, "v7")
    join = joiner(told, source).join
    first = join(text, " Negative ", ("negative", "positive"))
    assert (first.truth, first.counted, first.issued.label) == ("negative", True, "positive")
    assert not join(text, "positive", ("negative", "positive")).counted
    assert (told.judged, told.repeated) == ([("negative", "positive")], 1)
    (row,) = told.rows
    assert (row["kind"], row["prediction_id"], row["truth"], row["right"]) == (
        "feedback",
        text,
        "negative",
        False,
    )
    assert row["model_version"] == "v7"
    assert row["id"] != text


def test_two_instances_log_one_row(told):
    text = ids().issue("positive", 0.9, "v7")
    for source in (ids(), ids()):
        joiner(told, source).join(text, "positive", ("negative", "positive"))
    assert len({row["id"] for row in told.rows}) == 1


def test_memory_of_ids_is_bounded(told, monkeypatch):
    monkeypatch.setattr(feedback, "_REMEMBERED", 3)
    source = ids()
    texts = [source.issue("positive", 0.9, "v7") for _ in range(4)]
    join = joiner(told, source).join
    assert all(join(text, "positive", ("positive",)).counted for text in texts)
    assert not join(texts[3], "positive", ("positive",)).counted
    assert join(texts[0], "positive", ("positive",)).counted


def test_a_label_that_no_model_has_is_refused_with_those_that_it_has(told):
    source = ids()
    text = source.issue("positive", 0.9, "v7")
    with pytest.raises(InvalidFieldsError, match="label: send one of negative, positive"):
        joiner(told, source).join(text, "wonderful", ("negative", "positive"))
    assert told.rows == []


def test_the_label_of_an_older_model_is_taken(told):
    source = ids()
    text = source.issue("mixed", 0.9, "v1")
    assert joiner(told, source).join(text, "mixed", ("negative", "positive")).truth == "mixed"


def test_a_prediction_without_a_label_takes_no_truth(told):
    source = ids()
    with pytest.raises(InvalidFieldsError, match="no label"):
        joiner(told, source).join(source.issue(None, None, "v1"), "positive", ())


def test_it_says_once_that_ids_are_this_instances_own(told, log_records):
    source = ids(None)
    join = joiner(told, source).join
    for _ in range(2):
        join(source.issue("positive", 0.9, "v1"), "positive", ())
    assert sum("FEEDBACK_KEY" in record["message"] for record in log_records) == 1
