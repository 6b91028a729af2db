"""The mutations of the GraphQL API, each from the input object that the client sends."""

from collections.abc import Callable
from typing import Any

from .artifact_views import MANIFEST_NAME, Object
from .records import Artifact, Collection, Run
from .saved_views import upsert_view
from .state import StateError, Store, node_id
from .views import Views


class Mutations:
    """Changes to a store, answered with the views of what was changed."""

    def __init__(self, store: Store, views: Views) -> None:
        self._store = store
        self._views = views

    def fields(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        """The root fields; each takes `{"input": {...}}`."""
        table: dict[str, Callable[[Object], Any]] = {
            "upsertBucket": self._upsert_run,
            "deleteRun": self._delete_run,
            "stopRun": self._stop_run,
            "updateRunState": self._update_run_state,
            "upsertView": lambda values: upsert_view(self._store, values),
            "createRunFiles": self._create_run_files,
            "markRunFilesUploaded": lambda _: {"success": True},
            "notifyScriptableRunAlert": self._alert,
            "createArtifact": self._create_artifact,
            "createArtifactManifest": self._create_manifest,
            "updateArtifactManifest": self._update_manifest,
            "createArtifactFiles": self._create_artifact_files,
            "commitArtifact": self._commit_artifact,
            "updateArtifact": self._update_artifact,
            "deleteArtifact": self._delete_artifact,
            "deleteArtifactSequence": self._delete_sequence,
            "useArtifact": self._use_artifact,
            "linkArtifact": self._link_artifact,
            "unlinkArtifact": self._unlink_artifact,
            "addAliases": self._add_aliases,
            "deleteAliases": self._delete_aliases,
        }
        return {name: _from_input(change) for name, change in table.items()}

    # Runs

    def _run_by_id(self, run_id: str) -> Run:
        run = next((run for run in self._store.runs.values() if run.id == run_id), None)
        if run is None:
            raise StateError(f"run {run_id} not found")
        return run

    def _upsert_run(self, values: Object) -> Object:
        run, inserted = self._store.upsert_run(values)
        return {"bucket": self._views.run(run), "inserted": inserted}

    def _delete_run(self, values: Object) -> Object:
        run = self._run_by_id(values["id"])
        del self._store.runs[run.path]
        return {"success": True, "clientMutationId": None}

    def _stop_run(self, values: Object) -> Object:
        self._run_by_id(values["id"]).stop_requested = True
        return {"success": True}

    def _update_run_state(self, values: Object) -> Object:
        self._run_by_id(values["id"]).state = values["state"]
        return {"success": True}

    def _run_by_name(self, values: Object) -> Run:
        run = self._store.runs.get(f"{values['entityName']}/{values['projectName']}/{values['runName']}")
        if run is None:
            raise StateError(f"run {values['runName']} not found")
        return run

    def _alert(self, values: Object) -> Object:
        told = {name: values.get(name) for name in ("title", "text", "severity", "waitDuration")}
        self._run_by_name(values).alerts.append(told)
        self._store.dirty = True
        return {"success": True}

    def _create_run_files(self, values: Object) -> Object:
        run = self._run_by_name(values)
        files = []
        for name in values["files"]:
            key = run.files.setdefault(name, self._store.blobs.new_key())
            files.append({"name": name, "uploadUrl": self._views.blob_url(key, name)})
        return {"runID": run.id, "uploadHeaders": [], "files": files}

    # Artifacts

    def _artifact(self, artifact_id: str | None) -> Artifact:
        if (artifact := self._store.artifacts.get(artifact_id or "")) is None:
            raise StateError(f"artifact {artifact_id} not found")
        return artifact

    def _create_artifact(self, values: Object) -> Object:
        return {"artifact": self._views.artifact(self._store.create_artifact(values))}

    def _create_manifest(self, values: Object) -> Object:
        artifact = self._artifact(values["artifactID"])
        artifact.manifest_id = node_id("ArtifactManifest", self._store.blobs.new_key())
        return self._manifest(artifact)

    def _update_manifest(self, values: Object) -> Object:
        wanted = values["artifactManifestID"]
        artifact = next((item for item in self._store.artifacts.values() if item.manifest_id == wanted), None)
        if artifact is None:
            raise StateError(f"manifest {wanted} not found")
        return self._manifest(artifact)

    def _manifest(self, artifact: Artifact) -> Object:
        artifact.manifest = self._store.blobs.new_key()
        file = {
            "id": node_id("File", artifact.manifest),
            "uploadUrl": self._views.blob_url(artifact.manifest, MANIFEST_NAME),
            "uploadHeaders": [],
        }
        return {"artifactManifest": {"id": artifact.manifest_id, "file": file}}

    def _create_artifact_files(self, values: Object) -> Object:
        edges = []
        for file in values["artifactFiles"]:
            artifact = self._artifact(file["artifactID"])
            key = artifact.files[file["name"]] = self._store.blobs.new_key()
            node: Object = {
                "storagePath": f"wandb_artifacts/{key}",
                "uploadUrl": self._views.blob_url(key, file["name"]),
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": artifact.id},
            }
            edges.append({"node": node})
        return {"files": {"edges": edges}}

    def _commit_artifact(self, values: Object) -> Object:
        artifact = self._artifact(values["artifactID"])
        self._store.commit_artifact(artifact)
        return {"artifact": self._views.artifact(artifact)}

    def _update_artifact(self, values: Object) -> Object:
        artifact = self._artifact(values["artifactID"])
        for field in ("metadata", "description"):
            if values.get(field) is not None:
                setattr(artifact, field, values[field])
        removed = {tag["tagName"] for tag in values.get("tagsToDelete") or ()}
        added = [tag["tagName"] for tag in values.get("tagsToAdd") or ()]
        artifact.tags = [tag for tag in artifact.tags if tag not in removed and tag not in added] + added
        self._store.dirty = True
        return {"artifact": self._views.artifact(artifact)}

    def _delete_artifact(self, values: Object) -> Object:
        artifact = self._artifact(values["artifactID"])
        self._store.delete_artifact(artifact.id, with_aliases=bool(values.get("deleteAliases")))
        return {"artifact": self._views.artifact(artifact)}

    def _delete_sequence(self, values: Object) -> Object:
        wanted = values["artifactSequenceID"]
        collection = next((item for item in self._store.collections.values() if item.id == wanted), None)
        if collection is None:
            raise StateError(f"collection {wanted} not found")
        for member in list(collection.members):
            self._store.delete_artifact(member.artifact_id, with_aliases=True)
        del self._store.collections[collection.path]
        return {"artifactCollection": {"__typename": "ArtifactSequence", "state": "DELETED"}}

    def _use_artifact(self, values: Object) -> Object:
        artifact = self._artifact(values["artifactID"])
        run = self._run_by_name(values)
        if artifact.id not in run.used:
            run.used.append(artifact.id)
        self._store.dirty = True
        return {"artifact": self._views.artifact(artifact)}

    # Collections

    def _link_artifact(self, values: Object) -> Object:
        store = self._store
        artifact_id = values.get("artifactID")
        if not artifact_id:
            wanted = values.get("clientID")
            artifact_id = next(
                (item.id for item in store.artifacts.values() if item.client_id == wanted), None
            )
        artifact = self._artifact(artifact_id)
        entity, project, name = values["entityName"], values["projectName"], values["artifactPortfolioName"]
        aliases = [alias["alias"] for alias in values.get("aliases") or ()]
        member = store.link_artifact(artifact, entity, project, name, aliases)
        collection = store.collection(f"{entity}/{project}/{name}")
        return {
            "versionIndex": member.version,
            "artifactMembership": self._views.membership(collection, member),
        }

    def _unlink_artifact(self, values: Object) -> Object:
        self._store.unlink_artifact(values["artifactID"], values["artifactPortfolioID"])
        return {"success": True}

    def _add_aliases(self, values: Object) -> Object:
        for alias in values["aliases"]:
            self._store.add_aliases(self._collection(alias), values["artifactID"], [alias["alias"]])
        return {"success": True}

    def _delete_aliases(self, values: Object) -> Object:
        for alias in values["aliases"]:
            self._store.delete_aliases(self._collection(alias), values["artifactID"], [alias["alias"]])
        return {"success": True}

    def _collection(self, alias: Object) -> Collection:
        path = f"{alias['entityName']}/{alias['projectName']}/{alias['artifactCollectionName']}"
        return self._store.collection(path)


def _from_input(change: Callable[[Object], Any]) -> Callable[[Object], Any]:
    return lambda arguments: change(arguments["input"])
