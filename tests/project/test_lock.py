"""pyproject.toml, poetry.lock and requirements/ say the same. What mends a failure here is `make lock`."""

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
LOCK_TEXT = (ROOT / "poetry.lock").read_text("utf-8")
LOCK = tomllib.loads(LOCK_TEXT)

# Groups and whether the tensorflow extra is in it, a file: as scripts/lock.sh exports them.
SETS = {
    "serving": ({"main"}, False),
    "ml": ({"main", "ml"}, False),
    "monitoring": ({"main", "ml", "monitoring"}, False),
    "test": ({"main", "ml", "monitoring", "test", "lint"}, False),
    "cloud": ({"cloud"}, False),
    "audit": ({"audit"}, False),
    "mutation": ({"mutation"}, False),
    "tensorflow": ({"main"}, True),
}

Pin = tuple[str, str, frozenset[str]]


def locked_pins(groups: set[str], *, extra: bool) -> set[Pin]:
    """Name, version and hashes of every locked package that the groups need."""

    def needed(package: dict[str, Any]) -> bool:
        markers = package.get("markers", "")
        by_group = (
            (group, markers if isinstance(markers, str) else markers.get(group, ""))
            for group in package["groups"]
        )
        return any(group in groups and (extra or "extra ==" not in marker) for group, marker in by_group)

    return {
        (package["name"], package["version"], frozenset(file["hash"] for file in package["files"]))
        for package in LOCK["package"]
        if needed(package)
    }


def exported_pins(name: str) -> set[Pin]:
    """Name, version and hashes of every requirement in requirements/<name>.txt."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").replace("\\\n", " ")
    pins = set()
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if line.startswith("#"):
            continue
        match = re.match(r"([a-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", line)
        assert match is not None, f"not a pinned requirement: {line[:80]}"
        pins.add((match[1], match[2], frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", line))))
    return pins


def direct_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[ (;\[<>=]", requirement, maxsplit=1)[0] for requirement in requirements}


def test_lock_was_made_from_this_pyproject() -> None:
    """As Poetry computes it: so `poetry install` doesn't complain either."""
    project = PYPROJECT["project"]
    relevant = {
        "project": {
            key: project[key] for key in ("requires-python", "dependencies", "optional-dependencies")
        },
        "dependency-groups": PYPROJECT["dependency-groups"],
        "tool": {"poetry": {}},
    }
    digest = hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()
    assert LOCK["metadata"]["content-hash"] == digest, "pyproject.toml changed after poetry.lock: make lock"


@pytest.mark.parametrize("name", SETS)
def test_requirements_are_what_the_lock_holds(name: str) -> None:
    groups, extra = SETS[name]
    locked, exported = locked_pins(groups, extra=extra), exported_pins(name)
    differences = sorted(f"{package} {version}" for package, version, _ in locked ^ exported)
    assert not differences, f"poetry.lock and requirements/{name}.txt differ in {differences}: make lock"
    assert all(hashes for _, _, hashes in exported)


def test_every_requirements_file_is_a_set() -> None:
    assert {path.stem for path in (ROOT / "requirements").glob("*.txt")} == set(SETS)


def test_sets_hold_what_pyproject_asks_for() -> None:
    project, groups = PYPROJECT["project"], PYPROJECT["dependency-groups"]
    wanted = {
        "serving": direct_names(project["dependencies"]),
        "ml": direct_names(groups["ml"]),
        "monitoring": direct_names(groups["ml"] + groups["monitoring"]),
        "test": direct_names(groups["ml"] + groups["monitoring"] + groups["test"] + groups["lint"]),
        "cloud": direct_names(groups["cloud"]),
        "audit": direct_names(groups["audit"]),
        "mutation": direct_names(groups["mutation"]),
        "tensorflow": direct_names(project["optional-dependencies"]["tensorflow"]),
    }
    for name, names in wanted.items():
        missing = names - {package for package, _, _ in exported_pins(name)}
        assert not missing, f"requirements/{name}.txt lacks {missing}: make lock"


def test_tensorflow_stays_out_of_what_serving_and_fast_tests_install() -> None:
    heavy = {"tensorflow", "tf-keras", "keras", "transformers", "torch"}
    for name in ("serving", "ml", "test"):
        assert not heavy & {package for package, _, _ in exported_pins(name)}


def test_no_address_and_no_path_is_locked() -> None:
    assert not [package["name"] for package in LOCK["package"] if "source" in package]
    assert not [
        file for package in LOCK["package"] for file in package["files"] if set(file) != {"file", "hash"}
    ]
    for name in SETS:
        text = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8")
        assert "://" not in text
        assert "-index-url" not in text
        assert "--find-links" not in text


def test_no_index_is_named_in_pyproject() -> None:
    assert "source" not in PYPROJECT["tool"]["poetry"]
