"""The child process that talks to W&B: find an artifact, see whether it may be served, download it.

It reads one JSON object from standard input and writes JSON lines to standard output: `{"step": …}` before
each thing that may take long, at the end the answer or `{"error": class, "message": …}`.
"""

import json
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from app.core.errors import (
    ArtifactContentError,
    ArtifactTypeError,
    ConfigurationError,
    DigestMismatchError,
    NotCommittedError,
    ProjectNotFoundError,
    RegistryError,
    StartupError,
    StorageError,
    UnreachableError,
)
from app.services.artifact_names import problem_of
from app.services.wandb_failures import explain_answer, explain_login, explain_transfer, no_such_artifact

_SPARE_BYTES = 16 << 20
"""What must stay free on the disk beside the artifact."""

_API_SECONDS = 20
"""How long one question may take; the client asks again within it when the server fails."""


def answer(request: Mapping[str, Any], report: Callable[[str], None]) -> dict[str, Any]:
    """Find an artifact and, if asked to, download it.

    Args:
        request: `reference` (``[entity/]project/name``), `alias`, `key`, `base_url`, `entity`, `seconds`. For
            a registry the entity is not part of the reference, and may be a team or the organization. To
            download also `folder`, `digest` (what it must have, or None), `known` (version to digest of
            what is on disk already), `most_bytes` (of all its files together).
        report: is told what is done next.

    Returns:
        `artifact` (full name with version), `version`, `digest`; after a download `downloaded` and `files`
        (name to base64 MD5, None where W&B has another kind of digest, which is then verified already).

    Raises:
        StartupError: a subclass that says what is wrong and how to mend it.
    """
    api = _connect(request, report)
    report(f"asking W&B for {request['reference']}:{request['alias']}")
    artifact = _find(api, request)
    version, digest = str(artifact.version), str(artifact.digest)
    name = f"{artifact.entity}/{artifact.project}/{artifact.name.partition(':')[0]}:{version}"
    found = {"artifact": name, "version": version, "digest": digest}
    if "folder" not in request:
        return found
    wanted = request["digest"]
    if wanted and wanted.lower() != digest.lower():
        raise DigestMismatchError(
            f"{name} has the digest {digest}, but MODEL_DIGEST asks for {wanted}: "
            "set MODEL_VERSION to the version with that digest, or correct MODEL_DIGEST"
        )
    if request["known"].get(version) == digest:
        return found | {"downloaded": False}
    try:
        entries = _entries(artifact, name, digest, api)
    except (DigestMismatchError, UnreachableError):  # Once more: only a new object fetches its manifest anew.
        artifact = _find(api, {**request, "alias": version})
        entries = _entries(artifact, name, digest, api)
    size, limit = sum(entry.size or 0 for entry in entries.values()), request["most_bytes"]
    if size > limit:
        raise ArtifactContentError(
            f"{name} has {_mib(size)}, and MODEL_MAX_BYTES allows {_mib(limit)}: raise it if the model is that large"
        )
    folder = Path(request["folder"])
    return found | {"downloaded": True, "files": _download(artifact, name, entries, api, folder, report)}


def _connect(request: Mapping[str, Any], report: Callable[[str], None]) -> Any:
    base_url = request["base_url"]
    if base_url and not base_url.startswith(("http://", "https://")):
        raise ConfigurationError("WANDB_BASE_URL must begin with https:// or http://")
    report("starting the W&B client")
    import wandb

    overrides = {"base_url": base_url, "entity": request["entity"]}
    url = base_url or wandb.setup().settings.base_url
    report(f"logging in to W&B at {url}")
    try:
        return wandb.Api(
            api_key=request["key"],
            timeout=max(1, int(min(_API_SECONDS, request["seconds"] / 2))),
            overrides={name: value for name, value in overrides.items() if value},
        )
    except wandb.errors.Error as error:
        raise explain_login(error, url, request["key"]) from error
    except ValueError as error:
        raise ConfigurationError(f"WANDB_BASE_URL: {url} is no address of a W&B server") from error


def _find(api: Any, request: Mapping[str, Any]) -> Any:
    reference, alias, entity = request["reference"], request["alias"], request["entity"]
    if entity and reference.startswith("wandb-registry-"):
        try:
            return _checked(api, reference, alias)
        except ProjectNotFoundError:  # No team of that name belongs to an organization: it may be the latter.
            api.settings["entity"] = None
            reference = f"{entity}/{reference}"
    return _checked(api, reference, alias)


def _checked(api: Any, reference: str, alias: str) -> Any:
    from wandb.errors import CommError

    try:
        artifact = api.artifact(f"{reference}:{alias}")
    except CommError as error:
        text = str(error)
        if isinstance(error.exc, AssertionError):  # The client's own check of the state, without a text.
            raise _not_committed(f"{reference}:{alias}") from error
        if "artifact membership" in text and "not found" in text:
            raise no_such_artifact(api, reference, alias) from error
        if "not found under entity" in text or "Unable to find organization" in text:
            raise ProjectNotFoundError(
                f"{_one_line(text)}: PROJECT_NAME and WANDB_ENTITY name no project that WANDB_API_KEY may see; "
                "correct them, or have the key's owner invited"
            ) from error
        raise explain_answer(error, f"{reference}:{alias}", api.settings["base_url"], api.api_key) from error
    if artifact.type != "model":
        raise ArtifactTypeError(
            f"{reference}:{alias} is an artifact of type {artifact.type!r}, and only 'model' is served: "
            "log it with type='model', or name another one in LOCAL_MODEL_NAME"
        )
    if artifact.state != "COMMITTED":
        raise _not_committed(f"{reference}:{alias}")
    return artifact


def _not_committed(what: str) -> RegistryError:
    return NotCommittedError(
        f"{what} is not committed, its upload has not finished: wait for it, or set MODEL_VERSION to an earlier version"
    )


def _entries(artifact: Any, name: str, digest: str, api: Any) -> dict[str, Any]:
    """Return the manifest's entries, once it is sure that they can be served."""
    from requests import RequestException
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    damaged = "twice: its bytes are damaged in W&B's storage or on the way; log the model again"
    try:
        manifest = artifact.manifest
    except RequestException as error:
        raise explain_transfer(error, f"the manifest of {name}") from error
    except WandbApiFailedError as error:
        raise explain_answer(
            error, f"the manifest of {name}", api.settings["base_url"], api.api_key
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise DigestMismatchError(f"the manifest of {name} could not be read, {damaged}") from error
    if manifest.digest() != digest:
        raise DigestMismatchError(
            f"the manifest of {name} had the digest {manifest.digest()}, not {digest}, {damaged}"
        )
    if problem := problem_of(manifest.entries):
        raise ArtifactContentError(f"{name} {problem}")
    for path, entry in manifest.entries.items():
        if entry.ref is not None:
            raise ArtifactContentError(
                f"{name} does not hold {path} but refers to {entry.ref}: references are not followed; "
                "log the file itself into the artifact"
            )
    return dict(manifest.entries)


def _download(
    artifact: Any,
    name: str,
    entries: Mapping[str, Any],
    api: Any,
    folder: Path,
    report: Callable[[str], None],
) -> dict[str, str | None]:
    from requests import RequestException
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    size, free = sum(entry.size or 0 for entry in entries.values()), shutil.disk_usage(folder.parent).free
    if size + _SPARE_BYTES > free:
        raise StorageError(
            f"{name} needs {_mib(size)} and LOCAL_MODEL_DIR has {_mib(free)} free: make room, or set it to another disk"
        )
    report(f"downloading {name} ({_mib(size)})")
    folder.mkdir()
    try:
        try:
            artifact.download(root=str(folder), skip_cache=True)
        except RequestException as error:
            if getattr(error, "response", None) is not None:
                raise
            # Broken off; what is whole is not sent again.
            artifact.download(root=str(folder), skip_cache=True)
        if any(entry.digest_algorithm().name != "MANIFEST_MD5" for entry in entries.values()):
            artifact.verify(str(folder))
    except RequestException as error:
        raise explain_transfer(error, name) from error
    except WandbApiFailedError as error:
        raise explain_answer(error, name, api.settings["base_url"], api.api_key) from error
    except OSError as error:
        raise StorageError(
            f"{name} cannot be written to LOCAL_MODEL_DIR ({error.strerror or error}): "
            "make room, or set it to another folder"
        ) from error
    except ValueError as error:
        raise DigestMismatchError(f"{name}: {_one_line(str(error))}") from error
    return {
        path: entry.digest if entry.digest_algorithm().name == "MANIFEST_MD5" else None
        for path, entry in entries.items()
    }


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:200]


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    """Answer the one request of standard input."""
    # Whatever the client prints goes to standard error; the answers keep the pipe for themselves.
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    if "most_bytes" in request:  # Whatever its manifest said, no file that arrives may be larger.
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        soft = request["most_bytes"] if hard == resource.RLIM_INFINITY else min(hard, request["most_bytes"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    threading.Thread(target=_end_with, args=(request["parent"],), daemon=True).start()

    def write(line: dict[str, Any]) -> None:
        print(json.dumps(line), file=channel, flush=True)

    try:
        write(answer(request, lambda step: write({"step": step})))
    except StartupError as error:
        write({"error": type(error).__name__, "message": str(error)})
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed: install the server's requirements"
        write({"error": "RegistryError", "message": message})
    # The client's threads would hold the process up, some of them without end.
    os._exit(0)


if __name__ == "__main__":
    main()
