"""The page at `/`: what a person wants to see of a local W&B, in plain HTML."""

import json
from html import escape

from .curves import curves, tables
from .records import Artifact, Collection, Run
from .state import Store

LAST_ROWS = 5
CARD = "README.md"

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .25rem .6rem .25rem 0 }
th { border-bottom: 1px solid #999 } td { border-bottom: 1px solid #ddd; vertical-align: top }
pre { background: #f5f5f5; padding: .5rem; white-space: pre-wrap; margin: .25rem 0 } .quiet { color: #666 }
.curves { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: .5rem 0; width: 13rem; font-size: 13px }
svg { background: #f5f5f5; display: block } polyline { fill: none; stroke: #23798c; stroke-width: 2 }
"""


def render(store: Store) -> str:
    """The page of a store: collections with versions and aliases, runs with their last rows, newest first."""
    runs = "".join(_run(store, run) for run in reversed(store.runs.values())) or _nothing("No run yet.")
    collections = "".join(_collection(store, item) for item in store.collections.values())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Loopback W&amp;B</title>'
        f"<style>{_STYLE}</style></head><body><h1>Loopback W&amp;B</h1>"
        '<p class="quiet">Everything as JSON: <a href="/__state">/__state</a></p>'
        f"<h2>Artifacts</h2>{collections or _nothing('No artifact yet.')}<h2>Runs</h2>{runs}</body></html>"
    )


def _nothing(text: str) -> str:
    return f'<p class="quiet">{text}</p>'


def _run(store: Store, run: Run) -> str:
    facts = [run.state, f"{len(run.history)} rows", *(x for x in (run.job_type, run.group) if x)]
    rows = "\n".join(run.history[-LAST_ROWS:])
    used = [store.artifacts[item] for item in run.used]
    inputs = ", ".join(f"{item.collection_path} ({item.digest[:8]})" for item in used)
    alerts = "".join(f"<p>alert: {escape(alert['title'])}</p>" for alert in run.alerts)
    return (
        f'<section id="{escape(run.path)}"><h3>{escape(run.path)}</h3><p>{escape(" · ".join(facts))}</p>'
        + (f"<p>uses {escape(inputs)}</p>" if inputs else "")
        + alerts
        + f"<pre>config {escape(json.dumps(run.config_values))}</pre>"
        + f"<pre>summary {escape(json.dumps(run.summary_values))}</pre>"
        + curves(run)
        + tables(run, store.blobs)
        + (f"<pre>{escape(rows)}</pre>" if rows else _nothing("No row yet."))
        + "</section>"
    )


def _collection(store: Store, collection: Collection) -> str:
    rows = ""
    for member in reversed(collection.members):
        artifact = store.artifacts[member.artifact_id]
        cells = [f"v{member.version}", ", ".join(member.aliases), artifact.state, artifact.digest]
        cells.append(", ".join(store.manifest(artifact)))
        rows += "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
    head = "<tr><th>version</th><th>aliases</th><th>state</th><th>digest</th><th>files</th></tr>"
    kind = "linked" if collection.portfolio else "logged"
    newest = store.artifacts[collection.members[-1].artifact_id] if collection.members else None
    return (
        f"<h3>{escape(collection.path)} ({escape(collection.type)}, {kind})</h3><table>{head}{rows}</table>"
        + (_facts(store, newest) if newest else "")
    )


def _facts(store: Store, artifact: Artifact) -> str:
    """What the newest version says of itself: where it is from, its metadata, its card."""
    facts = [artifact.description, f"logged by {artifact.run}" if artifact.run else None]
    card = artifact.files.get(CARD)
    return (
        f"<p>{escape(' · '.join(fact for fact in facts if fact))}</p>"
        f"<pre>metadata {escape(json.dumps(artifact.metadata_values))}</pre>"
        + (
            f"<details><summary>{CARD}</summary><pre>{escape(store.blobs.read(str(card)).decode())}</pre></details>"
            if store.blobs.exists(card)
            else ""
        )
    )
