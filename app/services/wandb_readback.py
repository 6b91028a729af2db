"""What W&B says that it has of a run, asked of W&B itself: its client does not say what became of the rows."""

import base64
import json
import threading
import time
import urllib.request
from typing import Any

_ANSWER_SECONDS = 3
_SCAN_SECONDS = 20
_POLL_SECONDS = 0.3
_PAGE = 1_000
_STORED = """
query StoredRows($entity: String!, $project: String!, $run: String!) {
  project(name: $project, entityName: $entity) { run(name: $run) { historyLineCount historyKeys } }
}
"""


class Readback:
    """Questions to one W&B server; none of them raises or takes long."""

    def __init__(self, base_url: str, key: str) -> None:
        """Remember where to ask."""
        self._url = f"{base_url.rstrip('/')}/graphql"
        self._key = key

    def stored(self, path: str, seconds: float = _ANSWER_SECONDS) -> dict[str, int] | None:
        """Return the last step (-1: none) and the number of rows that W&B has; None if it does not say."""
        entity, project, run = path.split("/")
        token = base64.b64encode(f"api:{self._key}".encode()).decode()
        body = {"query": _STORED, "variables": {"entity": entity, "project": project, "run": run}}
        request = urllib.request.Request(  # noqa: S310  # The client has used this address already.
            self._url,
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Basic {token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=max(seconds, 0.01)) as response:  # noqa: S310
                found = json.load(response)["data"]["project"]["run"]
            last = int((found["historyKeys"] or {}).get("lastStep", -1))
            lines = int(found["historyLineCount"])
            # -1 is also what W&B says while it does not know; steps are counted without gaps.
            return {"last": last if last >= 0 else lines - 1, "lines": lines}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def scan(self, path: str, first: int, seconds: float = _SCAN_SECONDS) -> list[str] | None:
        """Return the ids of the rows from step `first` on; None if W&B does not give them in time."""
        found: list[list[str]] = []
        # The client may wait for ever; then the thread is left behind.
        thread = threading.Thread(target=lambda: found.append(_ids(path, first)), daemon=True)
        thread.start()
        thread.join(max(seconds, 0))
        return found[0] if found else None

    def wait(self, path: str, first: int, last: int, end: float) -> dict[str, Any] | None:
        """Wait until W&B has the steps up to `last`, or until `end`, as of `time.monotonic`.

        Returns:
            What `stored` does, with the `ids` from `first` on where steps are missing.
        """
        while True:
            found = self.stored(path, min(end - time.monotonic(), _ANSWER_SECONDS))
            complete = found is not None and found["last"] >= last and found["lines"] > found["last"]
            if complete or time.monotonic() + _POLL_SECONDS > end:
                break
            time.sleep(_POLL_SECONDS)
        if found is None or complete or last < first:
            return found
        return found | {"ids": self.scan(path, first, end - time.monotonic())}


def _ids(path: str, first: int) -> list[str]:
    import wandb

    rows = wandb.Api().run(path).scan_history(min_step=first, use_cache=False, page_size=_PAGE)
    return [str(row_id) for row in rows if (row_id := row.get("id") or row.get("window/id"))]
