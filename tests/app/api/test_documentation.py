"""The OpenAPI page follows the model."""

import pytest

NUMBERS = "tests.app.api.predictors:NumbersPredictor"
STATUSES = {"200", "400", "408", "413", "415", "422", "429", "500", "503", "504"}


@pytest.mark.parametrize(
    ("loader", "name"), [("tests.app.api.predictors:WordsPredictor", "Words"), (NUMBERS, "Numbers")]
)
def test_the_models_own_classes_are_documented(make_client, loader, name):
    schema = make_client(model_loader=loader).get("/openapi.json").json()
    for path in ("/predict", "/api/v1/predict"):
        operation = schema["paths"][path]["post"]
        asked = operation["requestBody"]["content"]["application/json"]["schema"]
        answered = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert asked == {"$ref": f"#/components/schemas/{name}Request"}
        assert answered == {"$ref": f"#/components/schemas/{name}Response"}
        assert set(operation["responses"]) == STATUSES
    assert {f"{name}Request", f"{name}Response", "Problem", "ProblemItem"} <= set(
        schema["components"]["schemas"]
    )


def test_every_reference_leads_to_a_schema(client):
    schema = client.get("/openapi.json").json()

    def references(node):
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for inner in node.values():
                yield from references(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from references(inner)

    found = set(references(schema))
    assert found
    assert {reference.removeprefix("#/components/schemas/") for reference in found} <= set(
        schema["components"]["schemas"]
    )


def test_operations_have_names_of_their_own(client):
    operations = [
        operation["operationId"] for path in client.get("/openapi.json").json()["paths"].values()
        for operation in path.values()
    ]  # fmt: skip
    assert len(operations) == len(set(operations))


def test_before_the_model_is_there_the_page_says_so_and_later_it_knows(make_settings):
    from app.main import create_app
    from tests.app.api.client import AppClient

    app = create_app(make_settings())
    before = app.openapi()["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert "once the model is loaded" in before["description"]
    with AppClient(app) as client:
        after = client.get("/openapi.json").json()
    assert "WordsRequest" in after["components"]["schemas"]


@pytest.mark.parametrize("prefix", ["", "/sentiment"])
def test_behind_a_proxy_the_docs_find_their_schema(make_client, prefix):
    """Whether the proxy takes its path off or not."""
    client = make_client(root_path="/sentiment")
    page = client.get(f"{prefix}/docs")
    assert "/sentiment/openapi.json" in page.text
    schema = client.get(f"{prefix}/openapi.json").json()
    assert schema["servers"] == [{"url": "/sentiment"}]
    assert client.post(f"{prefix}/predict", json={"text": "good"}).status_code == 200
    assert client.post(f"{prefix}/predict/", json={"text": "good"}).status_code == 200
    assert client.get(f"{prefix}/").json()["links"]["predict"] == "/sentiment/predict"
