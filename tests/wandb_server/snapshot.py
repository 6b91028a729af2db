"""The state on disk, so that a server can be stopped and started again with what it knew."""

import json
from dataclasses import asdict
from pathlib import Path

from .records import Artifact, Collection, Member, Run
from .state import Store

_FILE = "state.json"


def save(store: Store, folder: Path) -> None:
    """Write the state next to the blobs, if it changed since the last time."""
    with store.lock:
        if not store.dirty:
            return
        store.dirty = False
        content = {
            "counter": store.counter,
            "projects": store.projects,
            "saved_views": store.saved_views,
            "runs": [asdict(run) for run in store.runs.values()],
            "artifacts": [asdict(artifact) for artifact in store.artifacts.values()],
            "collections": [asdict(collection) for collection in store.collections.values()],
        }
        text = json.dumps(content)
    partial = folder / f"{_FILE}.partial"
    partial.write_text(text)
    partial.replace(folder / _FILE)


def load(store: Store, folder: Path) -> None:
    """Take up what was saved, if anything was."""
    path = folder / _FILE
    if not path.exists():
        return
    content = json.loads(path.read_text())
    with store.lock:
        store.counter = content["counter"]
        store.projects = content["projects"]
        store.saved_views = content.get("saved_views", {})
        for values in content["runs"]:
            run = Run(**values)
            store.runs[run.path] = run
        for values in content["artifacts"]:
            store.artifacts[values["id"]] = Artifact(**values)
        for values in content["collections"]:
            members = [Member(**member) for member in values.pop("members")]
            collection = Collection(**values, members=members)
            store.collections[collection.path] = collection
