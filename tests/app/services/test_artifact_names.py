"""Names in a manifest come from whoever logged the artifact."""

import pytest

from app.services.artifact_names import MOST_FILES, problem_of


@pytest.mark.parametrize(
    "name",
    [
        "../model.bin",
        "a/../../b",
        "/etc/passwd",
        "",
        ".",
        "..",
        "a//b",
        "./a",
        "a/",
        "..\\a",
        "a\\b",
        "\\\\host\\a",
    ],
)
def test_a_name_that_leaves_the_folder_is_refused(name):
    assert "which leaves the model's folder" in (problem_of([name]) or "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("C:model.bin", "character"),
        ("model.bin:stream", "character"),
        ("a\0b", "character"),
        ("a\nb", "character"),
        ("a\u202eb", "character"),
        ("half \ud83d", "character"),
        ("model.bin.", "some systems"),
        ("model.bin ", "some systems"),
        ("folder /model.bin", "some systems"),
        ("NUL", "some systems"),
        ("a/con.txt", "some systems"),
        ("é" * 128, "longer than 255 bytes"),
    ],
)
def test_a_name_that_is_another_one_elsewhere_is_refused(name, reason):
    problem = problem_of(["fine.bin", name])
    assert problem is not None
    assert reason in problem
    assert len(problem) < 300
    assert problem.isprintable()


@pytest.mark.parametrize(
    "names",
    [
        ("Model.onnx", "model.onnx"),
        ("caf\u00e9", "cafe\u0301"),
        ("straße", "STRASSE"),
        ("a", "a/b"),
        ("A/b", "a"),
    ],
)
def test_two_names_for_one_file_are_refused(names):
    for order in (names, names[::-1]):
        problem = problem_of(order)
        assert problem is not None
        assert "rename one of them" in problem


def test_the_names_that_will_not_do_are_told():
    assert problem_of(["fine.bin", "Model.onnx", "model.onnx"]) == (
        "has the files 'Model.onnx' and 'model.onnx', which are one on some systems: rename one of them"
    )
    assert problem_of(["a", "a/b"]) == "has 'a' as a file and as a folder: rename one of them"
    long = problem_of(["x" * 256]) or ""
    assert long.startswith(f"has a file named '{'x' * 100}', a part of which is longer")


def test_usual_names_are_taken():
    names = [
        "model.onnx",
        "deep/er/é ü.txt",
        "deep-2.txt",
        ".hidden",
        "v1.0/weights.h5",
        "com10",
        "a..b",
        "..a",
        "INDEX",
        "x" * 255,
    ]
    assert problem_of(names) is None


def test_more_files_than_a_model_has_are_refused():
    assert problem_of(f"{number}" for number in range(MOST_FILES)) is None
    assert "more than" in (problem_of(f"{number}" for number in range(MOST_FILES + 1)) or "")
