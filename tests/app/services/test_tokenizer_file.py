"""A tokenizer that would blow a text up is refused before it is given one."""

import json
from typing import Any

import pytest

from app.core.errors import ModelLoadError
from app.services.predictor import load_predictor
from app.services.tokenizer_file import check_tokenizer
from tests import models


def with_normalizer(folder, normalizer: Any):
    path = models.tiny_onnx(folder) / "tokenizer.json"
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({**content, "normalizer": normalizer}))
    return path


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


SEQUENCE = {"type": "Sequence", "normalizers": [replace({"String": "ab"}, "b" * 400)]}


@pytest.mark.parametrize(
    "normalizer",
    [
        {"type": "Sequence", "normalizers": [replace({"String": "a"}, "aa")] * 30},
        replace({"Regex": "."}, "x" * 1_000),
        {"type": "Sequence", "normalizers": [SEQUENCE]},
        {"type": "Sequence", "normalizers": [*SEQUENCE["normalizers"], {"type": "Sequence", "normalizers": []}]},
        replace({"String": "a"}, "b" * 65),
        {"type": "Replace", "pattern": "no object", "content": "x" * 1_000},
    ],
    ids=["doubled", "regex", "nested", "before a nested", "just too long", "odd pattern"],
)  # fmt: skip
def test_replacements_that_blow_a_text_up_are_refused(tmp_path, normalizer):
    with_normalizer(tmp_path, normalizer)
    with pytest.raises(ModelLoadError, match="times longer"):
        load_predictor(models.model_files(tmp_path), models.settings_for("onnx"))


def test_usual_replacements_are_taken(tmp_path):
    steps = [replace({"String": "``"}, '"'), replace({"Regex": " {2,}"}, " "), {"type": "Lowercase"}]
    check_tokenizer(with_normalizer(tmp_path, {"type": "Sequence", "normalizers": steps}))


@pytest.mark.parametrize(
    "steps",
    [
        [replace({"String": "a"}, "b" * 64)],
        [replace({"String": "a" * 20}, "b" * 100)],
        [replace({"String": "aa"}, "a")] * 10,
    ],
    ids=["as much as may be", "of a long literal", "shortening"],
)
def test_replacements_within_the_limit_are_taken(tmp_path, steps):
    check_tokenizer(with_normalizer(tmp_path, {"type": "Sequence", "normalizers": steps}))


def test_what_is_no_tokenizer_is_said_in_words(tmp_path):
    path = models.tiny_onnx(tmp_path) / "tokenizer.json"
    for content in ("[]", "{", "[" * 100_000):
        path.write_text(content)
        with pytest.raises(ModelLoadError, match=r"tokenizer\.json"):
            load_predictor(models.model_files(tmp_path), models.settings_for("onnx"))
