"""Workspaces and reports that clients save: one record a name and project."""

import json
from typing import Any

from .state import StateError, Store, node_id


def upsert_view(store: Store, values: dict[str, Any]) -> dict[str, Any]:
    """Save a view, new or under an id that was given before; its `spec` must be JSON."""
    try:
        json.loads(values["spec"])
    except ValueError:
        raise StateError("spec is no JSON") from None
    entity = values.get("entityName") or store.entity
    given = values.get("id")
    if given and given not in store.saved_views:
        raise StateError("view not found")
    key = given or node_id("View", f"{entity}/{values['projectName']}/{values.get('name')}")
    inserted = key not in store.saved_views
    store.saved_views[key] = {**store.saved_views.get(key, {}), **values, "id": key, "entityName": entity}
    store.dirty = True
    return {"view": view_of(store.saved_views[key]), "inserted": inserted}


def view_of(saved: dict[str, Any]) -> dict[str, Any]:
    """A view as a GraphQL object."""
    project = {"id": node_id("Project", saved["projectName"]), "name": saved["projectName"]}
    names = ("id", "type", "name", "displayName", "description", "spec")
    return {
        "__typename": "View",
        **{name: saved.get(name) for name in names},
        "project": project | {"entityName": saved["entityName"]},
    }
