"""The app as other ASGI servers take it, and what importing it costs."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from app import __version__
from app.core.errors import ConfigurationError
from app.main import create_app

HEAVY = (
    "joblib",
    "keras",
    "numpy",
    "onnxruntime",
    "pandas",
    "scipy",
    "sklearn",
    "tensorflow",
    "transformers",
    "wandb",
)
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("module", ["app.main", "app.__main__"])
def test_importing_it_imports_nothing_heavy(module):
    program = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=100, check=True, cwd=ROOT
    )
    imported = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not imported & set(HEAVY)


def test_importing_it_builds_nothing():
    import app.main

    assert not hasattr(app.main, "app")


def test_without_settings_they_are_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("PORT", "abc")
    with pytest.raises(ConfigurationError, match="PORT"):
        create_app()


def test_under_another_server_start_up_fails_with_one_plain_line(make_settings):
    from tests.app.api.client import AppClient

    settings = make_settings(model_parameters={"refuse": "the folder holds no words"})
    with pytest.raises(RuntimeError, match=r"\Athe folder holds no words\Z"), AppClient(create_app(settings)):
        pass


def test_the_version_is_the_projects():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == __version__
