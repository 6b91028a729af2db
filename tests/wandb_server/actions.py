"""Changes behind a client's back: what another person, or W&B itself, would have done meanwhile.

Each takes the store and is used by the methods of WandbServer and by `POST /__actions`.
Paths are `entity/project/name`, for a version with `:alias`.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from .records import Artifact
from .state import StateError, Store, node_id


def publish(
    store: Store,
    path: str,
    files: Mapping[str, bytes],
    *,
    artifact_type: str = "model",
    metadata: Mapping[str, Any] | None = None,
    aliases: tuple[str, ...] = (),
    run: str | None = None,
) -> Artifact:
    """Add a committed version, with the digests the client would have computed, and move `latest` to it.

    `path` is `entity/project/collection`; `run` the path of the run that made it. Raises StateError.
    """
    entity, project, name = path.split("/")
    store.ensure_project(entity, project)
    store.ensure_collection(entity, project, name, artifact_type)
    digests = {file: base64.b64encode(_md5(content).digest()).decode() for file, content in files.items()}
    lines = "".join(f"{file}:{digests[file]}\n" for file in sorted(digests))
    store.counter += 1
    artifact = Artifact(
        id=node_id("Artifact", store.counter),
        entity=entity,
        project=project,
        collection=name,
        type=artifact_type,
        digest=_md5(f"wandb-artifact-manifest-v1\n{lines}".encode()).hexdigest(),
        created_at="2026-01-01T00:00:00Z",
        metadata=json.dumps(dict(metadata or {})),
        wanted_aliases=list(aliases),
        run=run,
    )
    for file, content in files.items():
        artifact.files[file] = store.blobs.new_key()
        store.blobs.write(artifact.files[file], content)
    artifact.manifest = store.blobs.new_key()
    artifact.manifest_id = node_id("ArtifactManifest", artifact.manifest)
    manifest = {
        "version": 1,
        "storagePolicy": "wandb-storage-policy-v1",
        "storagePolicyConfig": {"storageLayout": "V2"},
        "contents": {
            file: {"digest": digests[file], "size": len(files[file]), "birthArtifactID": artifact.id}
            for file in sorted(files)
        },
    }
    store.blobs.write(artifact.manifest, json.dumps(manifest).encode())
    store.artifacts[artifact.id] = artifact
    store.commit_artifact(artifact)
    return artifact


def _md5(content: bytes) -> "hashlib._Hash":
    return hashlib.md5(content, usedforsecurity=False)


def link(store: Store, source: str, target: str) -> None:
    """Link a version to a collection of a registry.

    `target` is `wandb-registry-X/collection`, with `:alias` if it shall have one. Raises StateError.
    """
    _, _, artifact = store.resolve(source)
    path, _, alias = target.partition(":")
    project, name = path.split("/")
    store.link_artifact(artifact, store.registry_entity, project, name, [alias] if alias else [])


def move_alias(store: Store, collection: str, alias: str, version: str) -> None:
    """Point an alias of a collection to another version (`v1`) or to what another alias points to."""
    found, member, _ = store.resolve(f"{collection}:{version}")
    store.add_aliases(found, member.artifact_id, [alias])


def remove_alias(store: Store, collection: str, alias: str) -> None:
    """Take an alias away. Raises StateError when the collection does not have it."""
    _, member, _ = store.resolve(f"{collection}:{alias}")
    if alias not in member.aliases:
        raise StateError(f"{alias} is not an alias of {collection}")
    member.aliases.remove(alias)
    store.dirty = True


def set_artifact_state(store: Store, path: str, state: str) -> None:
    """Set a version's state: `PENDING` (an upload is under way), `COMMITTED` or `DELETED` (it is gone)."""
    artifact = store.resolve(path)[2]
    if state == "DELETED":
        store.delete_artifact(artifact.id, with_aliases=True)
    elif state in ("PENDING", "COMMITTED"):
        artifact.state = state
        store.dirty = True
    else:
        raise StateError(f"unknown state {state}")


def remove_project(store: Store, project: str) -> None:
    """Delete `entity/project` with its runs and collections; for a registry, make it unknown."""
    store.remove_project(project)


def stop_run(store: Store, run: str) -> None:
    """Press "Stop run": the client is told with the next answer of the file stream. Raises StateError."""
    if run not in store.runs:
        raise StateError(f"no run {run}")
    store.runs[run].stop_requested = True
    store.dirty = True


def reset(store: Store) -> None:
    """Forget everything."""
    store.reset()


ACTIONS: dict[str, Callable[..., None]] = {
    "link": link,
    "move_alias": move_alias,
    "remove_alias": remove_alias,
    "set_artifact_state": set_artifact_state,
    "remove_project": remove_project,
    "stop_run": stop_run,
    "reset": reset,
}
"""Those that can be asked for by name with JSON arguments."""
