"""What the loopback server remembers: plain dataclasses, written to disk as JSON without further help."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Run:
    """One run. `config` and `summary` are JSON texts as the client sent them, `history` is one a row."""

    id: str
    entity: str
    project: str
    name: str
    created_at: str
    heartbeat_at: str
    display_name: str = ""
    notes: str | None = None
    group: str | None = None
    job_type: str | None = None
    host: str | None = None
    program: str | None = None
    commit: str | None = None
    tags: list[str] = field(default_factory=list)
    state: str = "running"
    exit_code: int | None = None
    stop_requested: bool = False
    config: str = "{}"
    summary: str = "{}"
    history: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    """File name to blob key."""
    used: list[str] = field(default_factory=list)
    """Ids of the artifacts this run declared as inputs, in order, each once."""
    alerts: list[dict[str, Any]] = field(default_factory=list)
    """What the run had W&B tell people: `title`, `text`, `severity`, `waitDuration` in milliseconds."""

    @property
    def path(self) -> str:
        """`entity/project/name`."""
        return f"{self.entity}/{self.project}/{self.name}"

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The history, parsed. Bare `NaN` and `Infinity`, which the client does write, become floats."""
        return [json.loads(line) for line in self.history]

    @property
    def config_values(self) -> dict[str, Any]:
        """The user's configuration without the client's own `_wandb` entry and `{"value": ...}` wrapping."""
        raw: dict[str, Any] = json.loads(self.config or "{}")
        return {
            key: entry.get("value") if isinstance(entry, dict) and "value" in entry else entry
            for key, entry in raw.items()
            if key not in ("_wandb", "wandb_version")
        }

    @property
    def summary_values(self) -> dict[str, Any]:
        """The summary, parsed."""
        values: dict[str, Any] = json.loads(self.summary or "{}")
        return values

    @property
    def last_step(self) -> int:
        """The highest `_step` in the history, -1 when there is none."""
        steps = (json.loads(line).get("_step", index) for index, line in enumerate(self.history))
        return max(steps, default=-1)


@dataclass(slots=True)
class Artifact:
    """One artifact version's content. Its version number and aliases belong to the collections it is in."""

    id: str
    entity: str
    project: str
    collection: str
    type: str
    digest: str
    created_at: str
    state: str = "PENDING"
    description: str | None = None
    metadata: str = "{}"
    run: str | None = None
    """Path of the run that logged it."""
    client_id: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    """File name to blob key, as uploaded."""
    manifest_id: str | None = None
    manifest: str | None = None
    """Blob key of the manifest."""
    wanted_aliases: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    ttl_seconds: int = -2

    @property
    def collection_path(self) -> str:
        """`entity/project/collection` of the collection it was logged to."""
        return f"{self.entity}/{self.project}/{self.collection}"

    @property
    def metadata_values(self) -> dict[str, Any]:
        """The metadata, parsed."""
        values: dict[str, Any] = json.loads(self.metadata or "{}")
        return values


@dataclass(slots=True)
class Member:
    """An artifact's place in a collection: its version number there and the aliases that point to it."""

    artifact_id: str
    version: int
    created_at: str
    aliases: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Collection:
    """A named series of versions: what a project logged (a sequence) or what was linked (a portfolio)."""

    id: str
    entity: str
    project: str
    name: str
    type: str
    created_at: str
    portfolio: bool = False
    description: str = ""
    tags: list[str] = field(default_factory=list)
    next_version: int = 0
    members: list[Member] = field(default_factory=list)

    @property
    def path(self) -> str:
        """`entity/project/name`."""
        return f"{self.entity}/{self.project}/{self.name}"

    def member_of(self, artifact_id: str) -> Member | None:
        """The place of an artifact in this collection."""
        return next((member for member in self.members if member.artifact_id == artifact_id), None)

    def find(self, alias: str) -> Member | None:
        """The member that an alias or a version (`v3`) points to."""
        for member in self.members:
            if alias in member.aliases or alias == f"v{member.version}":
                return member
        return None
