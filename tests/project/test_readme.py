"""What the README names exists, and what exists is named."""

import re
from pathlib import Path

import pytest

from app.core.config import Settings

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def table_rows(text: str) -> dict[str, tuple[str, ...]]:
    rows: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3:
            for name in re.findall(r"`([A-Z_]{4,})`", cells[0]):
                rows[name] = tuple(cells[1:])
    return rows


def default_of(name: str) -> str:
    field = Settings.model_fields[name.lower()]
    value = field.get_default(call_default_factory=True)
    if name == "INFERENCE_THREADS":
        return "all cores"
    if value is None or value == "":
        return ""
    if isinstance(value, Path):
        return f"./{value}/"
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def test_the_tables_name_every_setting_with_its_default():
    rows = table_rows((ROOT / "docs/configuration.md").read_text("utf-8"))
    assert set(rows) == {name.upper() for name in Settings.model_fields}
    for name, (default, meaning) in rows.items():
        assert default.strip("`") == default_of(name), name
        assert meaning, name


def test_the_readme_repeats_the_main_settings_as_they_are():
    rows = table_rows(README.split("## Configuration\n", 1)[1].split("\n## ", 1)[0])
    assert {"MODEL_VERSION", "MODEL_LOADER", "PROJECT_NAME", "WANDB_API_KEY"} <= set(rows)
    everything = table_rows((ROOT / "docs/configuration.md").read_text("utf-8"))
    assert all(everything[name] == row for name, row in rows.items())


def test_the_example_names_every_setting_with_its_default():
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert set(values) == {name.upper() for name in Settings.model_fields}
    for name, value in values.items():
        assert value == default_of(name).replace("all cores", ""), name


def test_the_example_itself_is_a_valid_configuration(monkeypatch, tmp_path):
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    assert Settings(_env_file=ROOT / ".env.example") == Settings(_env_file=None)


def test_every_setting_says_what_it_means():
    source = (ROOT / "app/core/config.py").read_text("utf-8")
    for name in Settings.model_fields:
        assert re.search(
            rf"^    {name}: [^\n]*(?:\n(?!    \w)[^\n]*)*?\n    \"\"\"[A-Z`]", source, re.MULTILINE
        ), name


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"(?<![\w-])make ([a-z][a-z-]+)", README)) - {"another"})
)
def test_make_has_every_target_that_is_named(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_leads_somewhere(link):
    assert (ROOT / link).exists()
