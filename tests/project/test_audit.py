"""What could not be asked is never called passed."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_spec = importlib.util.spec_from_file_location("audit", ROOT / "scripts" / "audit.py")
assert _spec is not None
assert _spec.loader is not None
audit = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(audit)

FINE = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("dependencies", "code", "word"),
    [
        ([FINE, FINE], 0, "passed"),
        ([FINE, BAD, SKIPPED], 1, "FAILED"),
        ([FINE, SKIPPED], 0, "PARTLY SKIPPED"),
        ([SKIPPED, SKIPPED], 0, "SKIPPED"),
        ([], 0, "SKIPPED"),
    ],
)
def test_the_last_line_says_what_was_audited(dependencies, code, word):
    found, lines = audit.report(dependencies)
    assert (found, lines[-1].split(":")[0]) == (code, word)
    assert (word == "passed") is ("passed" in " ".join(lines))


def test_an_advisory_is_named_with_its_remedy():
    assert audit.report([BAD])[1][0] == "b 2: PYSEC-1, mended in 3"


def test_every_pin_is_asked_about_once():
    found = audit.pins(ROOT / "requirements")
    names = [pin.partition("==")[0] for pin in found]
    assert {"fastapi", "tensorflow", "wandb", "pip-audit", "mutmut", "ruff", "uvicorn"} <= set(names)
    assert len(names) == len(set(found))
    assert all(pin.count("==") == 1 and " " not in pin and "[" not in pin for pin in found)
