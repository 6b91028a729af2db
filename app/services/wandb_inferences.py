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
| `{"batch": file and rows}` | `{"batch": true}`, later the event `batch` with `name` and `error` |
| `{"stored": path of a run}` | `{"stored": last step and lines that W&B has of it, null if it does not say}` |
| `{"scan": [path of a run, first step]}` | `{"scan": ids of its rows from there on, null if W&B does not say}` |
| `{"finish": seconds, first and last step}` | `{"finished": whether in time, "stored": …}` |
"""

import contextlib
import json
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

from app.services.wandb_readback import Readback

_ORPHAN_SECONDS = 30
"""How long the run may take to finish when the server is gone."""

_FINISH_SHARE = 0.7
"""Share of the time for the end of a run; the rest is for reading back what W&B has."""
_LINEAGE_SHARE = 0.5
"""Part of that which may be spent until W&B has heard which model the run used."""


class Writer:
    """The run, and what is asked of it, one request after the other."""

    def __init__(self, output: IO[str]) -> None:
        """Answer on `output`."""
        self._output = output
        self._lock = threading.Lock()
        self._key = ""
        self._lineage: threading.Thread | None = None
        self._readback: Readback | None = None
        self._batches: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
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
        elif "batch" in request:
            self._batches.put(request["batch"])
            self._say({"batch": True})
        elif "stored" in request:
            self._say({"stored": self._readback.stored(request["stored"]) if self._readback else None})
        elif "scan" in request:
            self._say({"scan": self._readback.scan(*request["scan"]) if self._readback else None})
        elif "finish" in request:
            self._finish(**request["finish"])

    def _finish(self, seconds: float, first: int, last: int) -> None:
        end = time.monotonic() + seconds
        finished = self.finish(_FINISH_SHARE * seconds)
        stored = self._readback.wait(self.run.path, first, last, end) if self._readback else None
        self._say({"finished": finished, "stored": stored})

    def finish(self, seconds: float) -> bool:
        """Finish the run; whether that ended in time. No bound that the client itself offers always holds."""
        deadline = time.monotonic() + seconds
        if self._lineage is not None:
            # A run of a second or two would end before W&B has heard which model it used.
            self._lineage.join(_LINEAGE_SHARE * seconds)
        thread = threading.Thread(target=self._end, daemon=True)
        thread.start()
        thread.join(max(0.0, deadline - time.monotonic()))
        return not thread.is_alive()

    def _end(self) -> None:
        self.run.finish()
        if self._readback is None:
            import wandb

            # Only when its service has ended is an offline run's file whole: it flushes the last rows as it goes.
            wandb.teardown()

    def fail(self, error: BaseException) -> None:
        """Say that the last request failed."""
        text = " ".join(str(error).split())
        if self._key:
            text = text.replace(self._key, "***")
        self._say({"error": f"{type(error).__name__}: {text}"[:300]})

    def _say(self, answer: dict[str, Any]) -> None:
        # When the server is gone, nobody hears; what it has given is still to be delivered.
        with self._lock, contextlib.suppress(OSError):
            self._output.write(json.dumps(answer) + "\n")
            self._output.flush()

    def _open(self, request: dict[str, Any]) -> None:
        self._key = request["key"] or ""
        import wandb

        self._say({"ready": True})
        # Without a stop function, "Stop run" on W&B's page would interrupt this process.
        # As a setting, and not in the environment, which the client's service would inherit for all to read.
        settings = wandb.Settings(
            **request["settings"], api_key=self._key or None, stop_fn=lambda: self._say({"event": "stopped"})
        )
        self.run = wandb.init(**request["run"], settings=settings)
        online = request["run"]["mode"] == "online"
        opened = {
            "path": self.run.path if online else None,
            "url": self.run.url if online else None,
            "folder": str(Path(self.run.dir).parent),
            "processes": _children(),
        }
        self._say({"opened": opened})
        if online:
            self._readback = Readback(self.run.settings.base_url, self._key)
            threading.Thread(target=self._upload, daemon=True).start()
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

    def _upload(self) -> None:
        """Upload one file after the other, each as a version of the run's artifact."""
        import wandb

        while True:
            batch = self._batches.get()
            name, error = Path(batch["file"]).name, None
            try:
                artifact = wandb.Artifact(
                    f"inferences-{self.run.id}",
                    type="inferences",
                    metadata={"rows": batch["rows"], "file": name},
                )
                # The file is ours, and stays as it is until W&B has committed it.
                artifact.add_file(batch["file"], policy="immutable", skip_cache=True)
                logged = self.run.log_artifact(artifact).wait()
                if logged.state != "COMMITTED":
                    error = f"W&B says that it is {logged.state}"
            except Exception as failure:  # noqa: BLE001  # The client raises many kinds.
                error = f"{type(failure).__name__}: {failure}"[:300]
            self._say({"event": "batch", "name": name, "error": error})


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
            if line.endswith("\n"):  # Else the server was killed while it wrote.
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
