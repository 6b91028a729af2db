"""`python -m tests.soak.probe PORT`: looks at a server's liveness ten times a second, in a process of its own.

Prints the status and the seconds of each look, until it is ended.
"""

import http.client
import sys
import time


def main() -> None:
    """Look until ended."""
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=40)
    while True:
        started = time.perf_counter()
        try:
            connection.request("GET", "/health/live")
            reply = connection.getresponse()
            reply.read()
            status = reply.status
        except OSError:
            connection.close()
            status = 0
        print(status, f"{time.perf_counter() - started:.6f}", flush=True)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
