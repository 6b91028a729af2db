"""The card tells what the manifest holds, and nothing that it does not."""

from app.services.artifact import Manifest, Preprocessing
from ml.card import render, write_card

SCORES = {
    "accuracy": 0.931,
    "f1": 0.93,
    "roc_auc": 0.98,
    "log_loss": 0.19,
    "calibration_error": 0.012,
    "rows": 25_000,
}
MANIFEST = Manifest(
    labels=("negative", "positive"),
    preprocessing=Preprocessing(max_tokens=256, overlap=32, max_windows=4),
    temperature=1.25,
    training={
        "run": {
            "rows": 23_000,
            "sources": "reviews+sentences",
            "config": {
                "base_model": "distilbert-base-uncased",
                "stages": [{"max_tokens": 128, "passes": 1.0}, {"max_tokens": 512, "passes": 0.5}],
                "learning_rate": 6e-5,
                "seed": 7,
                "teacher_share": 0.35,
            },
        }
    },
    metrics={
        "validation": SCORES,
        "imdb_test": SCORES | {"calibration_error_unscaled": 0.034},
        "own_sentences": {"negation": {"rows": 20, "accuracy": 0.85}},
    },
)


def test_tells_origin_training_scores_and_reading():
    card = render(MANIFEST, 23_400_000)
    assert "Answers negative or positive for an English text" in card
    assert "23.4 MB" in card
    assert "Initialised from `distilbert-base-uncased`." in card
    assert "23,000 labelled texts (reviews+sentences): 1 passes at 128 tokens, then 0.5 passes at 512" in card
    assert "learning rate 6e-05" in card
    assert "35% of a review's target" in card
    assert "| validation | 25,000 | 93.10% | 0.9300 | 0.9800 | 0.1900 | 0.0120 |  |" in card
    assert "| imdb_test | 25,000 | 93.10% | 0.9300 | 0.9800 | 0.1900 | 0.0120 | 0.0340 |" in card
    assert "Our own sentences: negation 85%." in card
    assert "Up to 4 windows of at most 256 tokens, neighbours sharing 32" in card


def test_names_a_starting_folder_without_where_it_lay():
    manifest = Manifest(
        labels=("negative", "positive"), training={"run": {"config": {"base_model": "/home/me/starts/small"}}}
    )
    manifest.training["run"]["config"] |= {"stages": [], "learning_rate": 1e-5, "seed": 0}
    assert "Initialised from `small`." in render(manifest, 1_000)


def test_says_nothing_of_what_is_not_known():
    card = render(Manifest(labels=("negative", "positive")), 1_000)
    assert "Fine-tuned" not in card
    assert "Our own sentences" not in card
    assert "ways to quantise" not in card
    assert "What it must not be used for" in card


def test_is_written_beside_the_model_and_counts_it_without_itself(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"0" * 2_000_000)
    first = write_card(tmp_path, MANIFEST).read_text("utf-8")
    assert "2.0 MB" in first
    assert write_card(tmp_path, MANIFEST).read_text("utf-8") == first
