"""What the service tells about its model and itself."""


def test_the_model_is_described_with_its_limits(make_client):
    client = make_client(max_texts=7)
    content = client.get("/api/v1/model").json()
    assert content["digest"] == client.service.server.files.model.digest
    assert content["source"] == "local"
    assert content["artifact"] is None
    assert content["labels"] == ["negative", "positive"]
    assert content["loader"] == "tests.app.api.predictors:WordsPredictor"
    assert content["limits"]["texts"] == 7
    assert content["predictor"] == {"words": 1}
    assert content["preprocessing"]["max_tokens"] == 512


def test_the_links_of_the_index_all_lead_somewhere(client):
    for name, path in client.get("/").json()["links"].items():
        status = client.get(path, params={"text": "good"}).status_code
        assert status == 200, name


def test_the_docs_can_be_switched_off(make_client):
    client = make_client(docs=False)
    assert client.get("/docs").status_code == 404
    assert client.get("/openapi.json").status_code == 404
    assert "docs" not in client.get("/").json()["links"]
