"""The notebooks run on made-up reviews, and what is committed shows figures and no text of anybody's."""

import html
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ml import base_models, training_data
from ml.dataset import Dataset

nbformat = pytest.importorskip("nbformat")

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
EXPLORE, FINE_TUNE = "01_explore.ipynb", "02_fine_tune.ipynb"

_VERDICTS = (
    ("dull", "clumsy", "tedious", "lifeless", "sloppy", "grating"),
    ("lovely", "gripping", "tender", "witty", "radiant", "superb"),
)
_FILLER = re.findall(
    r"\w+",
    "the a this that film story plot camera scene actor song ending music dialogue and but with of for was is "
    "seemed felt very rather quite not never first last long short old new city river train garden winter",
)


def make_reviews(rows: int, films: range, seed: int) -> Dataset:
    """Write reviews that can be told apart by their words, about numbered films."""
    generator = random.Random(seed)
    texts, labels, about, ratings = [], [], [], []
    for row in range(rows):
        label = row % 2
        words = generator.choices(_FILLER, k=generator.choice((20, 40, 90)))
        for _ in range(5):
            words.insert(generator.randrange(len(words)), generator.choice(_VERDICTS[label]))
        middle = len(words) // 2
        texts.append(f"{' '.join(words[:middle])}.<br /><br />{' '.join(words[middle:])}!")
        labels.append(label)
        about.append(f"tt{generator.choice(films):07d}")
        ratings.append(generator.choice((7, 8, 9, 10) if label else (1, 2, 3, 4)))
    return Dataset("reviews", tuple(texts), np.array(labels), tuple(about), tuple(ratings))


@pytest.fixture
def reviews(tmp_path: Path) -> tuple[Dataset, Dataset]:
    train, test = make_reviews(160, range(1, 40), seed=1), make_reviews(60, range(40, 60), seed=2)
    (tmp_path / "data").mkdir()
    training_data.save(train, tmp_path / "data" / "imdb_train.parquet")
    training_data.save(test, tmp_path / "data" / "imdb_test.parquet")
    return train, test


@pytest.fixture
def base_model(tmp_path: Path) -> Path:
    """A folder with a vocabulary; the weights of a model are added by who needs them."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *".,!?'<>/&-",
        *_FILLER,
        *_VERDICTS[0],
        *_VERDICTS[1],
    ]
    pieces = dict.fromkeys([*words, *letters, *(f"##{letter}" for letter in letters)])
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(pieces), "utf-8")
    base_models.wordpiece_tokenizer(folder / "vocab.txt").save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def environment(tmp_path: Path, base_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "IPYTHONDIR",
        "MPLCONFIGDIR",
        "JUPYTER_RUNTIME_DIR",
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
    ):
        monkeypatch.setenv(name, str(tmp_path / "kernel"))
    for name in [name for name in os.environ if name.startswith(("MARQUEE_", "WANDB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MARQUEE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MARQUEE_TOKENIZER", str(base_model / "tokenizer.json"))


def execute(name: str):
    """Run a notebook in a kernel of its own; an error in a cell fails the test."""
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    for cell in notebook.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs = []
    client = NotebookClient(
        notebook, timeout=540, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOKS)}}
    )
    return client.execute()


def outputs_of(notebook) -> list:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def lines_of(output) -> list[str]:
    """Return the text of an output, a line or a table's cell each."""
    if output.output_type == "stream":
        return output.text.splitlines()
    data = output.get("data", {})
    table = re.split(r"<[^>]+>", re.sub(r"<style.*?</style>", "", data.get("text/html", ""), flags=re.DOTALL))
    return [*data.get("text/plain", "").splitlines(), *(html.unescape(cell).strip() for cell in table)]


def figures_in(notebook) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs_of(notebook))


def assert_quotes_nothing(notebook, data: Dataset) -> None:
    """No six words of any review may stand in an output."""
    shown = " ".join(
        " ".join(re.findall(r"\w+", line)) for output in outputs_of(notebook) for line in lines_of(output)
    )
    for text in data.texts:
        words = re.findall(r"\w+", text)
        for start in range(len(words) - 5):
            assert " ".join(words[start : start + 6]) not in shown


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("environment")
def test_explore_runs_without_tensorflow(reviews, tmp_path, monkeypatch):
    missing = tmp_path / "missing"
    missing.mkdir()
    for library in ("tensorflow", "transformers"):
        (missing / f"{library}.py").write_text(f"raise ImportError('{library} is not installed')\n", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(missing))

    notebook = execute(EXPLORE)

    assert figures_in(notebook) == figures_in(nbformat.read(NOTEBOOKS / EXPLORE, as_version=4))
    assert not [output for output in outputs_of(notebook) if output.get("name") == "stderr"]
    assert_quotes_nothing(notebook, reviews[0])
    assert_quotes_nothing(notebook, reviews[1])
    said = "\n".join(line for output in outputs_of(notebook) for line in lines_of(output))
    assert "line breaks: 320 in 100.0% of the reviews" in said


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("environment")
def test_fine_tune_trains_exports_and_predicts(reviews, base_model, tmp_path, monkeypatch):
    from app.core.tensorflow_runtime import import_tensorflow

    import_tensorflow()
    from transformers import DistilBertConfig, TFDistilBertForSequenceClassification

    size = len((base_model / "vocab.txt").read_text("utf-8").splitlines())
    model = TFDistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=size, n_layers=1, n_heads=2, dim=32, hidden_dim=64, initializer_range=0.3)
    )
    model(np.ones((1, 8), dtype=np.int32))
    model.save_pretrained(str(base_model))
    for name, value in {
        "BASE_MODEL": base_model,
        "STAGES": "32:2, 64:2",
        "TOKENS_A_BATCH": 512,
        "LEARNING_RATE": 0.005,
        "VALIDATION_SHARE": 0.2,
        "COMPILE": "no",
        "PRECISION": "fp32",
        "FOLDER": tmp_path / "run",
    }.items():
        monkeypatch.setenv(f"MARQUEE_{name}", str(value))

    notebook = execute(FINE_TUNE)

    assert figures_in(notebook) == figures_in(nbformat.read(NOTEBOOKS / FINE_TUNE, as_version=4))
    assert not [output for output in outputs_of(notebook) if output.get("name") == "stderr"]
    assert_quotes_nothing(notebook, reviews[0])
    assert (tmp_path / "run" / "artifact" / "marquee.json").is_file()
    said = "\n".join(line for output in outputs_of(notebook) for line in lines_of(output))
    assert "served and trained model give the same label to 100.0%" in said
    assert "not published: MARQUEE_PROJECT or WANDB_API_KEY is not set" in said


class TestFirstCellOnAHostedNotebook:
    """Outside of the repository it fetches it, with what it needs."""

    def run(self, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        notebook = nbformat.read(NOTEBOOKS / FINE_TUNE, as_version=4)
        cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
        (folder / "fake" / "pip").mkdir(parents=True, exist_ok=True)
        (folder / "fake" / "pip" / "__init__.py").write_text("", "utf-8")
        (folder / "fake" / "pip" / "__main__.py").write_text(
            "import json, sys\nopen('pip.jsonl', 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n", "utf-8"
        )
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder / "fake"), **variables}
        return subprocess.run(
            [sys.executable, "-c", f"{cell.source}\nprint(root)"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
    def test_clones_and_installs_once(self, tmp_path):
        origin, work = tmp_path / "origin", tmp_path / "work"
        (origin / "ml").mkdir(parents=True)
        (origin / "ml" / "dataset.py").write_text("", "utf-8")
        work.mkdir()
        who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "a"]):
            subprocess.run(["git", *words], cwd=origin, check=True, timeout=30)
        for _ in range(2):
            done = self.run(work, MARQUEE_REPOSITORY=origin.as_uri())
            assert (done.returncode, done.stdout.strip()) == (0, str(work / "marquee")), done.stderr
        installed = [json.loads(line) for line in (work / "pip.jsonl").read_text("utf-8").splitlines()]
        assert [words[-1] for words in installed if words[-2] == "-r"] == [
            str(work / "marquee" / "requirements" / name) for name in ("ml.txt", "tensorflow.txt")
        ]

    def test_asks_for_an_address(self, tmp_path):
        done = self.run(tmp_path)
        assert done.returncode == 1
        assert "set MARQUEE_REPOSITORY to the address of your fork" in done.stderr
        assert not (tmp_path / "pip.jsonl").exists()


@pytest.mark.parametrize("name", [EXPLORE, FINE_TUNE])
class TestCommitted:
    @pytest.fixture
    def notebook(self, name):
        notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
        nbformat.validate(notebook)
        return notebook

    def test_was_run_from_top_to_bottom(self, notebook):
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))

    def test_shows_figures_and_tables_and_no_noise(self, notebook):
        outputs = outputs_of(notebook)
        assert figures_in(notebook) >= 5
        assert sum("text/html" in output.get("data", {}) for output in outputs) >= 5
        assert not [
            output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"
        ]

    def test_names_no_folder_of_a_machine(self, name):
        text = (NOTEBOOKS / name).read_text("utf-8")
        assert not re.search(r"/(work|home|root|tmp|var|Users|mnt|content)/", text)

    def test_is_small(self, name):
        assert (NOTEBOOKS / name).stat().st_size < 300_000

    def test_shows_no_long_text(self, notebook):
        assert max(len(line) for output in outputs_of(notebook) for line in lines_of(output)) <= 300
