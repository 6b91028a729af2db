"""What the errors of W&B's client mean: it gives one class to many causes, each of which has another remedy."""

import base64
import functools
import itertools
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from app.core.errors import (
    ArtifactNotFoundError,
    ConfigurationError,
    PermissionDeniedError,
    RegistryError,
    UnreachableError,
    WrongKeyError,
)

_PROBE_SECONDS = 3
_VIEWER = "query Viewer { viewer { id } }"


def http_status(error: BaseException | None) -> int | None:
    """Return the HTTP status behind an error of the client, None where no answer came or it was a 200."""
    while error is not None:
        response = getattr(error, "response", None)
        for name in ("http_status", "status_code"):  # The client's own errors, and those of requests.
            if status := getattr(response, name, None):
                return int(status)
        error = getattr(error, "exc", None) or error.__cause__
    return None


def explain_login(error: Exception, url: str, key: str) -> RegistryError:
    """Say why `wandb.Api` refused to start: it says "authentication" also when nobody answered."""
    if error.__cause__ is None:  # The client looked at the key's form only; its text does not repeat the key.
        return WrongKeyError(
            f"WANDB_API_KEY is no W&B key: {error} Copy the whole key from {_pages(url)}/authorize"
        )
    return _by_status(http_status(error), url) or unreachable(url, key)


def explain_answer(error: Exception, what: str, url: str, key: str) -> RegistryError | ConfigurationError:
    """Say why a question about `what` was not answered."""
    if known := _by_status(http_status(error), url, what):
        return known
    text = " ".join(str(error).removeprefix("input:").split())[:200]
    cause = getattr(error, "exc", error)
    response = getattr(cause, "response", None)
    if response is None and isinstance(cause, ValueError):
        return ConfigurationError(
            f"PROJECT_NAME, WANDB_ENTITY, LOCAL_MODEL_NAME and MODEL_VERSION make {what!r}, which W&B's client "
            f"does not take: {text}"
        )
    if response is None:
        return unreachable(url, key)
    if "permission" in text.lower() or "denied" in text.lower() or "not authorized" in text.lower():
        return _denied(url, what)
    return RegistryError(f"W&B at {url} refused {what}: {text}")


def explain_transfer(error: Exception, what: str) -> RegistryError:
    """Say why bytes did not come: files lie in a storage of their own, behind signed addresses."""
    status = http_status(error)
    if status in (401, 403):
        return _denied("W&B's storage", what)
    if status in (404, 410):
        return ArtifactNotFoundError(
            f"W&B's storage does not have the files of {what} ({status}): log the model again, or set MODEL_VERSION "
            "to another version"
        )
    reason = f"it answered {status}" if status else "the connection broke off, twice"
    return UnreachableError(f"{what} could not be downloaded from W&B's storage: {reason}; try again later")


def no_such_artifact(api: Any, reference: str, alias: str) -> RegistryError:
    """Say whether the collection or the alias is missing, and what there is instead."""
    project, _, name = reference.rpartition("/")
    others = _quietly(lambda: [item.name for item in api.artifact_types(project)])
    for kind in ("model", *others):
        found = _quietly(functools.partial(_aliases, api, kind, reference))
        if found:
            there = ", ".join(found[0][:5]) or "none: it is empty, or an upload has not finished"
            return ArtifactNotFoundError(
                f"{reference} has no alias or version {alias!r} (aliases: {there}): correct MODEL_VERSION, "
                "or give the alias to a version in W&B"
            )
    names = _quietly(
        lambda: [item.name for item in itertools.islice(api.artifact_type("model", project).collections(), 5)]
    )
    there = f"models there: {', '.join(names)}" if names else "it holds no models"
    return ArtifactNotFoundError(
        f"{project} has no artifact {name!r} ({there}): correct LOCAL_MODEL_NAME or PROJECT_NAME"
    )


def _aliases(api: Any, kind: str, reference: str) -> list[list[str]]:
    return [list(api.artifact_collection(kind, reference).aliases)]


def _quietly(ask: Callable[[], list[Any]]) -> list[Any]:
    """What helps a message along is not worth an error of its own."""
    try:
        return ask()
    except Exception:  # noqa: BLE001  # The client raises errors of many kinds, bare Exception among them.
        return []


def unreachable(url: str, key: str) -> UnreachableError:
    """Ask once more, without the client, for the reason why nobody answers."""
    token = base64.b64encode(f"api:{key}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310  # The address was seen to be http(s).
        f"{url}/graphql",
        json.dumps({"query": _VIEWER, "operationName": "Viewer"}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Basic {token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_SECONDS) as response:  # noqa: S310
            reason = f"it answers {response.status}, but did not answer the client in time"
    except urllib.error.HTTPError as error:
        reason = f"it answers {error.code}"
    except (OSError, ValueError) as error:
        cause: Any = getattr(error, "reason", error)
        reason = str(getattr(cause, "strerror", None) or cause).lower()
    return UnreachableError(
        f"W&B at {url} cannot be reached ({reason}): check WANDB_BASE_URL and the network, or pin MODEL_VERSION "
        "to a version that is on disk"
    )


def _by_status(status: int | None, url: str, what: str = "this key") -> RegistryError | None:
    if status == 401:
        return WrongKeyError(
            f"W&B at {url} refused WANDB_API_KEY (401): copy the key again from {_pages(url)}/authorize, "
            "or set WANDB_BASE_URL to the server that gave it"
        )
    if status == 403:
        return _denied(f"W&B at {url}", what)
    if status is not None and status >= 400:
        return UnreachableError(
            f"{url} answered {status}: check that WANDB_BASE_URL is a W&B server, or try again later"
        )
    return None


def _pages(url: str) -> str:
    """W&B's own cloud has its pages beside its API, a server of one's own has both in one place."""
    return url.replace("://api.", "://", 1)


def _denied(who: str, what: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{who} denied access to {what} (403): have the key's owner invited to the project, "
        "or use the key of somebody who may read it"
    )
