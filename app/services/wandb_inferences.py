"""The child process that writes inferences to one W&B run.

It reads one JSON value a line from standard input and answers on standard output. In between it may say
`{"event": …}`; after `{"error": …}` it ends. When the input ends, because the server is gone or was killed, it finishes
the run by itself.

| request | answer |
|---|---|
| `{"open": …}` | `{"ready": true}` once the client is imported, then `{"opened": …}` |
| a list of rows | `{"written": how many}` |
| `{"summary": …}` | `{"summary": true}` |
| `{"alert": title, text and level}` | `{"alert": true}` |
| `{"stored": path of a run}` | `{"stored": how many rows W&B has of it, null if it does not say}` |
| `{"finish": seconds}` | `{"finished": whether in time, "stored": …}` |
"""

import base64
import json
import os
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import IO, Any

_ORPHAN_SECONDS = 30
"""How long the run may take to finish when the server is gone."""

_ANSWER_SECONDS = 2
_STORED = """
query StoredRows($entity: String!, $project: String!, $run: String!) {
  project(name: $project, entityName: $entity) { run(name: $run) { state historyLineCount } }
}
"""


class Writer:
    """The run, and what is asked of it, one request after the other."""

    def __init__(self, output: IO[str]) -> None:
        """Answer on `output`."""
        self._output = output
        self._lock = threading.Lock()
        self._key = ""
        self._lineage: threading.Thread | None = None
        self.run: Any = None

    def answer(self, request: Any) -> None:
        """Do what one line asks for. Raises what the client raises when the run cannot be used any more."""
        if isinstance(request, list):
            self._write(request)
        elif "open" in request:
            self._open(request["open"])
        elif "summary" in request:
            self.run.summary.update(request["summary"])
            self._say({"summary": True})
        elif "alert" in request:
            # The shortest wait, since whoever alerts does so once per change: W&B is not to swallow the next one.
            self.run.alert(**request["alert"], wait_duration=1)
            self._say({"alert": True})
        elif "stored" in request:
            self._say({"stored": self._stored(request["stored"])})
        elif "finish" in request:
            seconds = request["finish"]
            finished = self.finish(seconds * 0.7)
            stored = self._stored(self.run.path, min(_ANSWER_SECONDS, seconds * 0.3))
            self._say({"finished": finished, "stored": stored})

    def finish(self, seconds: float) -> bool:
        """Finish the run; whether that ended in time. No bound that the client itself offers always holds."""
        deadline = time.monotonic() + seconds
        if self._lineage is not None:
            # A run of a second or two would end before W&B has heard which model it used.
            self._lineage.join(seconds / 3)
        thread = threading.Thread(target=self.run.finish, daemon=True)
        thread.start()
        thread.join(max(0.0, deadline - time.monotonic()))
        return not thread.is_alive()

    def fail(self, error: BaseException) -> None:
        """Say that the last request failed."""
        text = " ".join(str(error).split())
        if self._key:
            text = text.replace(self._key, "***")
        self._say({"error": f"{type(error).__name__}: {text}"[:300]})

    def _say(self, answer: dict[str, Any]) -> None:
        with self._lock:
            self._output.write(json.dumps(answer) + "\n")
            self._output.flush()

    def _open(self, request: dict[str, Any]) -> None:
        self._key = request["key"] or ""
        if self._key:
            os.environ["WANDB_API_KEY"] = self._key
        import wandb

        self._say({"ready": True})
        # Without a stop function, "Stop run" on W&B's page would interrupt this process.
        settings = wandb.Settings(**request["settings"], stop_fn=lambda: self._say({"event": "stopped"}))
        self.run = wandb.init(**request["run"], settings=settings)
        online = request["run"]["mode"] == "online"
        opened = {
            "path": self.run.path if online else None,
            "url": self.run.url if online else None,
            "folder": str(Path(self.run.dir).parent),
            "processes": _children(),
        }
        self._say({"opened": opened})
        if online and request["artifact"]:
            self._lineage = threading.Thread(target=self._use, args=(request["artifact"],), daemon=True)
            self._lineage.start()

    def _use(self, artifact: str) -> None:
        try:
            self.run.use_artifact(artifact, type="model")
        except Exception as error:  # noqa: BLE001  # Lineage is a courtesy, and the client raises many kinds.
            self._say({"event": "lineage", "error": f"{type(error).__name__}: {error}"[:300]})

    def _write(self, rows: list[dict[str, Any]]) -> None:
        written = 0
        try:
            for row in rows:
                self.run.log(row)
                written += 1
        finally:
            self._say({"written": written})

    def _stored(self, path: str | None, seconds: float = _ANSWER_SECONDS) -> int | None:
        """Return how many rows W&B has of a run as far as it says so; no limit where it says that the run is finished.

        The rows and the end of a run travel in one stream, in order, so the end arrives after the last row.
        """
        if not path or not self._key:
            return None
        entity, project, run = path.split("/")
        token = base64.b64encode(f"api:{self._key}".encode()).decode()
        body = {"query": _STORED, "variables": {"entity": entity, "project": project, "run": run}}
        request = urllib.request.Request(  # noqa: S310  # The client has used this address already.
            f"{self.run.settings.base_url}/graphql",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Basic {token}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=seconds) as response:  # noqa: S310
                found = json.load(response)["data"]["project"]["run"]
            return sys.maxsize if found["state"] == "finished" else int(found["historyLineCount"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _children() -> list[int]:
    """Return the ids of the client's own processes, which have sessions of their own; none where /proc has no list."""
    found: list[int] = []
    for task in Path("/proc/self/task").glob("*/children"):
        found += [int(number) for number in task.read_text().split()]
    return found


def main() -> None:
    """Answer until the input ends. The exit code is 1 after an error."""
    # What the client prints must not get between the answers.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    writer = Writer(output)
    code = 0
    try:
        for line in sys.stdin:
            writer.answer(json.loads(line))
    except BaseException as error:  # noqa: BLE001  # Whatever it is: it is told, and this process ends.
        code = 1
        writer.fail(error)
    else:
        if writer.run is not None:
            writer.finish(_ORPHAN_SECONDS)
    # The client's exit handlers may wait for ever.
    os._exit(code)


if __name__ == "__main__":
    main()
