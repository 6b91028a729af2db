"""One request to an app as a server would make it, message by message."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

Message = dict[str, Any]


async def ask(
    app: Any,
    messages: AsyncIterator[Message],
    *,
    method: str = "POST",
    path: str = "/predict",
    headers: dict[str, str] | None = None,
    on_message: Callable[[Message], None] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the reply to a request whose body is `messages`; status 0 without one."""
    sent: list[Message] = []

    async def receive() -> Message:
        async for message in messages:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)
        if on_message:
            on_message(message)

    await app(
        {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [
                (name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        },
        receive,
        send,
    )
    starts = [message for message in sent if message["type"] == "http.response.start"]
    if not starts:
        return 0, {}, b""
    body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return starts[0]["status"], {name.decode(): value.decode() for name, value in starts[0]["headers"]}, body


async def chunks(*parts: bytes, more: bool = False) -> AsyncIterator[Message]:
    """A body in parts; with `more` its end never comes."""
    for number, part in enumerate(parts, 1):
        yield {"type": "http.request", "body": part, "more_body": more or number < len(parts)}
