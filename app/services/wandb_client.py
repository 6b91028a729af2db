"""W&B's client in a process of its own, which can be ended at any time.

The client has no read time-out, its downloads run on threads that Python waits for at its end, and it keeps
50 MB. In a child process all of that ends with the deadline, whatever it hangs on, and the server starts to
pay for the client only when it logs its first inference.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr

from app.core import errors
from app.core.config import Settings
from app.core.errors import RegistryError, StartupError, UnreachableError

_ROOT = Path(__file__).resolve().parents[2]
_POLL_SECONDS = 0.1
_SECRETS = {
    name.upper() for name, field in Settings.model_fields.items() if SecretStr in get_args(field.annotation)
}


def inherited_environment() -> dict[str, str]:
    """Return this process's environment without its secrets, which a child gets by a pipe if at all, and without the
    client's variables that are empty: it would not start with them.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in _SECRETS and (value.strip() or not name.startswith("WANDB_"))
    }


def client_environment(folder: Path, base_url: str | None) -> dict[str, str]:
    """Return variables that keep everything the client writes under `folder`, and its talk to itself.

    Source of the names: the client's documentation of its environment variables.
    """
    names = ("DIR", "CACHE_DIR", "DATA_DIR", "CONFIG_DIR", "ARTIFACT_DIR")
    places = {f"WANDB_{name}": str(folder / name.removesuffix("_DIR").lower()) for name in names}
    places |= {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    return places | ({"WANDB_BASE_URL": base_url} if base_url else {})


def call_client(
    request: dict[str, Any],
    *,
    folder: Path,
    base_url: str | None,
    deadline: float,
    cancelled: threading.Event | None = None,
) -> dict[str, Any]:
    """Have `app.services.wandb_artifacts` answer `request` in a child process.

    Args:
        request: its fields, the key among them; they go through a pipe, so that no process list shows them.
        folder: a temporary folder for all that the client writes.
        base_url: W&B's address, None for the client's default.
        deadline: when to end it, in the time of `time.monotonic`.
        cancelled: ends it as soon as it is set.

    Raises:
        UnreachableError: no answer within the deadline.
        StartupError: what the client met, as a subclass that says what would mend it.
    """
    environment = {**inherited_environment(), **client_environment(folder, base_url)}
    # A service that this process runs already must not be shared, and the key travels by the pipe alone.
    for name in ("WANDB_SERVICE", "WANDB_MODE"):
        environment.pop(name, None)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    for place in ("cache", "data", "config", "artifact"):
        (folder / place).mkdir(exist_ok=True)
    log = folder / "stderr"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.services.wandb_artifacts"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            start_new_session=True,
        )
    text = json.dumps({**request, "parent": os.getpid(), "seconds": max(deadline - time.monotonic(), 0)})
    try:
        output = _communicate(process, text.encode(), deadline, cancelled)
    finally:
        _end(process)
    return _reply(output, process.returncode, log, request)


def _communicate(
    process: "subprocess.Popen[bytes]", text: bytes, deadline: float, cancelled: threading.Event | None
) -> bytes:
    rest: bytes | None = text
    while True:
        try:
            return process.communicate(rest, timeout=_POLL_SECONDS)[0]
        except subprocess.TimeoutExpired:
            rest = None
            stopping = cancelled is not None and cancelled.is_set()
            if stopping or time.monotonic() > deadline:
                _end(process)
                return process.communicate()[0] + json.dumps({"late": not stopping}).encode()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the child and the client's own service, which is in the same process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()


def _reply(output: bytes, code: int, log: Path, request: dict[str, Any]) -> dict[str, Any]:
    lines = [json.loads(line) for line in output.splitlines() if line.endswith(b"}")]
    steps = [line["step"] for line in lines if "step" in line]
    last: dict[str, Any] = lines[-1] if lines else {}
    if "late" in last:
        step = steps[-1] if steps else "starting the W&B client"
        raise UnreachableError(
            f"{step} did not end in time: see whether W&B is well and the network fast enough, "
            "or raise REGISTRY_TIMEOUT_SECONDS"
            if last["late"]
            else f"{step} was given up, since the service is stopping"
        )
    if "error" in last:
        kind = getattr(errors, last["error"], RegistryError)
        raise (kind if issubclass(kind, StartupError) else RegistryError)(last["message"])
    if "step" in last or not last:
        said = log.read_text("utf-8", "replace").strip().splitlines()[-1:]
        key = str(request.get("key") or "")
        hint = f": {said[0].replace(key, '***') if key else said[0]}"[:300] if said else ""
        raise RegistryError(f"the W&B client ended before it answered (exit code {code}){hint}")
    return last
