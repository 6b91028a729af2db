"""Publishing with the real client: what arrives, where `production` points, and what is refused."""

import json
from pathlib import Path

import pytest

import ml.evaluate
from app.services.artifact import Manifest, model_digest
from ml.__main__ import main
from ml.publish import PublishError, current, publish
from tests.ml.keyword_model import KeywordPredictor
from tests.ml.samples import BAD, GOOD, sentences

COLLECTION = "acme/reviews/sentiment"
REGISTRY = "acme-org_ent/wandb-registry-model/sentiment"
LINK = ["--registry", "wandb-registry-model/sentiment"]


def model_folder(folder: Path, words: tuple[str, ...] = GOOD) -> Path:
    """A model that says `positive` where a text holds one of the words."""
    folder.mkdir(parents=True)
    (folder / "words.json").write_text(json.dumps(dict.fromkeys(words, "positive")), "utf-8")
    Manifest(
        task="text-classification",
        labels=("negative", "positive"),
        training={"seed": 3},
        metrics={"validation": {"accuracy": 0.931, "rows": 40}},
    ).write(folder)
    return folder


@pytest.fixture(autouse=True)
def keyword_models(monkeypatch):
    """Let `ml.evaluate.load_model` read the folders of `model_folder`."""
    monkeypatch.setattr(ml.evaluate, "load_model", lambda folder: (KeywordPredictor.load(folder, None), None))


@pytest.fixture
def data(tmp_path) -> list[str]:
    from ml.training_data import save

    save(sentences(60), tmp_path / "made.parquet")
    return ["--data", str(tmp_path / "made.parquet")]


def published(folder: Path, *words: str) -> int:
    return main(["publish", str(folder), "--project", "reviews", "--name", "sentiment", *words])


def test_what_arrives(wandb_server, wandb_as, tmp_path):
    folder = model_folder(tmp_path / "model")
    with wandb_as("publisher"):
        result = publish(
            folder, "reviews", "sentiment", aliases=("best",), registry="wandb-registry-model/sentiment"
        )
    assert (result.name, result.digest) == (f"{COLLECTION}:v0", model_digest(folder))
    assert set(result.aliases) == {"latest", "best"}
    assert result.registry == f"{REGISTRY}:v0"
    stored = wandb_server.artifact(f"{COLLECTION}:best")
    assert (stored.type, stored.digest, stored.description) == (
        "model",
        model_digest(folder),
        "validation accuracy 93.10%",
    )
    assert stored.metadata_values["metrics"] == {"validation": {"accuracy": 0.931, "rows": 40}}
    assert stored.metadata_values["labels"] == ["negative", "positive"]
    assert wandb_server.artifact_files(f"{COLLECTION}:v0") == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    assert wandb_server.aliases(COLLECTION) == {"latest": "v0", "best": "v0"}
    assert wandb_server.aliases(REGISTRY) == {"latest": "v0", "best": "v0"}
    (run,) = wandb_server.runs(job_type="publish")
    assert (run.state, run.config_values) == ("finished", {"seed": 3})
    assert run.summary_values["validation/accuracy"] == 0.931
    assert wandb_server.lineage(run.path).logged == (f"{COLLECTION}:v0",)


def test_the_plot_of_an_evaluation_goes_with_it(wandb_server, wandb_as, tmp_path):
    from PIL import Image

    (tmp_path / "report").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "report" / "evaluation.png")
    with wandb_as("publisher"):
        publish(model_folder(tmp_path / "model"), "reviews", "sentiment", report=tmp_path / "report")
    (run,) = wandb_server.runs(job_type="publish")
    assert any(name.endswith(".png") for name in run.files)


class TestPromotion:
    @pytest.mark.parametrize("link", [[], LINK], ids=["project", "registry"])
    def test_the_first_becomes_production(self, wandb_server, wandb_as, tmp_path, capsys, data, link):
        with wandb_as("publisher"):
            assert published(model_folder(tmp_path / "one"), "--promote", "if-not-worse", *data, *link) == 0
        assert "no production yet: this one becomes it" in capsys.readouterr().out
        for collection in [COLLECTION, *([REGISTRY] if link else [])]:
            assert wandb_server.aliases(collection) == {"latest": "v0", "production": "v0"}

    @pytest.mark.parametrize("link", [[], LINK], ids=["project", "registry"])
    def test_moves_only_to_what_is_not_worse(self, wandb_server, wandb_as, tmp_path, capsys, data, link):
        options = ["--promote", "if-not-worse", *data, *link]
        with wandb_as("publisher"):
            assert published(model_folder(tmp_path / "one", GOOD[:6]), *options) == 0
            assert published(model_folder(tmp_path / "worse", GOOD[:2]), *options) == 1
            assert "Worse: " in capsys.readouterr().out
            places = [COLLECTION, *([REGISTRY] if link else [])]
            for collection in places:
                assert wandb_server.aliases(collection) == {"latest": "v1", "production": "v0"}
            assert published(model_folder(tmp_path / "better", GOOD), *options) == 0
        out = capsys.readouterr().out
        assert "Not worse: " in out
        assert f"production is {COLLECTION}:v2 now" in out
        for collection in places:
            assert wandb_server.aliases(collection) == {"latest": "v2", "production": "v2"}

    def test_moves_without_asking_when_told_to(self, wandb_server, wandb_as, tmp_path):
        with wandb_as("publisher"):
            assert published(model_folder(tmp_path / "one"), "--promote", "always") == 0
            assert published(model_folder(tmp_path / "worse", BAD), "--promote", "always") == 0
        assert wandb_server.aliases(COLLECTION)["production"] == "v1"

    def test_stays_where_nothing_is_said(self, wandb_server, wandb_as, tmp_path, capsys):
        folder = model_folder(tmp_path / "one")
        with wandb_as("publisher"):
            assert published(folder, "--alias", "candidate") == 0
        assert json.loads(capsys.readouterr().out) == {
            "artifact": f"{COLLECTION}:v0",
            "digest": model_digest(folder),
            "registry": None,
        }
        assert wandb_server.aliases(COLLECTION) == {"latest": "v0", "candidate": "v0"}


class TestCurrent:
    def test_is_downloaded_whole(self, wandb_server, wandb_as, tmp_path):
        wandb_server.publish(COLLECTION, {"words.json": b"{}"}, aliases=("production",))
        with wandb_as("reader"):
            folder = current(COLLECTION, tmp_path / "current")
        assert folder is not None
        assert (folder / "words.json").read_bytes() == b"{}"

    @pytest.mark.parametrize(
        "collection", [COLLECTION, "acme/absent/sentiment", "wandb-registry-model/absent"]
    )
    def test_is_none_where_there_is_none(self, wandb_server, wandb_as, tmp_path, collection):
        wandb_server.publish(COLLECTION, {"words.json": b"{}"})
        with wandb_as("reader"):
            assert current(collection, tmp_path / "current") is None

    def test_an_outage_is_not_taken_for_none(self, wandb_server, wandb_as, tmp_path):
        wandb_server.publish(COLLECTION, {"words.json": b"{}"}, aliases=("production",))
        wandb_server.set_fault("graphql", status=403, operation="ArtifactMembershipByName")
        with wandb_as("reader"), pytest.raises(PublishError, match="W&B: "):
            current(COLLECTION, tmp_path / "current")


class TestRefused:
    def test_without_a_key(self, wandb_server, wandb_as, tmp_path, capsys):
        with wandb_as("publisher", WANDB_API_KEY=None):
            assert published(model_folder(tmp_path / "model")) == 1
        assert capsys.readouterr().err == (
            "publish: WANDB_API_KEY is not set: publishing needs a key of the W&B project\n"
        )
        assert wandb_server.runs() == []

    def test_with_a_wrong_key(self, wandb_server, wandb_as, tmp_path, capsys):
        with wandb_as("publisher", WANDB_API_KEY="wrong" * 8):
            assert published(model_folder(tmp_path / "model")) == 1
        assert capsys.readouterr().err.splitlines()[-1].startswith("publish: W&B: ")

    def test_files_that_the_server_would_count_otherwise(self, wandb_server, wandb_as, tmp_path, monkeypatch):
        monkeypatch.setattr("ml.publish.model_digest", lambda _: "0" * 32)
        with wandb_as("publisher"), pytest.raises(PublishError, match="its files have 0{32}"):
            publish(model_folder(tmp_path / "model"), "reviews", "sentiment")
        assert wandb_server.artifacts() == []
        assert wandb_server.runs()[0].state == "failed"
