"""Random bytes for ids, drawn from the system many at a time: each draw lets go of the interpreter, and under load that
is a wait for a thread that computes.
"""

import os
import threading

_DRAWN = 4096


class _Pool:
    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Drop what was drawn; a child process must not give what its parent gives."""
        self._lock = threading.Lock()
        self._bytes = b""
        self._next = 0

    def take(self, count: int) -> bytes:
        with self._lock:
            if self._next + count > len(self._bytes):
                self._bytes, self._next = os.urandom(max(_DRAWN, count)), 0
            self._next += count
            return self._bytes[self._next - count : self._next]


_pool = _Pool()
os.register_at_fork(after_in_child=_pool.forget)


def unique_bytes(count: int) -> bytes:
    """Return `count` random bytes that nobody else gets."""
    return _pool.take(count)
