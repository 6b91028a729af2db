"""Sessions for predictions that run alone and at once."""

import shutil
import threading
from pathlib import Path

import numpy
import pytest

from app.core.config import EMBEDDED_MODEL_DIR
from app.core.errors import ModelLoadError
from app.services.loaders import onnx_sessions
from app.services.loaders.onnx_sessions import Sessions


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return Path(shutil.copy(EMBEDDED_MODEL_DIR / "model.onnx", tmp_path))


def feed(length: int) -> dict[str, numpy.ndarray]:
    ids = numpy.arange(1_000, 1_000 + length, dtype=numpy.int32)[None]
    return {"input_ids": ids, "attention_mask": numpy.ones_like(ids)}


def at_once(sessions: Sessions, feeds: list[dict[str, numpy.ndarray]]) -> list[bytes]:
    """Run all feeds over and over on threads that begin together; return the answers of each."""
    answers: dict[int, set[bytes]] = {}
    together = threading.Barrier(len(feeds))

    def work(number: int) -> None:
        together.wait(60)
        answers[number] = {sessions.run("logits", feeds[number]).tobytes() for _ in range(20)}

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(feeds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(len(answers[number]) == 1 for number in range(len(feeds)))
    return [answers[number].pop() for number in range(len(feeds))]


def test_predictions_at_once_get_the_digits_that_they_get_alone(graph):
    sessions = Sessions(graph, 2)
    feeds = [feed(7), feed(60)]
    alone = [sessions.run("logits", entry).tobytes() for entry in feeds]
    assert not sessions.wait(0), "nothing was run at once"
    assert at_once(sessions, feeds) == alone
    assert sessions.wait(60)
    assert at_once(sessions, feeds) == alone


def test_one_thread_needs_one_session(graph):
    sessions = Sessions(graph, 1)
    assert sessions.most == 1
    at_once(sessions, [feed(7), feed(60)])
    assert not sessions.wait(60)


def test_a_large_graph_is_held_once(graph, monkeypatch):
    monkeypatch.setattr(onnx_sessions, "_LARGE_BYTES", graph.stat().st_size)
    sessions = Sessions(graph, 2)
    feeds = [feed(7), feed(60)]
    alone = [sessions.run("logits", entry).tobytes() for entry in feeds]
    assert at_once(sessions, feeds) == alone
    assert not sessions.wait(60)


def test_a_file_that_was_changed_meanwhile_is_not_taken(graph):
    sessions = Sessions(graph, 2)
    feeds = [feed(7), feed(60)]
    alone = [sessions.run("logits", entry).tobytes() for entry in feeds]
    graph.write_bytes(graph.read_bytes())
    assert at_once(sessions, feeds) == alone
    assert not sessions.wait(60)
    graph.unlink()
    assert at_once(sessions, feeds) == alone


def test_what_is_no_graph_is_refused(tmp_path):
    with pytest.raises(ModelLoadError, match="no model"):
        Sessions(tmp_path / "model.onnx", 1)
    (tmp_path / "model.onnx").write_bytes(b"none")
    with pytest.raises(ModelLoadError, match="cannot load"):
        Sessions(tmp_path / "model.onnx", 1)
