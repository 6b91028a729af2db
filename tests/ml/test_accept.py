import json
from pathlib import Path

import pytest

from ml.__main__ import main
from ml.accept import accept, acceptance_dataset
from ml.acceptance import AcceptanceError, AcceptanceText, load_sentences
from tests.ml.keyword_model import KeywordPredictor

LOADER = "tests.ml.keyword_model:KeywordPredictor"
TEXTS = (
    AcceptanceText("plain-01", "a fine film", "positive", "plain"),
    AcceptanceText("plain-02", "a dull film", "negative", "plain"),
    AcceptanceText("negation-01", "not fine", "negative", "negation"),
    AcceptanceText("negation-02", "not dull", "positive", "negation"),
)


class TestAccept:
    def test_scores_by_kind_and_names_the_misread(self):
        report = accept(KeywordPredictor({"fine": "positive", "dull": "negative"}), 0.5, TEXTS)
        assert {kind: (score.right, score.rows) for kind, score in report.kinds.items()} == {
            "plain": (2, 2),
            "negation": (0, 2),
        }
        assert [(wrong.id, wrong.answer) for wrong in report.wrong] == [
            ("negation-01", "positive"),
            ("negation-02", "negative"),
        ]
        assert report.overall.accuracy == 0.5
        assert report.digest == acceptance_dataset(TEXTS).digest()

    @pytest.mark.parametrize(("floor", "accepted"), [(0.5, True), (0.51, False)])
    def test_the_floor_decides(self, floor, accepted):
        words = {"fine": "positive", "dull": "negative"}
        assert accept(KeywordPredictor(words), floor, TEXTS).accepted is accepted

    def test_shows_what_it_found(self):
        lines = str(accept(KeywordPredictor({"fine": "positive"}), 0.9, TEXTS)).splitlines()
        assert lines[0].split() == ["plain", "2", "of", "2", "100.0%"]
        assert "wrong: negation-01, negative, answered positive: not fine" in lines
        assert lines[-1] == "2 of 4 right, 50.0%; floor 90.0%"

    def test_a_failure_is_a_wrong_answer_with_its_reason(self):
        report = accept(
            KeywordPredictor({"dull film": "fail", "fine film": "positive", "not dull": "positive"}),
            0.9,
            TEXTS,
        )
        assert [wrong.id for wrong in report.wrong] == ["plain-02"]
        assert report.wrong[0].answer == "nothing (RuntimeError: cannot read a dull film)"

    def test_a_model_that_always_says_the_same_fails_on_our_sentences(self):
        for answer in ("positive", "negative"):
            report = accept(KeywordPredictor({"": answer}))
            assert not report.accepted
            assert report.overall.rows == len(load_sentences())

    def test_refuses_a_model_with_other_labels(self):
        predictor = KeywordPredictor({})
        predictor.labels = ()
        with pytest.raises(AcceptanceError, match="must have the labels negative and positive; it has: none"):
            accept(predictor)
        with pytest.raises(AcceptanceError, match="no texts"):
            accept(KeywordPredictor({}), 0.9, ())


class TestCommand:
    @pytest.fixture(autouse=True)
    def _without_settings_of_the_laptop(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)

    def model(self, folder: Path, wrong: range = range(0)) -> str:
        """A model that has our sentences by heart but for those at the positions `wrong`."""
        words = {text.text: text.label for text in load_sentences()}
        for text in [load_sentences()[position] for position in wrong]:
            words[text.text] = "negative" if text.label == "positive" else "positive"
        folder.mkdir()
        (folder / "words.json").write_text(json.dumps(words), "utf-8")
        return str(folder)

    def accept(self, *words: str) -> int:
        return main(["accept", *words, "--loader", LOADER])

    def test_accepts_and_writes_a_report(self, tmp_path, capsys):
        code = self.accept(self.model(tmp_path / "new", range(5)), "--json", str(tmp_path / "report.json"))
        assert code == 0
        assert capsys.readouterr().out.splitlines()[-1] == "Accepted"
        report = json.loads((tmp_path / "report.json").read_text("utf-8"))
        assert report["accepted"] is True
        assert report["reasons"] == []
        assert len(report["model_digest"]) == 32
        assert [wrong["id"] for wrong in report["acceptance"]["wrong"]] == [
            text.id for text in load_sentences()[:5]
        ]

    def test_rejects_below_the_floor_and_says_so_last(self, tmp_path, capsys):
        assert self.accept(self.model(tmp_path / "new", range(5)), "--floor", "0.98") == 1
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1] == "Rejected: 96.9% of the acceptance texts right, below the floor of 98.0%"
        assert any(line.startswith(f"wrong: {load_sentences()[4].id},") for line in lines)

    def test_rejects_a_model_that_is_worse_than_the_one_in_use(self, tmp_path, capsys):
        new, current = self.model(tmp_path / "new", range(6)), self.model(tmp_path / "current")
        assert self.accept(new, "--against", current, "--json", str(tmp_path / "report.json")) == 1
        assert capsys.readouterr().out.splitlines()[-1].startswith("Rejected: against current: Worse: ")
        comparison = json.loads((tmp_path / "report.json").read_text("utf-8"))["comparison"]
        assert (comparison["lost"], comparison["gained"]) == (6, 0)
        assert comparison["digest"] == acceptance_dataset().digest()

    def test_accepts_an_equal_one(self, tmp_path):
        assert self.accept(self.model(tmp_path / "new"), "--against", self.model(tmp_path / "current")) == 0

    def test_compares_on_other_data(self, tmp_path, capsys):
        rows = [
            f"{text.text},{text.label}"
            for text in load_sentences()
            if "," not in text.text and '"' not in text.text
        ]
        (tmp_path / "more.csv").write_text("\n".join(["text,label", *rows]), "utf-8")
        new, current = self.model(tmp_path / "new"), self.model(tmp_path / "current")
        assert self.accept(new, "--against", current, "--data", str(tmp_path / "more.csv")) == 0
        assert f"On more, {len(rows)} texts" in capsys.readouterr().out

    def test_rejects_what_cannot_be_loaded(self, tmp_path, capsys):
        (tmp_path / "new").mkdir()
        assert self.accept(str(tmp_path / "new"), "--json", str(tmp_path / "report.json")) == 1
        assert "Rejected: " in capsys.readouterr().out
        (reason,) = json.loads((tmp_path / "report.json").read_text("utf-8"))["reasons"]
        assert "no words.json" in reason

    def test_does_not_blame_the_candidate_for_what_it_cannot_be_compared_with(self, tmp_path, capsys):
        new = self.model(tmp_path / "new")
        (tmp_path / "current").mkdir()
        assert self.accept(new, "--against", str(tmp_path / "current")) == 2
        assert "nothing to compare with" in capsys.readouterr().err
        (tmp_path / "bad.csv").write_text("text\nfine\n", "utf-8")
        assert self.accept(new, "--against", new, "--data", str(tmp_path / "bad.csv")) == 2
        assert "no column label" in capsys.readouterr().err
        (tmp_path / "none.csv").write_text("text,label\n", "utf-8")
        assert self.accept(new, "--against", new, "--data", str(tmp_path / "none.csv")) == 2
        assert "none holds no texts" in capsys.readouterr().err

    def test_wrong_use(self, tmp_path, capsys):
        new = self.model(tmp_path / "new")
        assert self.accept(new, "--data", new) == 2
        assert "--against" in capsys.readouterr().err
        for words in ([str(tmp_path / "absent")], [new, "--floor", "90"], [new, "--floor", "high"]):
            with pytest.raises(SystemExit) as caught:
                self.accept(*words)
            assert caught.value.code == 2
