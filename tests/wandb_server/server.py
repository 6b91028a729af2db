"""A loopback W&B for tests: the real client cannot tell it from the service for what this project does."""

import copy
import shutil
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn

from . import actions, snapshot
from .faults import Fault, Kind
from .http import Backend, Call, build_app
from .records import Artifact, Collection, Run
from .state import StateError, Store

DEFAULT_KEY = "loopback" * 5
"""Forty characters, as the client asks of a key."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Which versions a run made and which it used, as `entity/project/collection:vN`."""

    logged: tuple[str, ...]
    used: tuple[str, ...]


class WandbServer:
    """A W&B server on a free loopback port, in a thread.

    It knows one team (`entity`, the default entity of its one user), one user and one organization, whose
    registries `wandb-registry-...` all exist from the start. Other entities are refused, projects are made
    by their first run. What a test asks through the methods is a copy: changing it changes nothing.

    With a `folder` the state is kept there and taken up by the next server; without one it is temporary.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        api_key: str = DEFAULT_KEY,
        entity: str = "acme",
        user: str = "alice",
        organization: str = "acme-org",
        folder: Path | None = None,
    ) -> None:
        """Prepare a server; `start` opens the port. Port 0 takes a free one."""
        self._temporary = folder is None
        self._folder = folder or Path(tempfile.mkdtemp(prefix="wandb-server-"))
        self._host = host
        self._port = port
        store = Store(self._folder, entity=entity, user=user, organization=organization)
        snapshot.load(store, self._folder)
        self._backend = Backend(store, api_key)
        self._default_key = api_key
        self._uvicorn: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    # Life

    def start(self) -> Self:
        """Open the port and answer from a thread. Raises OSError when the port is taken."""
        listener = socket.create_server((self._host, self._port))
        # asyncio sets this only on sockets that name their protocol; without it each answer takes 40 ms more.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            build_app(self._backend),
            log_config=None,
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._uvicorn.run, kwargs={"sockets": [listener]}, name="wandb-server", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._uvicorn.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the loopback W&B did not start")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """Close the port, save the state if it has a folder, and forget it otherwise."""
        self.clear_faults()
        if self._uvicorn and self._thread:
            self._uvicorn.should_exit = True
            self._thread.join(timeout=10)
            self._uvicorn = self._thread = None
        if self._temporary:
            shutil.rmtree(self._folder, ignore_errors=True)
        else:
            self.save()

    def save(self) -> None:
        """Write the state to the folder, if it changed."""
        snapshot.save(self._backend.store, self._folder)

    def reset(self) -> None:
        """Forget all runs, artifacts, faults and calls, and accept the first key again."""
        self.clear_faults()
        self._backend.store.reset()
        self._backend.calls.clear()
        self._backend.api_key = self._default_key

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What a client needs

    @property
    def url(self) -> str:
        """For WANDB_BASE_URL."""
        return f"http://{self._host}:{self._port}"

    @property
    def api_key(self) -> str:
        """For WANDB_API_KEY. Setting another one makes the old one wrong (401) from the next request on."""
        return self._backend.api_key

    @api_key.setter
    def api_key(self, value: str) -> None:
        self._backend.api_key = value

    @property
    def entity(self) -> str:
        """The team that runs go to when no entity is given."""
        return self._backend.store.entity

    @property
    def registry_entity(self) -> str:
        """The entity that the organization's registries belong to."""
        return self._backend.store.registry_entity

    # What arrived

    def runs(
        self, *, project: str | None = None, job_type: str | None = None, group: str | None = None
    ) -> list[Run]:
        """Runs in the order of their creation, optionally only those of a project, job type or group."""
        with self._backend.store.lock:
            return [
                copy.deepcopy(run)
                for run in self._backend.store.runs.values()
                if project in (None, run.project)
                and job_type in (None, run.job_type)
                and group in (None, run.group)
            ]

    def run(self, run: str) -> Run:
        """A run by its path or its name (id). Raises StateError when there is none."""
        with self._backend.store.lock:
            return copy.deepcopy(self._run(run))

    def rows(self, run: str | Run) -> list[dict[str, Any]]:
        """The history of a run, parsed. Raises StateError."""
        return self.run(run if isinstance(run, str) else run.path).rows

    def run_files(self, run: str) -> dict[str, bytes]:
        """The files that were uploaded for a run, with their bytes. Raises StateError."""
        blobs = self._backend.store.blobs
        with self._backend.store.lock:
            return {name: blobs.read(key) for name, key in self._run(run).files.items() if blobs.exists(key)}

    def artifacts(self, artifact_type: str | None = None) -> list[Artifact]:
        """Versions in the order of their creation, the pending ones too."""
        with self._backend.store.lock:
            found = self._backend.store.artifacts.values()
            return [copy.deepcopy(item) for item in found if artifact_type in (None, item.type)]

    def artifact(self, path: str) -> Artifact:
        """What `entity/project/collection:alias` points to. Raises StateError."""
        with self._backend.store.lock:
            return copy.deepcopy(self._backend.store.resolve(path)[2])

    def artifact_files(self, path: str) -> dict[str, bytes]:
        """The files of a version with their bytes as stored. Raises StateError."""
        with self._backend.store.lock:
            files = self._backend.store.resolve(path)[2].files
            return {name: self._backend.store.blobs.read(key) for name, key in files.items()}

    def collections(self) -> list[Collection]:
        """All collections, of projects and of registries."""
        with self._backend.store.lock:
            return copy.deepcopy(list(self._backend.store.collections.values()))

    def aliases(self, collection: str) -> dict[str, str]:
        """Where each alias of `entity/project/collection` points: `{"latest": "v3"}`. Raises StateError."""
        with self._backend.store.lock:
            members = self._backend.store.collection(collection).members
            return {alias: f"v{member.version}" for member in members for alias in member.aliases}

    def lineage(self, run: str) -> Lineage:
        """What a run made and used. Raises StateError."""
        store = self._backend.store
        with store.lock:
            found = self._run(run)
            made = [
                item
                for item in store.artifacts.values()
                if item.run == found.path and item.state == "COMMITTED"
            ]
            used = [store.artifacts[item] for item in found.used]
            return Lineage(tuple(map(self._version, made)), tuple(map(self._version, used)))

    def calls(self, kind: str | None = None, name: str | None = None) -> list[Call]:
        """The last requests, oldest first; `name` is an operation, a run's path or a file's name."""
        found = list(self._backend.calls)
        return [call for call in found if kind in (None, call.kind) and name in (None, call.name)]

    @property
    def saved_views(self) -> list[dict[str, Any]]:
        """The workspaces and reports that clients saved, as they sent them."""
        return list(self._backend.store.saved_views.values())

    @property
    def unknown_fields(self) -> Counter[str]:
        """`Operation:path` of what a client asked for and this server does not know, with counts."""
        return Counter(self._backend.store.unknown_fields)

    # What goes wrong

    def set_fault(self, kind: Kind, **effects: Any) -> Fault:
        """Switch a fault on; the effects are the fields of Fault. The answer counts its `hits`."""
        return self._backend.faults.add(Fault(kind, **effects))

    def clear_faults(self, kind: Kind | None = None) -> None:
        """Switch all faults off, or those of one kind; requests that hang go on."""
        self._backend.faults.clear(kind)

    # What others do meanwhile

    def publish(
        self,
        path: str,
        files: Mapping[str, bytes],
        *,
        artifact_type: str = "model",
        metadata: Mapping[str, Any] | None = None,
        aliases: tuple[str, ...] = (),
    ) -> Artifact:
        """Add a committed version to `entity/project/collection` without a client. Raises StateError."""
        with self._backend.store.lock:
            made = actions.publish(
                self._backend.store,
                path,
                files,
                artifact_type=artifact_type,
                metadata=metadata,
                aliases=aliases,
            )
            return copy.deepcopy(made)

    def link(self, source: str, target: str) -> None:
        """Link `entity/project/name:alias` to `wandb-registry-X/name[:alias]`. Raises StateError."""
        with self._backend.store.lock:
            actions.link(self._backend.store, source, target)

    def move_alias(self, collection: str, alias: str, version: str) -> None:
        """Point an alias of `entity/project/collection` to a version such as `v1`. Raises StateError."""
        with self._backend.store.lock:
            actions.move_alias(self._backend.store, collection, alias, version)

    def remove_alias(self, collection: str, alias: str) -> None:
        """Take an alias away. Raises StateError."""
        with self._backend.store.lock:
            actions.remove_alias(self._backend.store, collection, alias)

    def set_artifact_state(self, path: str, state: str) -> None:
        """Make a version `PENDING`, `COMMITTED` or `DELETED`. Raises StateError."""
        with self._backend.store.lock:
            actions.set_artifact_state(self._backend.store, path, state)

    def remove_project(self, project: str) -> None:
        """Delete `entity/project` with all that is in it."""
        actions.remove_project(self._backend.store, project)

    def stop_run(self, run: str) -> None:
        """Press "Stop run" on the run's page. Raises StateError."""
        with self._backend.store.lock:
            actions.stop_run(self._backend.store, self._run(run).path)

    def date_run(self, run: str, when: str) -> None:
        """Let a run have been made and last heard of at a time such as `2026-01-01T00:00:00Z`. Raises StateError."""
        with self._backend.store.lock:
            found = self._run(run)
            found.created_at = found.heartbeat_at = when

    def remove_row(self, run: str, index: int) -> None:
        """Lose one row of a run's history. Raises StateError."""
        with self._backend.store.lock:
            del self._run(run).history[index]

    def _run(self, run: str) -> Run:
        for found in self._backend.store.runs.values():
            if run in (found.path, found.name):
                return found
        raise StateError(f"no run {run}")

    def _version(self, artifact: Artifact) -> str:
        member = self._backend.store.collection(artifact.collection_path).member_of(artifact.id)
        return f"{artifact.collection_path}:v{member.version}" if member else artifact.collection_path
