"""The mixed load: who asks what, and what they must hear."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.soak.http_client import Connection

REFUSED = {429}
"""What a caller may hear instead of an answer when too much is waiting."""
HARM: list[tuple[bytes, int]] = [
    (b"{", 400),
    (b'{"text": "a", "text": "b"}', 400),
    (b'{"text": "   "}', 422),
    (b'{"text": NaN}', 422),
    (b'{"txt": "a"}', 422),
    (b'{"text": 5}', 422),
    (b'{"texts": []}', 422),
    (b"[" * 50_000, 400),
    (b'{"text": "' + b"x" * 200_000 + b'"}', 422),
    (b'{"text": "' + b"x" * 1_200_000 + b'"}', 413),
]
"""Bodies that are refused, and how."""


@dataclass
class Outcome:
    """What the load saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    answered: dict[str, str] = field(default_factory=dict)
    """Id of each answer that arrived, and the version that gave it."""
    wrong: list[str] = field(default_factory=list)
    """Answers, statuses and broken connections that should not be; in words."""
    liveness: list[float] = field(default_factory=list)
    """Seconds that each look at the liveness took."""
    left: int = 0
    """Callers that hung up before their answer."""


class Load:
    """Callers of one server until `done` is set."""

    def __init__(self, port: int, expected: Mapping[str, Mapping[str, float]], seed: int) -> None:
        """Remember what is asked: texts and the confidences that each must get."""
        self._port = port
        self._expected = expected
        self._chance = random.Random(seed)
        self.outcome = Outcome()
        self.done = asyncio.Event()

    async def run(self) -> None:
        """Ask until `done`; one who fails is noted, and goes on."""
        callers = [self._single] * 4 + [self._list, self._harm, self._leave, self._slow]
        await asyncio.gather(*(self._again(caller) for caller in callers))

    async def _again(self, caller: Any) -> None:
        connection = Connection(self._port)
        while not self.done.is_set():
            try:
                await caller(connection)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self.outcome.wrong.append(f"{caller.__name__}: {type(error).__name__}")
                connection.close()
        connection.close()

    async def _single(self, connection: Connection, pause: float = 0.0) -> None:
        text = self._text()
        status, reply, _ = await connection.ask("POST", "/predict", _json({"text": text}), pause)
        if self._counted(status, {200}):
            self._check(text, reply, reply["model"]["version"])
        await asyncio.sleep(0.1)

    async def _list(self, connection: Connection) -> None:
        texts = [self._text() for _ in range(self._chance.randint(2, 8))]
        status, reply, _ = await connection.ask("POST", "/api/v1/predict", _json({"texts": texts}))
        if self._counted(status, {200}):
            for text, prediction in zip(texts, reply["predictions"], strict=True):
                self._check(text, prediction, reply["model"]["version"])
        await asyncio.sleep(0.3)

    async def _slow(self, connection: Connection) -> None:
        await self._single(connection, pause=0.5)

    async def _harm(self, connection: Connection) -> None:
        content, status = self._chance.choice(HARM)
        found, _, _ = await connection.ask("POST", "/predict", content)
        self._counted(found, {status})
        if status == 413:
            connection.close()
        await asyncio.sleep(0.3)

    async def _leave(self, connection: Connection) -> None:
        await connection.leave("/predict", _json({"texts": [self._text() for _ in range(8)]}))
        self.outcome.left += 1
        await asyncio.sleep(0.3)

    def note_probe(self, status: int, seconds: float) -> None:
        """Count a look at the liveness, which a process of its own took."""
        self._counted(status, {200})
        self.outcome.liveness.append(seconds)

    def _counted(self, status: int, right: set[int]) -> bool:
        self.outcome.statuses[status] += 1
        if status not in right | REFUSED:
            self.outcome.wrong.append(f"{status} where {sorted(right)} is right")
        return status == 200

    def _check(self, text: str, prediction: Mapping[str, Any], version: str) -> None:
        self.outcome.answered[prediction["id"]] = version
        expected, found = self._expected[text], prediction["confidences"]
        if prediction["text"] != text or any(
            abs(found[name] - value) > 1e-4 for name, value in expected.items()
        ):
            self.outcome.wrong.append(f"{text!r} got {found}")

    def _text(self) -> str:
        return self._chance.choice(list(self._expected))


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()
