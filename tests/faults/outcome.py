"""What came of a fault: rows sent, rows in W&B, rows counted as dropped."""

import gzip
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.wandb_server import WandbServer


@dataclass(slots=True)
class Outcome:
    """`sent` and `stored` are ids of inferences, each once; `copies` are rows that W&B has a second time."""

    sent: set[str]
    stored: set[str]
    copies: int
    dropped: Counter[str]
    remark: str
    seconds: float = 0.0
    health: list[dict[str, Any]] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Rows that are neither in W&B nor counted."""
        return len(self.sent - self.stored) - sum(self.dropped.values())


def stored_rows(server: WandbServer) -> list[str]:
    """The ids of all inferences in W&B, in history and in files, as often as they are there."""
    found = [
        row["id"] for run in server.runs() for row in run.rows if "id" in row and "history_share" not in row
    ]
    for artifact in server.artifacts("inferences"):
        if artifact.state == "COMMITTED":
            for member in server.collections():
                found += [
                    json.loads(line)["id"]
                    for place in member.members
                    if place.artifact_id == artifact.id
                    for content in server.artifact_files(f"{member.path}:v{place.version}").values()
                    for line in gzip.decompress(content).splitlines()
                ]
    return found


def outcome(server: WandbServer, sent: Iterable[str], healths: list[dict[str, Any]], remark: str) -> Outcome:
    """Compare what was sent with what W&B has and with what the logs, at their ends, have counted."""
    rows = stored_rows(server)
    dropped: Counter[str] = Counter()
    for health in healths:
        dropped.update(health["dropped"])
    return Outcome(set(sent), set(rows), len(rows) - len(set(rows)), dropped, remark, health=healths)


def until(condition: Callable[[], Any], seconds: float = 100) -> None:
    """Wait for something to come to pass."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not come to pass")
        time.sleep(0.05)
