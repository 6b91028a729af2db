"""The page about monitoring lists what `/metrics` gives, no more and no less, and the standards as they are."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from app.core.config import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/monitoring.md").read_text("utf-8")


class Quiet:
    """An inference log with something in every counter."""

    def record_window(self, values):
        pass

    def alert(self, title, text, level="WARN"):
        pass

    def health(self):
        return {
            "state": "ok",
            "received": 3,
            "confirmed": 2,
            "waiting": 1,
            "dropped": {"disk-full": 1},
            "spool": {"bytes": 10},
        }


def rows_of_the_table() -> dict[str, list[str]]:
    found = {}
    for line in PAGE.split("## Metrics\n", 1)[1].split("\n## ", 1)[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if name := re.fullmatch(r"`([a-z_]+)`", cells[0]):
            found[name[1]] = cells[1:]
    return found


def test_the_page_lists_every_metric_with_its_labels():
    from app.services.monitoring import Monitor

    monitor = Monitor(Settings(_env_file=None), Quiet(), lambda: (("sentiment", "v7", "d" * 32), True, 1, 0))
    monitor.observe(
        {
            "sentiment": "Positive",
            "confidence_positive": 0.9,
            "tokens": 3,
            "unknown_tokens": 1,
            "truncated": True,
        }
    )
    monitor.observe_request("POST", "/predict", 200, 0.02, prediction=True)
    monitor.count_error("overloaded")
    seen: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(monitor.metrics().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert family.samples, name
        seen[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    documented = rows_of_the_table()
    assert set(documented) == set(seen)
    for name, (labels, unit, what, _) in documented.items():
        assert set(re.findall(r"`(\w+)`", labels)) == seen[name], name
        assert unit, name
        assert what, name


def test_the_page_names_the_standards_as_they_are_by_default():
    settings = Settings(_env_file=None)
    assert f"at most {settings.standard_latency_ms:,.0f} ms" in PAGE
    assert f"at most {settings.standard_error_share * 100:g} % of them fail" in PAGE
    assert f"{settings.standard_accuracy * 100:g} % of the predictions with feedback are right" in PAGE
    for name in re.findall(r"`((?:STANDARD|DRIFT|FEEDBACK)_[A-Z_]+)`", PAGE):
        assert name.lower() in Settings.model_fields, name
