"""The candidate asked as a user would ask it: through its own address, with an identity token."""

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from deploy.process import RejectedError, ReleaseError

_ATTEMPTS = 4
_PAUSE_SECONDS = 3.0
_TIMEOUT_SECONDS = 120
"""The first request may wait for a cold start."""


def identity_token(audience: str) -> str:
    """Ask the build's metadata server for an identity token of the build's account.

    Args:
        audience: the service's own address, for a tagged address too.

    Raises:
        ReleaseError: there is no metadata server, or it gives none.
    """
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    address = (
        f"http://{host}/computeMetadata/v1/instance/service-accounts/default/identity"
        f"?audience={quote(audience, safe='')}"
    )
    request = urllib.request.Request(address, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - built above
            return str(response.read().decode("ascii"))
    except OSError as error:
        raise ReleaseError(
            f"no identity token for {audience} ({error}): the build's account needs the role "
            "iam.serviceAccountOpenIdTokenCreator on itself"
        ) from error


def try_address(
    address: str,
    token: str,
    *,
    revision: str,
    model: Mapping[str, str],
    golden: Mapping[str, Any],
) -> int:
    """Ask for health, identity and every golden example.

    Args:
        address: the candidate's tagged address, or the service's own.
        token: an identity token for the service.
        revision: that must answer.
        model: `version` and `digest` that must answer.
        golden: `tolerance` and `examples` as `python -m ml gate` gives them.

    Returns:
        The number of golden examples that were answered right.

    Raises:
        RejectedError: an answer is wrong; an example is named by its number, never by its text.
        ReleaseError: nothing answers, or the token is refused.
    """
    ready, _ = _ask(address, token, "/health/ready")
    if ready != 200:
        raise RejectedError(f"its health check answered {ready} to GET /health/ready")
    status, health = _ask(address, token, "/api/v1/health")
    if status != 200:
        raise RejectedError(f"its health check answered {status} to GET /api/v1/health")
    found = health.get("model") or {}
    for name in ("version", "digest"):
        if found.get(name) != model[name]:
            raise RejectedError(f"it serves the model {name} {found.get(name)}, not {model[name]}")
    if health.get("revision") != revision:
        raise RejectedError(f"the revision {health.get('revision')} answers, not {revision}")
    for number, example in enumerate(golden["examples"], start=1):
        place = f"golden example {number} of {len(golden['examples'])} over HTTP"
        status, reply = _ask(address, token, "/predict", example["body"])
        if status != 200:
            raise RejectedError(f"{place}: answered with {status}")
        _compare(place, example, reply, float(golden["tolerance"]))
    return len(golden["examples"])


def _compare(place: str, example: Mapping[str, Any], reply: Mapping[str, Any], tolerance: float) -> None:
    label = example.get("label")
    answered = reply.get("label") or reply.get("sentiment")
    if label is not None and str(answered).casefold() != str(label).casefold():
        raise RejectedError(f"{place}: expected the label {label!r}, got {str(answered)[:60]!r}")
    expected = {"confidences": example.get("confidences") or {}, **(example.get("output") or {})}
    for name, value in expected.items():
        _compare_value(f"{place}: {name}", value, reply.get(name), tolerance)


def _compare_value(place: str, expected: Any, got: Any, tolerance: float) -> None:
    """Numbers within the tolerance, anything else exactly; of an object only what is expected."""
    if isinstance(expected, Mapping):
        for key, value in expected.items():
            _compare_value(
                f"{place}.{key}", value, got.get(key) if isinstance(got, Mapping) else None, tolerance
            )
    elif isinstance(expected, list):
        if not isinstance(got, list) or len(got) != len(expected):
            raise RejectedError(f"{place}: expected a list of {len(expected)}")
        for index, (one, other) in enumerate(zip(expected, got, strict=True)):
            _compare_value(f"{place}[{index}]", one, other, tolerance)
    elif isinstance(expected, (int, float)) and not isinstance(expected, bool):
        if not isinstance(got, (int, float)) or not abs(got - expected) <= tolerance:
            raise RejectedError(f"{place}: expected {expected} within {tolerance:g}, got {str(got)[:60]}")
    elif got != expected:
        raise RejectedError(f"{place}: expected another value")


def _ask(address: str, token: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Send one request; try again where nothing answers or the server is at fault, since an instance may just start."""
    request = urllib.request.Request(  # noqa: S310 - what Cloud Run says of itself
        address.rstrip("/") + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    problem: tuple[int, Any] | str = "nothing"
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
                return response.status, json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise ReleaseError(
                    f"{address} refused the build's token ({error.code}): its account needs the role run.invoker"
                ) from error
            if error.code < 500 and error.code != 429:
                return error.code, None
            problem = (error.code, None)
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = str(error)
    if isinstance(problem, str):
        raise RejectedError(f"{path} gave no answer: {problem}")
    return problem
