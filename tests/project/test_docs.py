"""The class in the documentation is a real one: it is taken out, served and asked."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def documented_class(tmp_path, monkeypatch):
    (code,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/custom-models.md").read_text("utf-8"), re.DOTALL
    )
    package = tmp_path / "my_models"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "wine.py").write_text(code, "utf-8")
    model = tmp_path / "models" / "wine"
    model.mkdir(parents=True)
    (model / "weights.csv").write_text("1.0,0.4,-0.5")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_documented_class_serves(documented_class):
    from app.core.config import load_settings
    from app.main import create_app

    settings = load_settings(
        _env_file=None,
        model_source="local",
        local_model_dir=documented_class / "models",
        local_model_name="wine",
        model_loader="my_models.wine:WineQuality",
        model_parameters={"round_to": 0.5},
        inference_log=False,
        state_dir=documented_class / "state",
    )
    with TestClient(create_app(settings)) as client:
        reply = client.post("/predict", json={"alcohol": 12.5, "acidity": 0.4})
        assert reply.status_code == 200
        assert reply.json()["quality"] == 6.0
        assert reply.json()["model"]["version"] == "local"
        refused = client.post("/predict", json={"alcohol": 0, "acidity": 0})
        assert refused.status_code == 422
        assert "water" in refused.text
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
        assert set(schemas["WineRequest"]["properties"]) == {"alcohol", "acidity"}
        assert "quality" in schemas["WineResponse"]["properties"]
