"""The root fields of the GraphQL API: what can be asked, and what can be changed (see mutations)."""

from collections.abc import Mapping
from typing import Any

from .artifact_views import Object
from .mutations import Mutations
from .state import Store
from .views import Views

FEATURES = (
    "LARGE_FILENAMES",
    "ARTIFACT_TAGS",
    "CLIENT_IDS",
    "ARTIFACT_REGISTRY_SEARCH",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILE_DOWNLOAD_HANDLER",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
    "INCLUDE_ARTIFACT_TYPES_IN_REGISTRY_CREATION",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "TOTAL_COUNT_IN_FILE_CONNECTION",
    "ARTIFACT_COLLECTIONS_FILTERING_SORTING",
    "ARTIFACT_V2_DOWNLOAD_HANDLER_SUPPORTS_ARTIFACT_ID",
    "MARK_RUN_FILES_UPLOADED",
    "FILESTREAM_GZIP",
)
"""What this server tells the client it can do; the names are the client's."""


def roots(store: Store, base_url: str) -> Mapping[str, Mapping[str, Any]]:
    """The `query` and `mutation` roots for one request that came to `base_url`."""
    views = Views(store, base_url)
    return {"query": _query(store, views), "mutation": Mutations(store, views).fields()}


def _query(store: Store, views: Views) -> Object:
    def project(arguments: Object) -> Object | None:
        return views.project(arguments.get("entityName") or store.entity, arguments.get("name"))

    def artifact(arguments: Object) -> Object | None:
        found = store.artifacts.get(arguments["id"])
        return views.artifact(found) if found else None

    def collection(arguments: Object) -> Object | None:
        found = (item for item in store.collections.values() if item.id == arguments["id"])
        return views.collection(next(found, None))

    def client_id_mapping(arguments: Object) -> Object | None:
        wanted = arguments["clientID"]
        found = next((item for item in store.artifacts.values() if item.client_id == wanted), None)
        return {"serverID": found.id} if found else None

    features = [{"__typename": "ServerFeature", "name": name, "isEnabled": True} for name in FEATURES]
    return {
        "viewer": lambda _: views.viewer(),
        "serverInfo": {
            "__typename": "ServerInfo",
            "features": features,
            "cliVersionInfo": {"max_cli_version": "0.31.0", "min_cli_version": "0.10.0"},
            "latestLocalVersionInfo": None,
        },
        "entity": lambda a: views.entity(a.get("name") or store.entity),
        "organization": lambda a: views.organization() if a.get("name") == store.organization else None,
        "project": project,
        "model": project,
        "artifact": artifact,
        "artifactCollection": collection,
        "clientIDMapping": client_id_mapping,
    }
