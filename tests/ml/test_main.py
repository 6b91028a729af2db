"""The command line: quick help without heavy libraries, one plain line for what went wrong."""

import json
import subprocess
import sys

import pytest

from ml.__main__ import COMMANDS, main
from tests.ml.samples import sentences


def test_help_is_had_without_any_heavy_library():
    script = """
import contextlib, io, json, sys
from ml.__main__ import COMMANDS, main
shown = {}
for words in (["--help"], *([name, "--help"] for name in COMMANDS)):
    text = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(text):
        main(words)
    shown[words[0]] = text.getvalue()
heavy = {"tensorflow", "transformers", "wandb", "sklearn", "onnx", "onnxruntime", "pandas", "matplotlib", "tokenizers"}
print(json.dumps([shown, sorted(heavy & set(sys.modules))]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True
    )
    shown, heavy = json.loads(done.stdout)
    assert set(heavy) <= {"tokenizers"}
    for name in COMMANDS:
        assert name in shown["--help"]
        assert shown[name].startswith(f"usage: python -m ml {name}")
    assert "--stages TOKENS:PASSES" in shown["train"]
    assert "--promote" in shown["publish"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "run", "--data", "absent.csv"], "train: no data at absent.csv\n"),
        (["export", "absent", "out"], "export: [Errno 2] No such file or directory: 'absent/config.json'\n"),
        (
            ["publish", "absent", "--project", "reviews"],
            "publish: absent has no marquee.json: export the model first\n",
        ),
        (["publish", "absent"], "publish: no W&B project: set PROJECT_NAME or give --project\n"),
    ],
)
def test_what_went_wrong_is_one_line(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PROJECT_NAME", raising=False)
    assert main(words) == 1
    assert capsys.readouterr().err == message


def test_a_model_that_is_none_is_one_line(capsys, tmp_path):
    assert main(["evaluate", str(tmp_path), "--data", "absent.csv"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("evaluate: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "the following arguments are required: folder, --data"),
        (
            ["train", "run", "--data", "x.csv", "--stages", "9999:1"],
            "argument --stages: stage '9999:1': expected TOKENS:PASSES with 16 to 512 tokens",
        ),
        (["bake"], "invalid choice: 'bake'"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_use_is_told_by_exit_code_2(words, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_traceback_is_shown_when_asked_for(monkeypatch):
    monkeypatch.setenv("MARQUEE_TRACEBACK", "1")
    with pytest.raises(ValueError, match=r"no data at absent\.csv"):
        main(["train", "run", "--data", "absent.csv"])


def test_a_missing_library_is_one_line(monkeypatch, tmp_path, capsys):
    from ml.training_data import save

    save(sentences(60), tmp_path / "made.parquet")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert main(["train", str(tmp_path / "run"), "--data", str(tmp_path / "made.parquet")]) == 1
    assert (
        "train: tensorflow is not installed: this model needs the 'tensorflow' extra"
        in capsys.readouterr().err
    )


def test_an_interruption_is_no_failure_of_ours(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ml.train_command.run", interrupted)
    assert main(["train", "run", "--data", "x.csv"]) == 130
    assert capsys.readouterr().err == "train: interrupted\n"
