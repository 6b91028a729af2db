"""Artifacts, their versions and collections as GraphQL objects.

An object is a dict whose values are data, or callables where a field takes arguments or costs something.
`__typename` is always the real one: the client chooses its parser by it.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from .records import Artifact, Collection, Member, Run
from .state import Store, node_id

Object = dict[str, Any]
MANIFEST_NAME = "wandb_manifest.json"


def connection(nodes: Sequence[Object | None], arguments: Object) -> Object:
    """A page of a list, as `first` and `after` ask; a cursor is the number of nodes up to it."""
    start = int(arguments.get("after") or 0)
    end = min(len(nodes), start + int(arguments.get("first") or len(nodes)))
    edges = [{"node": node, "cursor": str(start + i + 1)} for i, node in enumerate(nodes[start:end])]
    page = {"__typename": "PageInfo", "hasNextPage": end < len(nodes), "endCursor": str(end)}
    return {"__typename": "Connection", "totalCount": len(nodes), "pageInfo": page, "edges": edges}


class ArtifactViews(ABC):
    """GraphQL objects of artifacts, with addresses under the base address that the client called."""

    def __init__(self, store: Store, base_url: str) -> None:
        self._store = store
        self._base_url = base_url.rstrip("/")

    @abstractmethod
    def project(self, entity: str, name: str | None) -> Object | None:
        """A project or a registry, None when there is none."""

    @abstractmethod
    def run(self, run: Run | None) -> Object | None:
        """A run, None for None."""

    def blob_url(self, key: str | None, name: str) -> str:
        """Where a blob is uploaded to and downloaded from, without credentials like a signed address.

        The name is there for people and for faults that are aimed at one file; the key decides.
        """
        return f"{self._base_url}/storage/{key}/{quote(name)}"

    def file(self, name: str, key: str | None, digest: str | None) -> Object:
        """A stored file."""
        size = self._store.blobs.path(key).stat().st_size if key and self._store.blobs.exists(key) else 0
        return {
            "__typename": "File",
            "id": node_id("File", key),
            "name": name,
            "displayName": name,
            "url": self.blob_url(key, name),
            "directUrl": self.blob_url(key, name),
            "sizeBytes": size,
            "mimetype": None,
            "storagePath": f"wandb_artifacts/{key}",
            "updatedAt": "2026-01-01T00:00:00Z",
            "digest": digest,
            "md5": digest,
        }

    def collection(self, collection: Collection | None) -> Object | None:
        """A sequence or a portfolio, None for None."""
        if collection is None:
            return None
        members = collection.members
        return {
            "__typename": "ArtifactPortfolio" if collection.portfolio else "ArtifactSequence",
            "id": collection.id,
            "name": collection.name,
            "description": collection.description,
            "createdAt": collection.created_at,
            "updatedAt": collection.created_at,
            "state": "READY",
            "type": {"__typename": "ArtifactType", "name": collection.type},
            "defaultArtifactType": {"__typename": "ArtifactType", "name": collection.type},
            "tags": {"edges": [{"node": _tag(name)} for name in collection.tags]},
            "digestAlgorithm": "MANIFEST_MD5",
            "project": lambda _: self.project(collection.entity, collection.project),
            "latestArtifact": lambda _: self._artifact_of(members[-1]) if members else None,
            "aliases": lambda a: connection(
                [self._alias(collection, x) for m in members for x in m.aliases], a
            ),
            "artifactMembership": lambda a: self._membership_by_alias(collection, a["aliasName"]),
            "artifactMemberships": lambda a: connection([self.membership(collection, m) for m in members], a),
            "artifacts": lambda a: self._versions(collection, a),
        }

    def _versions(self, collection: Collection, arguments: Object) -> Object:
        page = connection([self._artifact_of(member) for member in reversed(collection.members)], arguments)
        for edge in page["edges"]:
            member = collection.member_of(edge["node"]["id"])
            edge["version"] = f"v{member.version}" if member else None
        return page

    def _membership_by_alias(self, collection: Collection, alias: str) -> Object | None:
        member = collection.find(alias)
        return self.membership(collection, member) if member else None

    def membership(self, collection: Collection, member: Member) -> Object:
        """A version's place in a collection."""
        artifact = self._store.artifacts[member.artifact_id]
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": node_id("ArtifactCollectionMembership", f"{collection.id}:{member.version}"),
            "versionIndex": member.version,
            "createdAt": member.created_at,
            "aliases": [self._alias(collection, alias) for alias in member.aliases],
            "artifactCollection": lambda _: self.collection(collection),
            "artifact": lambda _: self.artifact(artifact),
            "files": lambda a: connection(self._artifact_files(artifact, a.get("names")), a),
        }

    def _pointed_to(self, path: str, what: str) -> Object | None:
        name, _, alias = path.partition(":")
        collection = self._store.collections.get(name)
        member = collection.find(alias or "latest") if collection else None
        if collection is None or member is None:
            return None
        return self.membership(collection, member) if what == "membership" else self._artifact_of(member)

    def _artifact_of(self, member: Member) -> Object:
        return self.artifact(self._store.artifacts[member.artifact_id])

    def _alias(self, collection: Collection, alias: str) -> Object:
        return {
            "__typename": "ArtifactAlias",
            "id": node_id("ArtifactAlias", f"{collection.id}:{alias}"),
            "alias": alias,
            "artifactCollection": lambda _: self.collection(collection),
        }

    def artifact(self, artifact: Artifact) -> Object:
        """An artifact version; its number is that in the sequence it was logged to."""
        store = self._store
        source = store.collections.get(artifact.collection_path)
        member = source.member_of(artifact.id) if source else None
        places = [(c, m) for c in store.collections.values() if (m := c.member_of(artifact.id))]
        entries = store.manifest(artifact)
        return {
            "__typename": "Artifact",
            "id": artifact.id,
            "digest": artifact.digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "state": artifact.state,
            "versionIndex": member.version if member else None,
            "artifactSequence": lambda _: self.collection(source),
            "artifactType": {"__typename": "ArtifactType", "name": artifact.type},
            "description": artifact.description,
            "metadata": artifact.metadata,
            "ttlDurationSeconds": artifact.ttl_seconds,
            "ttlIsInherited": True,
            "tags": [_tag(name) for name in artifact.tags],
            "historyStep": None,
            "size": sum(int(entry.get("size", 0)) for entry in entries.values()),
            "fileCount": len(entries),
            "commitHash": uuid.uuid5(uuid.NAMESPACE_URL, artifact.id).hex[:20],
            "createdAt": artifact.created_at,
            "updatedAt": artifact.created_at,
            "aliases": lambda _: [self._alias(c, alias) for c, m in places for alias in m.aliases],
            "artifactMemberships": lambda a: connection([self.membership(c, m) for c, m in places], a),
            "currentManifest": lambda _: self._manifest(artifact),
            "createdBy": lambda _: self._known_run(artifact.run),
            "usedBy": lambda a: connection(
                [self.run(run) for run in store.runs.values() if artifact.id in run.used], a
            ),
            "files": lambda a: connection(self._artifact_files(artifact, a.get("names")), a),
            "filesByManifestEntries": lambda a: connection(
                self._artifact_files(artifact, [entry.get("name") for entry in a.get("entries") or ()]), a
            ),
        }

    def _known_run(self, path: str | None) -> Object | None:
        return self.run(self._store.runs.get(path or ""))

    def _manifest(self, artifact: Artifact) -> Object | None:
        if not artifact.manifest:
            return None
        file = self.file(MANIFEST_NAME, artifact.manifest, None)
        return {"__typename": "ArtifactManifest", "id": artifact.manifest_id, "file": file}

    def _artifact_files(self, artifact: Artifact, names: list[str] | None) -> list[Object]:
        entries = self._store.manifest(artifact).items()
        chosen = [(name, entry) for name, entry in entries if not names or name in names]
        return [self.file(name, artifact.files.get(name), entry["digest"]) for name, entry in chosen]

    def _type_names(self, prefix: str) -> list[str]:
        return sorted({c.type for c in self._store.collections.values() if c.path.startswith(f"{prefix}/")})

    def _collections(self, prefix: str, artifact_type: str | None) -> list[Object]:
        chosen = [c for c in self._store.collections.values() if f"{c.entity}/{c.project}" == prefix]
        views = [self.collection(c) for c in chosen if artifact_type in (None, c.type)]
        return [view for view in views if view]

    def _artifact_type(self, prefix: str, name: str) -> Object | None:
        if name not in self._type_names(prefix):
            return None

        def find(arguments: Object) -> Object | None:
            found = self._store.collections.get(f"{prefix}/{arguments['name']}")
            return self.collection(found) if found and found.type == name else None

        return {
            "__typename": "ArtifactType",
            "id": node_id("ArtifactType", f"{prefix}/{name}"),
            "name": name,
            "description": "",
            "createdAt": "2026-01-01T00:00:00Z",
            "artifactCollection": find,
            "artifactCollections": lambda a: connection(self._collections(prefix, name), a),
        }


def _tag(name: str) -> Object:
    return {"__typename": "Tag", "id": node_id("Tag", name), "name": name}
