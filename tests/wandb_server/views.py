"""People, projects and runs as GraphQL objects."""

import json

from .artifact_views import ArtifactViews, Object, connection
from .filters import matches, ordered
from .history import history_keys, history_page, sampled
from .records import Run
from .state import node_id


class Views(ArtifactViews):
    """GraphQL objects of everything in a store."""

    # People and places

    def organization(self) -> Object:
        """The one organization, which owns the registries."""
        entity = {"__typename": "Entity", "id": node_id("Entity", self._store.registry_entity)}
        entity |= {"name": self._store.registry_entity, "entityType": "organization"}
        name = self._store.organization
        return {
            "__typename": "Organization",
            "id": node_id("Organization", name),
            "name": name,
            "orgEntity": entity,
            "coreWeaveOrganizationId": None,
            "featureFlags": [],
        }

    def viewer(self) -> Object:
        """The person whose key is used."""
        store = self._store
        teams = [
            {"__typename": "Entity", "id": node_id("Entity", name), "name": name}
            for name in store.entities[:2]
        ]
        return {
            "__typename": "User",
            "id": node_id("User", store.user),
            "name": store.user,
            "username": store.user,
            "email": f"{store.user}@example.org",
            "entity": store.entity,
            "defaultEntity": {"id": node_id("Entity", store.entity), "name": store.entity},
            "admin": False,
            "flags": "{}",
            "deletedAt": None,
            "apiKeys": {"edges": []},
            "teams": {"edges": [{"node": team} for team in teams]},
            "organizations": lambda _: [self.organization()],
        }

    def entity(self, name: str) -> Object | None:
        """A team, a person or the organization's registry entity."""
        store = self._store
        if name not in store.entities:
            return None
        person = name == store.user
        return {
            "__typename": "Entity",
            "id": node_id("Entity", name),
            "name": name,
            "entityType": "user" if person else "team",
            "isTeam": not person,
            "available": True,
            "xxhashDigestsEnabled": False,
            "organization": None if person else self.organization(),
            "user": {"organizations": [self.organization()]} if person else None,
            "project": lambda a: self.project(name, a["name"]),
        }

    def project(self, entity: str, name: str | None) -> Object | None:
        """A project or a registry, with everything in it."""
        store = self._store
        number = store.project_number(entity, name) if name else None
        if number is None or name is None:
            return None
        prefix = f"{entity}/{name}"
        return {
            "__typename": "Project",
            "id": node_id("Project", f"v1:{name}:{entity}"),
            "internalId": node_id("ProjectInternalId", number),
            "name": name,
            "entityName": entity,
            "entity": lambda _: self.entity(entity),
            "description": "",
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": "2026-01-01T00:00:00Z",
            "isBenchmark": False,
            "access": "PRIVATE",
            "readOnly": False,
            "user": lambda _: self.viewer(),
            "allowAllArtifactTypes": True,
            "run": lambda a: self.run(store.runs.get(f"{prefix}/{a['name']}")),
            "bucket": lambda a: self.run(store.runs.get(f"{prefix}/{a['name']}")),
            "runs": lambda a: connection([self._run(run) for run in self._runs(prefix, a)], a),
            "runCount": lambda a: len(self._runs(prefix, a)),
            "artifact": lambda a: self._pointed_to(f"{prefix}/{a['name']}", "artifact"),
            "artifactCollectionMembership": lambda a: self._pointed_to(f"{prefix}/{a['name']}", "membership"),
            "artifactCollection": lambda a: self.collection(store.collections.get(f"{prefix}/{a['name']}")),
            "artifactCollections": lambda a: connection(self._collections(prefix, None), a),
            "artifactType": lambda a: self._artifact_type(prefix, a["name"]),
            "artifactTypes": lambda a: connection(
                [self._artifact_type(prefix, name) for name in self._type_names(prefix)], a
            ),
        }

    def _runs(self, prefix: str, arguments: Object) -> list[Run]:
        filters = json.loads(arguments.get("filters") or "{}")
        runs = [run for run in self._store.runs.values() if f"{run.entity}/{run.project}" == prefix]
        return ordered([run for run in runs if matches(run, filters)], arguments.get("order"))

    # Runs

    def run(self, run: Run | None) -> Object | None:
        """A run, None for None."""
        return self._run(run) if run else None

    def _run(self, run: Run) -> Object:
        store = self._store
        return {
            "__typename": "Run",
            "id": run.id,
            "internalId": run.id,
            "name": run.name,
            "displayName": run.display_name or run.name,
            "description": run.notes,
            "notes": run.notes,
            "project": lambda _: self.project(run.entity, run.project),
            "projectId": str(store.projects.get(f"{run.entity}/{run.project}", 0)),
            "user": lambda _: self.viewer(),
            "state": run.state,
            "stopped": run.stop_requested,
            "group": run.group,
            "jobType": run.job_type,
            "host": run.host,
            "commit": run.commit,
            "tags": run.tags,
            "sweepName": None,
            "sweep": None,
            "readOnly": False,
            "createdAt": run.created_at,
            "heartbeatAt": run.heartbeat_at,
            "updatedAt": run.heartbeat_at,
            "config": run.config,
            "wandbConfig": lambda a: _client_config(run, a.get("keys")),
            "summaryMetrics": run.summary,
            "systemMetrics": lambda _: run.events[-1] if run.events else "{}",
            "historyLineCount": len(run.history),
            "eventsLineCount": len(run.events),
            "logLineCount": len(run.output),
            "historyTail": lambda _: json.dumps(run.history[-1:]),
            "eventsTail": lambda _: json.dumps(run.events[-1:]),
            "historyKeys": lambda _: history_keys(run),
            "history": lambda a: history_page(run, a),
            "events": lambda a: run.events[-int(a.get("samples") or 500) :],
            "sampledHistory": lambda a: [sampled(run, spec) for spec in a["specs"]],
            "parquetHistory": lambda _: {"parquetUrls": [], "liveData": []},
            "files": lambda a: connection(self._run_files(run, a), a),
            "fileCount": lambda _: len(self._run_files(run, {})),
            "inputArtifacts": lambda a: connection([self.artifact(store.artifacts[i]) for i in run.used], a),
            "outputArtifacts": lambda a: connection(
                [
                    self.artifact(x)
                    for x in store.artifacts.values()
                    if x.run == run.path and x.state == "COMMITTED"
                ],
                a,
            ),
        }

    def _run_files(self, run: Run, arguments: Object) -> list[Object]:
        wanted = [name for name in arguments.get("names") or () if name] or sorted(run.files)
        pattern = arguments.get("pattern")
        stored = [name for name in wanted if self._store.blobs.exists(run.files.get(name))]
        names = [name for name in stored if not pattern or _like(name, pattern)]
        return [self.file(name, run.files[name], None) for name in names]


def _client_config(run: Run, keys: list[str] | None) -> str:
    # The client's own part of the configuration; its telemetry is what tells a resume that a run is real.
    own = json.loads(run.config or "{}").get("_wandb", {}).get("value", {})
    return json.dumps({key: value for key, value in own.items() if keys is None or key in keys})


def _like(name: str, pattern: str) -> bool:
    # MySQL's LIKE with its only wildcard in use: `%` at either end.
    wanted = pattern.strip("%")
    if pattern.startswith("%"):
        return wanted in name if pattern.endswith("%") else name.endswith(wanted)
    return name.startswith(wanted) if pattern.endswith("%") else name == wanted
