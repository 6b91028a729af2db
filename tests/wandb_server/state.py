"""The one place of truth: runs, artifacts, collections and who may ask for them."""

import base64
import json
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .blobs import Blobs
from .records import Artifact, Collection, Member, Run


class StateError(Exception):
    """Something the real service would refuse; the text reaches the client as a GraphQL error."""

    def __init__(self, message: str, status: int = 200) -> None:
        """`status` is that of the HTTP answer; most of W&B's refusals are a 200 with `errors`."""
        super().__init__(message)
        self.status = status


def node_id(kind: str, value: object) -> str:
    """An opaque id in the form W&B uses: base64 of `Kind:value`."""
    return base64.b64encode(f"{kind}:{value}".encode()).decode()


def now() -> str:
    """The current time as W&B writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moved(target: Member, members: list[Member], alias: str) -> None:
    for member in members:
        if alias in member.aliases and member is not target:
            member.aliases.remove(alias)
    if alias not in target.aliases:
        target.aliases.append(alias)


class Store:
    """Everything the server knows. Hold `lock` around every use: other threads use it too."""

    def __init__(self, folder: Path, *, entity: str, user: str, organization: str) -> None:
        self.lock = threading.RLock()
        self.blobs = Blobs(folder / "blobs")
        self.entity = entity
        self.user = user
        self.organization = organization
        self.registry_entity = f"{organization}_ent"
        self.unknown_fields: Counter[str] = Counter()
        """`Operation:path` of every field a client asked for that this server does not know."""
        self._clear()

    def _clear(self) -> None:
        self.projects: dict[str, int] = {}
        self.runs: dict[str, Run] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.collections: dict[str, Collection] = {}
        self.saved_views: dict[str, dict[str, Any]] = {}
        self.removed_projects: set[str] = set()
        self.counter = 0
        self.dirty = True

    def reset(self) -> None:
        """Forget all runs, artifacts, files and unknown fields."""
        with self.lock:
            self._clear()
            self.unknown_fields.clear()
            self.blobs.clear()

    def _number(self) -> int:
        self.counter += 1
        self.dirty = True
        return self.counter

    # Entities and projects

    @property
    def entities(self) -> tuple[str, str, str]:
        """The names that exist: the team, the person, and the organization's registry."""
        return self.entity, self.user, self.registry_entity

    def ensure_project(self, entity: str, project: str) -> int:
        """The number of a project, made at its first mention. Raises StateError for an unknown entity."""
        if entity not in self.entities:
            raise StateError(f"entity {entity} not found during upsertBucket", 404)
        path = f"{entity}/{project}"
        self.removed_projects.discard(path)
        if path not in self.projects:
            self.projects[path] = self._number()
        return self.projects[path]

    def project_number(self, entity: str, project: str) -> int | None:
        """The number of a project, None when there is none. Registries exist from the start."""
        path = f"{entity}/{project}"
        if path in self.removed_projects:
            return None
        if entity == self.registry_entity and project.startswith("wandb-registry-"):
            return self.ensure_project(entity, project)
        return self.projects.get(path)

    def remove_project(self, path: str) -> None:
        """Make `entity/project` unknown with all that is in it."""
        with self.lock:
            self.projects.pop(path, None)
            self.removed_projects.add(path)
            for table in (self.runs, self.collections):
                for key in [key for key in table if key.startswith(f"{path}/")]:
                    del table[key]
            self.dirty = True

    # Runs

    def upsert_run(self, values: dict[str, Any]) -> tuple[Run, bool]:
        """Make or change a run from the input of `upsertBucket`; the flag says whether it is new."""
        run = next((run for run in self.runs.values() if run.id == values.get("id")), None)
        inserted = False
        if run is None:
            entity = values.get("entityName") or self.entity
            project = values.get("modelName") or "uncategorized"
            name = values.get("name") or f"run{self.counter + 1}"
            self.ensure_project(entity, project)
            run = self.runs.get(f"{entity}/{project}/{name}")
            if run is None:
                inserted = True
                run_id = node_id("Run", f"v1:{name}:{project}:{entity}")
                run = Run(run_id, entity, project, name, now(), now(), display_name=name)
                self.runs[run.path] = run
            run.state = "running"
        for field, attribute in _RUN_FIELDS.items():
            if values.get(field) is not None:
                setattr(run, attribute, values[field])
        self.dirty = True
        return run, inserted

    def append_stream(self, run: Run, body: dict[str, Any]) -> None:
        """Take one `file_stream` request: each stream's lines replace what is stored from their offset on."""
        streams = {
            "wandb-history.jsonl": run.history,
            "wandb-events.jsonl": run.events,
            "output.log": run.output,
        }
        for name, chunk in (body.get("files") or {}).items():
            if name == "wandb-summary.json":
                run.summary = chunk["content"][-1]
            elif (lines := streams.get(name)) is not None:
                offset = int(chunk.get("offset", 0))
                lines.extend("{}" for _ in range(offset - len(lines)))
                lines[offset : offset + len(chunk["content"])] = chunk["content"]
        if body.get("complete"):
            run.exit_code = int(body.get("exitcode") or 0)
            run.state = "failed" if run.exit_code else "finished"
        run.heartbeat_at = now()
        self.dirty = True

    # Artifacts

    def create_artifact(self, values: dict[str, Any]) -> Artifact:
        """Begin a version from the input of `createArtifact`.

        Content that the collection already holds gives that version back, committed, with the new aliases.
        Raises StateError when the collection has another type.
        """
        entity, project = values["entityName"], values["projectName"]
        name = values.get("artifactCollectionName") or values["artifactCollectionNames"][0]
        self.ensure_project(entity, project)
        collection = self.ensure_collection(entity, project, name, values["artifactTypeName"])
        aliases = [alias["alias"] for alias in values.get("aliases") or []]
        if values.get("enableDigestDeduplication"):
            for member in reversed(collection.members):
                artifact = self.artifacts[member.artifact_id]
                if artifact.digest == values["digest"] and artifact.state == "COMMITTED":
                    self.add_aliases(collection, artifact.id, aliases)
                    artifact.client_id = values.get("clientID") or artifact.client_id
                    return artifact
        run = values.get("runName")
        artifact = Artifact(
            id=node_id("Artifact", self._number()),
            entity=entity,
            project=project,
            collection=name,
            type=values["artifactTypeName"],
            digest=values["digest"],
            created_at=now(),
            description=values.get("description"),
            metadata=values.get("metadata") or "{}",
            run=f"{entity}/{project}/{run}" if run else None,
            client_id=values.get("clientID"),
            wanted_aliases=aliases,
            tags=[tag["tagName"] for tag in values.get("tags") or []],
        )
        self.artifacts[artifact.id] = artifact
        return artifact

    def commit_artifact(self, artifact: Artifact) -> None:
        """Finish a version: it gets the next number of its collection, its aliases and `latest`.

        Raises StateError when a file of its manifest is stored nowhere.
        """
        if artifact.state == "COMMITTED":
            return
        for name, entry in self.manifest(artifact).items():
            # A draft of an earlier version sends only what changed; the rest stays where it was first stored.
            birth = self.artifacts.get(entry.get("birthArtifactID") or "")
            if name not in artifact.files and birth and name in birth.files:
                artifact.files[name] = birth.files[name]
            if "ref" not in entry and not self.blobs.exists(artifact.files.get(name)):
                raise StateError(f"file {name} of artifact {artifact.id} was not uploaded")
        artifact.state = "COMMITTED"
        self._append(self.collections[artifact.collection_path], artifact)

    def link_artifact(
        self, artifact: Artifact, entity: str, project: str, name: str, aliases: list[str]
    ) -> Member:
        """Put a version into another collection, usually of a registry. Raises StateError."""
        if artifact.state != "COMMITTED":
            raise StateError(f"artifact {artifact.id} is not committed")
        if self.project_number(entity, project) is None:
            raise StateError(f"project {entity}/{project} not found")
        collection = self.ensure_collection(entity, project, name, artifact.type, portfolio=True)
        member = collection.member_of(artifact.id) or self._append(collection, artifact)
        self.add_aliases(collection, artifact.id, aliases)
        return member

    def unlink_artifact(self, artifact_id: str, collection_id: str) -> None:
        """Take a version out of a collection; its number is not given again. Raises StateError."""
        for collection in self.collections.values():
            if collection.id == collection_id and (member := collection.member_of(artifact_id)):
                collection.members.remove(member)
                self.dirty = True
                return
        raise StateError("artifact is not in that collection")

    def delete_artifact(self, artifact_id: str, *, with_aliases: bool) -> None:
        """Delete a version everywhere. Raises StateError when aliases still point to it."""
        places = [(c, m) for c in self.collections.values() if (m := c.member_of(artifact_id))]
        if not with_aliases and any(member.aliases for _, member in places):
            raise StateError("artifact has aliases; delete them first or pass delete_aliases=True")
        for collection, member in places:
            collection.members.remove(member)
        self.artifacts[artifact_id].state = "DELETED"
        self.dirty = True

    def _append(self, collection: Collection, artifact: Artifact) -> Member:
        member = Member(artifact.id, collection.next_version, now())
        collection.next_version += 1
        collection.members.append(member)
        wanted = [] if collection.portfolio else artifact.wanted_aliases
        self.add_aliases(collection, artifact.id, ["latest", *wanted])
        return member

    def ensure_collection(
        self, entity: str, project: str, name: str, artifact_type: str, *, portfolio: bool = False
    ) -> Collection:
        """A collection, made at its first mention. Raises StateError when it has another type."""
        path = f"{entity}/{project}/{name}"
        if (collection := self.collections.get(path)) is None:
            collection_id = node_id("ArtifactPortfolio" if portfolio else "ArtifactSequence", self._number())
            collection = Collection(collection_id, entity, project, name, artifact_type, now(), portfolio)
            self.collections[path] = collection
        if collection.type != artifact_type:
            raise StateError(
                f"artifact type {artifact_type} does not match type {collection.type} of collection {name}"
            )
        return collection

    def add_aliases(self, collection: Collection, artifact_id: str, aliases: list[str]) -> None:
        """Point aliases of a collection to a version, away from where they pointed. Raises StateError."""
        if (target := collection.member_of(artifact_id)) is None:
            raise StateError(f"artifact is not in collection {collection.name}")
        for alias in aliases:
            _moved(target, collection.members, alias)
        self.dirty = True

    def delete_aliases(self, collection: Collection, artifact_id: str, aliases: list[str]) -> None:
        """Take aliases away from a version; those it does not have are ignored."""
        if member := collection.member_of(artifact_id):
            member.aliases = [alias for alias in member.aliases if alias not in aliases]
        self.dirty = True

    def collection(self, path: str) -> Collection:
        """A collection by `entity/project/name`. Raises StateError."""
        try:
            return self.collections[path]
        except KeyError:
            raise StateError(f"no collection {path}") from None

    def resolve(self, path: str) -> tuple[Collection, Member, Artifact]:
        """What `entity/project/name:alias` (without an alias: latest) points to. Raises StateError."""
        name, _, alias = path.partition(":")
        collection = self.collection(name)
        if (member := collection.find(alias or "latest")) is None:
            raise StateError(f"{name} has no {alias or 'latest'}")
        return collection, member, self.artifacts[member.artifact_id]

    def manifest(self, artifact: Artifact) -> dict[str, dict[str, Any]]:
        """The manifest's entries by file name; empty while none was uploaded."""
        if not self.blobs.exists(artifact.manifest):
            return {}
        contents: dict[str, dict[str, Any]] = json.loads(self.blobs.read(str(artifact.manifest)))["contents"]
        return contents


_RUN_FIELDS = {
    "config": "config",
    "summaryMetrics": "summary",
    "displayName": "display_name",
    "notes": "notes",
    "groupName": "group",
    "jobType": "job_type",
    "tags": "tags",
    "state": "state",
    "commit": "commit",
    "host": "host",
    "jobProgram": "program",
}
