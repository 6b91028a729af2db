"""Run a command in a network namespace that has nothing but loopback, where a proxy leads to a Unix socket.

    python -m tests.cloud.offline SOCKET COMMAND…

The kernel sees to it that nothing leaves the machine: the command's only way out is ``http_proxy``, behind which
the stand-in for Google's APIs listens. Docker's own socket is a file, so the command reaches the engine as well.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import threading

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1


def enter_empty_network() -> None:
    """Leave the machine's network for an empty one. Raises OSError where the kernel does not allow it."""
    user, group, kinds = os.geteuid(), os.getegid(), _CLONE_NEWNET
    if user:
        kinds |= _CLONE_NEWUSER
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(kinds):
        raise OSError(ctypes.get_errno(), "unshare")
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
                file.write(text)
    with socket.socket() as probe:
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _serve(listener: socket.socket, path: str) -> None:
    while True:
        client, _ = listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(path)
        for pair in ((client, server), (server, client)):
            threading.Thread(target=_pump, args=pair, daemon=True).start()


def main() -> int:
    path, command = sys.argv[1], sys.argv[2:]
    enter_empty_network()
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_serve, args=(listener, path), daemon=True).start()
    proxy = f"http://127.0.0.1:{listener.getsockname()[1]}"
    return subprocess.run(
        command, env={**os.environ, "http_proxy": proxy, "https_proxy": proxy}, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
