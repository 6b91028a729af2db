"""States that people are told about: drift of a signal, a standard that is missed, the inference log in trouble."""

import time
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from loguru import logger

_MOST_KEPT = 50


class Sink(Protocol):
    """Where windows and alerts go: the inference log."""

    def record_window(self, values: dict[str, float | int | str]) -> None:
        """Log the figures of one window."""

    def alert(self, title: str, text: str, level: Literal["INFO", "WARN", "ERROR"] = "WARN") -> None:
        """Have people told."""

    def health(self) -> dict[str, Any]:
        """Return the log's state and counters."""


@dataclass(frozen=True, slots=True)
class Change:
    """A state that began or ended.

    Attributes:
        name: such as ``drift:tokens``.
        active: whether it began.
        time: seconds since the epoch.
        detail: in words.
    """

    name: str
    active: bool
    time: float
    detail: str


class States:
    """Which states are active; each change is told once, as a line of the server's log and as an alert of W&B."""

    def __init__(self, sink: Sink) -> None:
        """Tell changes to `sink`."""
        self._sink = sink
        self._active: dict[str, Change] = {}
        self.changes: list[Change] = []

    def set(self, name: str, active: bool, detail: str) -> None:
        """Say whether a state is active; nothing happens where that is known."""
        if active == (name in self._active):
            return
        change = Change(name, active, time.time(), detail)
        if active:
            self._active[name] = change
        else:
            del self._active[name]
        self.changes = [*self.changes, change][-_MOST_KEPT:]
        title = f"{name} {'began' if active else 'ended'}"
        logger.bind(state=name, active=active).warning("{}: {}", title, detail)
        self._sink.alert(title, detail, "WARN" if active else "INFO")

    def active(self, name: str) -> bool:
        """Whether a state is active."""
        return name in self._active

    def summary(self) -> list[dict[str, Any]]:
        """Return the active states as JSON, the latest first."""
        ordered = sorted(self._active.values(), key=lambda change: -change.time)
        return [{"name": change.name, "since": change.time, "detail": change.detail} for change in ordered]
