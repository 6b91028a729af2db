"""``python -m app.healthcheck``: exit code 0 where the server of this machine is ready, 1 where it is not.

For a container's health check: the image brings no curl, and this imports no more than it needs.
"""

import http.client
import os
import sys

_EVERY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104 — what a server listens on, never what is asked.
_TIMEOUT_SECONDS = 2.5


def main() -> int:
    """Ask ``/health/ready`` at HOST and PORT; print the reason if the answer is not 200."""
    host = os.environ.get("HOST", "").strip()
    address = "127.0.0.1" if host in _EVERY_ADDRESS else host
    try:
        port = int(os.environ.get("PORT", "").strip() or "8080")
        connection = http.client.HTTPConnection(address, port, timeout=_TIMEOUT_SECONDS)
        connection.request("GET", "/health/ready")
        reply = connection.getresponse()
        text = reply.read(2_000).decode("utf-8", "replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        sys.stdout.write(f"not ready: {error}\n")
        return 1
    if reply.status != http.HTTPStatus.OK:
        sys.stdout.write(f"not ready: {reply.status} {text}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
