"""What goes wrong beside the load: W&B in several ways, new versions, good and bad."""

import asyncio
import json
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

from app.services.artifact import MANIFEST_NAME
from tests.wandb_server import WandbServer

PATH = "acme/reviews/sentiment"


class Faults:
    """Switches faults on and off in turn, with calm between them."""

    def __init__(self, server: WandbServer, model: Path) -> None:
        """Take the W&B and the folder of the model that is published again and again."""
        self._server = server
        self._files = {path.name: path.read_bytes() for path in model.iterdir()}
        self._number = 0
        self.now = "calm"
        self.switched: list[str] = []

    def publish(self) -> None:
        """A new version that answers as the ones before."""
        self._number += 1
        self._server.publish(PATH, self._files | {"note.txt": b"%d" % self._number})

    async def run(self, done: asyncio.Event, seconds: float) -> None:
        """One fault after another, `seconds` of each and of the calm that follows, until `done`."""
        for name, switch in self._turns():
            if done.is_set():
                return
            self.now = name
            self.switched.append(name)
            switch()
            await asyncio.sleep(seconds)
            self._server.clear_faults()
            self.now = "calm"
            await asyncio.sleep(seconds)

    def _turns(self) -> Iterator[tuple[str, Callable[[], object]]]:
        server = self._server
        turns: list[tuple[str, Callable[[], object]]] = [
            ("a new version", self.publish),
            ("rows answered 500", lambda: server.set_fault("file_stream", status=500)),
            ("a version that answers wrongly", self._publish_wrong),
            ("W&B hangs", lambda: [server.set_fault(kind, hang=True) for kind in ("graphql", "file_stream")]),
            ("a new version", self.publish),
            (
                "W&B answers 503",
                lambda: [server.set_fault(kind, status=503) for kind in ("graphql", "file_stream")],
            ),
            ("a version cut on its way", self._publish_cut),
            ("rows taken slowly", lambda: server.set_fault("file_stream", delay=2.0)),
        ]
        return cycle(turns)

    def _publish_wrong(self) -> None:
        manifest = json.loads(self._files[MANIFEST_NAME])
        example = manifest["golden"]["examples"][0]
        example["label"] = "negative" if example["label"] == "positive" else "positive"
        self._number += 1
        note = {"note.txt": b"%d" % self._number}
        self._server.publish(PATH, self._files | note | {MANIFEST_NAME: json.dumps(manifest).encode()})

    def _publish_cut(self) -> None:
        self._server.set_fault("download", path="model.onnx", cut=True)
        self.publish()
