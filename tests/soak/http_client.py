"""A small HTTP client that can also misbehave: slow writers, callers that leave."""

import asyncio
import json
import time
from typing import Any

SECONDS = 40.0


class Connection:
    """One connection that is kept alive; opened anew when the server closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, method: str, path: str, content: bytes = b"", pause: float = 0.0
    ) -> tuple[int, Any, float]:
        """Send one request, its body in four parts with pauses if asked; return status, JSON and seconds."""
        started = time.perf_counter()
        async with asyncio.timeout(SECONDS + 4 * pause):
            reader, writer = await self._open()
            writer.write(_head(method, path, content))
            step = len(content) // 4 + 1 if pause else max(1, len(content))
            try:
                for position in range(0, len(content), step):
                    writer.write(content[position : position + step])
                    await writer.drain()
                    await asyncio.sleep(pause)
            except ConnectionError:  # Refused before it was all sent: the answer may be there.
                pass
            status, body, closes = await _reply(reader)
        if closes:
            self.close()
        return status, body, time.perf_counter() - started

    async def leave(self, path: str, content: bytes) -> None:
        """Send a request and hang up at once."""
        _, writer = await self._open()
        writer.write(_head("POST", path, content) + content)
        await writer.drain()
        self.close()

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or self._streams[0].at_eof():
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        return self._streams


def _head(method: str, path: str, content: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: marquee.test", f"Content-Length: {len(content)}"]
    return "\r\n".join([*lines, "Content-Type: application/json", "", ""]).encode()


async def _reply(reader: asyncio.StreamReader) -> tuple[int, Any, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length: ")[2].split("\r\n")[0])
    body = await reader.readexactly(length)
    return int(head[9:12]), json.loads(body or b"null"), "connection: close" in head
