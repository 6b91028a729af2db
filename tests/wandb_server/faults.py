"""Faults that a test switches on: what goes wrong, at which kind of endpoint, and how often."""

import threading
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

Kind = Literal["graphql", "file_stream", "upload", "download", "manifest"]
"""`upload` and `download` are the bytes of artifact and run files, `manifest` the download of a manifest."""

KINDS: tuple[str, ...] = get_args(Kind)

MESSAGES = {
    400: "bad request",
    401: "user is not logged in",
    403: "permission denied",
    404: "not found",
    409: "conflict",
    410: "gone",
    429: "rate limit exceeded",
}


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong. Of several faults that fit a request, the one set first bites.

    Effects are applied in this order and can be combined: `delay`, `hang`, then `status` or one of those that
    change the bytes.
    """

    kind: Kind
    operation: str | None = None
    """GraphQL operation by name, such as `UpsertBucket`; None fits all."""
    path: str | None = None
    """Part of the file name, or for `file_stream` of the run's path; None fits all."""
    times: int | None = None
    """For how many requests; None means until it is cleared."""
    status: int | None = None
    """Answer with this status. For GraphQL, 200 with a `message` puts it in the answer's `errors`."""
    message: str | None = None
    """The error's text; by default a text that fits the status."""
    delay: float = 0.0
    """Seconds to wait before anything else."""
    hang: bool = False
    """Answer nothing until the fault is cleared or the client is gone."""
    corrupt: bool = False
    """Flip one bit in the middle of the bytes: of a download on its way, of an upload before it is stored."""
    shorten: bool = False
    """Leave out the second half of the bytes, with a length that fits what is left."""
    cut: bool = False
    """Send half of a download under the full Content-Length, then close the connection."""
    stall: bool = False
    """Send half of a download, then nothing until the fault is cleared or the client is gone."""
    hits: int = 0
    """How many requests it has bitten."""
    cleared: bool = False
    """Set when it was cleared, which ends `hang` and `stall`."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r}: one of {', '.join(KINDS)}")

    def change(self, content: bytes) -> bytes:
        """The bytes as this fault leaves them."""
        if self.shorten:
            content = content[: len(content) // 2]
        if self.corrupt and content:
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        return content

    @property
    def changes_bytes(self) -> bool:
        """Whether a body has to be read to apply it."""
        return self.corrupt or self.shorten or self.cut or self.stall

    def text(self) -> str:
        """The error text it answers with."""
        return self.message or MESSAGES.get(self.status or 500, "internal error")


class Faults:
    """The faults that are on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Switch a fault on and give it back, so that its `hits` can be read."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self, kind: str | None = None) -> None:
        """Switch off all faults, or those of one kind; requests that hang go on."""
        with self._lock:
            for fault in self._faults:
                fault.cleared = fault.cleared or kind in (None, fault.kind)
            self._faults = [fault for fault in self._faults if not fault.cleared]

    def take(self, kind: str, name: str) -> Fault | None:
        """The fault for a request, counted, or None. `name` is the operation, run path or file name."""
        with self._lock:
            for fault in self._faults:
                if fault.kind != kind or (fault.times is not None and fault.hits >= fault.times):
                    continue
                if fault.operation in (None, name) and (fault.path is None or fault.path in name):
                    fault.hits += 1
                    return fault
        return None

    def describe(self) -> list[dict[str, Any]]:
        """The faults that are on, as JSON."""
        with self._lock:
            return [asdict(fault) for fault in self._faults]


def fault_from_json(values: dict[str, Any]) -> Fault:
    """A fault from a JSON object with the fields of Fault. Raises ValueError for an unknown field or kind."""
    known = {field.name for field in fields(Fault)} - {"hits", "cleared"}
    if unknown := sorted(set(values) - known):
        raise ValueError(f"unknown fields {unknown}; known are {sorted(known)}")
    if "kind" not in values:
        raise ValueError("kind is missing")
    return Fault(**values)
