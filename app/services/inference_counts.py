"""The counters of the inference log: what came in, what W&B has, what was dropped and why."""

import threading
from collections import Counter
from typing import Any

_MAX_KINDS = 50


class Counts:
    """Counters that several threads change; every method holds the lock for microseconds.

    A row that was received is confirmed, dropped, or waits in the spool: one of the three, always.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self._lock = threading.Lock()
        self._received = 0
        self._confirmed = 0
        self._converted = 0
        self._dropped: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._windows: Counter[str] = Counter(received=0, confirmed=0, dropped=0)
        self._recovered: Counter[str] = Counter(found=0, confirmed=0, dropped=0)

    def receive(self) -> int:
        """Count an inference; return its number, from 0."""
        with self._lock:
            self._received += 1
            return self._received - 1

    def drop(self, reason: str, rows: int = 1) -> None:
        """Count inferences as dropped."""
        if rows:
            with self._lock:
                self._dropped[reason] += rows

    def confirm(self, rows: int) -> None:
        """Count inferences that W&B is known to have."""
        with self._lock:
            self._confirmed += rows

    def convert(self, values: int) -> None:
        """Count values that were no JSON scalars."""
        with self._lock:
            self._converted += values

    def count_window(self, outcome: str, windows: int = 1) -> None:
        """Count windows as `received`, `confirmed` or `dropped`."""
        with self._lock:
            self._windows[outcome] += windows

    def count_recovered(self, outcome: str, rows: int) -> None:
        """Count rows of ended processes as `found`, `confirmed` or `dropped`."""
        with self._lock:
            self._recovered[outcome] += rows

    def count_error(self, kind: str) -> None:
        """Count a request that got no prediction."""
        with self._lock:
            known = kind in self._errors or len(self._errors) < _MAX_KINDS
            self._errors[kind if known else "other"] += 1

    def totals(self) -> dict[str, Any]:
        """Return all counters: numbers, and mappings from reason, kind or outcome to numbers."""
        with self._lock:
            return {
                "received": self._received,
                "confirmed": self._confirmed,
                "converted": self._converted,
                "dropped": dict(self._dropped),
                "errors": dict(self._errors),
                "windows": dict(self._windows),
                "recovered": dict(self._recovered),
            }

    def flat(self) -> dict[str, int]:
        """Return all counters under flat names such as ``dropped/spool-full``."""
        flat: dict[str, int] = {}
        for name, value in self.totals().items():
            if isinstance(value, int):
                flat[name] = value
            else:
                flat |= {f"{name}/{kind}": count for kind, count in value.items()}
        return flat
