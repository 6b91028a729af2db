"""The reference profile: shares by bin that a monitor can compare live traffic with."""

import numpy as np
import pytest

from app.services.artifact import Manifest, read_manifest
from app.services.familiarity import filter_of
from app.services.monitoring.drift import signals_of
from app.services.text import EncodedText
from ml.__main__ import main
from ml.reference import CONFIDENCE_EDGES, LENGTH_EDGES, UNKNOWN_EDGES, profile, wording


def text(tokens: int, unknown: int = 0) -> EncodedText:
    return EncodedText(((0,),), tokens, unknown, truncated=False)


def test_counts_labels_lengths_confidence_and_unknown_tokens():
    texts = [text(10), text(16, unknown=1), text(2000), text(64)]
    answers = np.array([[0.5, 0.5], [0.05, 0.95], [0.2, 0.8], [0.995, 0.005]])
    found = profile("made", ("negative", "positive"), texts, answers)
    assert (found["data"], found["rows"]) == ("made", 4)
    assert found["label"] == {"negative": 0.5, "positive": 0.5}
    assert found["tokens"]["edges"] == list(LENGTH_EDGES)
    assert found["tokens"]["shares"] == [0.25, 0.25, 0, 0.25, 0, 0, 0, 0, 0, 0, 0.25]
    assert found["confidence"]["edges"] == list(CONFIDENCE_EDGES)
    assert found["confidence"]["shares"] == [0.25, 0, 0, 0.25, 0, 0.25, 0.25]
    assert found["unknown_share"]["edges"] == list(UNKNOWN_EDGES)
    assert found["unknown_share"]["shares"] == [0.75, 0, 0, 0, 0, 0.25]


def test_shares_sum_to_one():
    generator = np.random.default_rng(0)
    positive = generator.random(500)
    texts = [text(int(n), int(n) // 30) for n in generator.integers(0, 1500, 500)]
    found = profile("made", ("negative", "positive"), texts, np.stack([1 - positive, positive], axis=1))
    for name in ("tokens", "confidence", "unknown_share"):
        assert sum(found[name]["shares"]) == pytest.approx(1, abs=1e-5)
    assert sum(found["label"].values()) == pytest.approx(1)


def test_a_text_without_tokens_has_no_unknown_share():
    found = profile("made", ("negative", "positive"), [text(0)], np.array([[0.9, 0.1]]))
    assert found["unknown_share"]["shares"][0] == 1


def worded(*ids: int) -> EncodedText:
    return EncodedText(((101, *ids, 102),), len(ids), 0, truncated=False)


def test_wording_tells_familiar_pairs_and_languages():
    known = [
        worded(*range(10, 30)),
        worded(*range(10, 20)),
        worded(*range(15, 30)),
        worded(*range(30, 10, -1)),
    ]
    texts = ["The film was fine and so was the cast."] * 3 + ["Der Film war gut und die Musik ist schön."]
    found = wording(texts, known, [list(range(10, 30))] * 5)
    assert found["language"] == {"en": 0.75, "de": 0.25}
    assert sum(found["familiar_pairs"]["shares"]) == pytest.approx(1)
    pairs = filter_of(found)
    assert pairs.share(known[0].windows) == 1
    assert pairs.share(known[3].windows) == 0
    assert {signal.name for signal in signals_of({"rows": 4} | found)} == {"language", "familiar_pairs"}


def test_the_command_adds_it_to_a_model_and_changes_nothing_else(tmp_path, capsys):
    from tests import models
    from tests.ml.samples import sentences

    folder = models.tiny_onnx(tmp_path / "tiny")
    before = read_manifest(folder) or Manifest()
    before.write(folder)
    texts = sentences(60).texts
    for name, rows in (("training", texts[::2]), ("validation", texts[1::2])):
        lines = [f'"{text}",{index % 2}' for index, text in enumerate(rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]), "utf-8")
    files = {name: str(tmp_path / f"{name}.csv") for name in ("training", "validation")}
    command = ["reference", str(folder), "--training", files["training"], "--validation", files["validation"]]
    assert main(command) == 0, capsys.readouterr().err
    after = read_manifest(folder)
    assert set(after.reference) == {*before.reference, "language", "familiar_pairs"}
    assert after.model_copy(update={"reference": before.reference}) == before


def test_a_folder_without_a_manifest_is_refused_in_words(tmp_path, capsys):
    assert main(["reference", str(tmp_path), "--training", "x.csv", "--validation", "x.csv"]) == 1
    assert "marquee.json" in capsys.readouterr().err
