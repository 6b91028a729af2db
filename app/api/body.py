"""From the bytes of a request to a validated object, with a reason in words for everything that is refused."""

import json
import math
import re
from asyncio import to_thread
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from app.api.errors import bounded, fields_error, path_of
from app.api.headers import header
from app.core.errors import InvalidFieldsError, InvalidInputError, UnreadableError, UnsupportedMediaTypeError

Validated = TypeVar("Validated", bound=BaseModel)

_SURROGATE = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_MAY_OVERFLOW = re.compile(r"[eE]\+?[0-9]{3}|[0-9]{200}")
"""What a number must look like to be too large for a float: 1e308 is the end."""
_JSON_SUFFIX = re.compile(r"application/[^/\s]+\+json")
_UTF8 = {"utf-8", "utf8", "us-ascii", "ascii"}
_LARGE = 65_536
"""Bodies from this size on are read on another thread, so that liveness does not wait for them."""
_NOT_FINITE = "a number must be finite: no NaN, no Infinity, at most 1.8e308"
_TOO_DEEP = "the JSON is nested too deeply"


class _DuplicateKeyError(ValueError):
    pass


class _ConstantError(ValueError):
    """NaN or Infinity."""


async def read_json(request: Request, kind: type[Validated]) -> Validated:
    """Return the body as an instance of `kind`. The JSON must be strict: finite numbers, every key once.

    Half a surrogate pair (an emoji cut in two) becomes U+FFFD, as browsers do it.

    Raises:
        UnsupportedMediaTypeError: it is declared to be something else than JSON in UTF-8.
        UnreadableError: it is no JSON.
        InvalidFieldsError: it does not fit, or a number is not finite; says where and why.
        TooLargeError, SlowBodyError: from the middleware, while the body is read.
    """
    check_content_type(request)
    body = await _read(request)
    if len(body) >= _LARGE:
        return await to_thread(_parse, kind, body)
    return _parse(kind, body)


async def _read(request: Request) -> bytes:
    """Return the whole body; `Request.body` does the same through an iterator, at several times the cost."""
    parts = []
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _parse(kind: type[Validated], body: bytes) -> Validated:
    return validate(kind, strict_json(body))


def check_content_type(request: Request) -> None:
    """Accept JSON, ``text/plain`` (what browsers and many libraries send by themselves) and no type at all.

    Raises:
        UnsupportedMediaTypeError: anything else; says what to send.
    """
    encoding = header(request.scope, b"content-encoding").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaTypeError("compressed bodies are not taken; send JSON without Content-Encoding")
    declared = header(request.scope, b"content-type").strip()
    if not declared or declared == "application/json":
        return
    kind, *parameters = (part.strip().lower() for part in declared.split(";"))
    if kind not in ("application/json", "text/plain") and not _JSON_SUFFIX.fullmatch(kind):
        raise UnsupportedMediaTypeError("send JSON, with the header Content-Type: application/json")
    for name, _, value in (parameter.partition("=") for parameter in parameters):
        if name.strip() == "charset" and value.strip().strip('"') not in _UTF8:
            raise UnsupportedMediaTypeError(
                "JSON is sent in UTF-8; leave the charset out of the Content-Type"
            )


def strict_json(body: bytes) -> str:
    """Return `body` as text after holding it to the JSON standard; see `read_json` for what it raises."""
    if not body.strip():
        raise UnreadableError('the body is empty; send JSON such as {"text": "…"}')
    try:
        # A byte-order mark is no JSON, but Windows' tools write it.
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"the body is not UTF-8 (at byte {error.start})") from None
    try:
        value = _loads(text)
    except json.JSONDecodeError as error:
        hint = r"; a line break in a string is written \n" if "control character" in error.msg else ""
        place = f"line {error.lineno}, column {error.colno}"
        raise UnreadableError(f"the body is no JSON: {error.msg} ({place}){hint}") from None
    except RecursionError:
        raise UnreadableError(_TOO_DEEP) from None
    except _DuplicateKeyError as error:
        raise UnreadableError(str(error)) from None
    except ValueError:
        # Python reads no integer of thousands of digits, since that takes it quadratic time.
        raise InvalidInputError("a number has too many digits") from None
    if _MAY_OVERFLOW.search(text):
        _refuse_non_finite(value)
    if _SURROGATE_ESCAPE.search(text):
        # Whole pairs are single characters by now, so what is left are halves.
        text = _SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False))
    return text


def _loads(text: str) -> Any:
    try:
        return _STRICT.decode(text)
    except _ConstantError:
        value = json.loads(text, object_pairs_hook=_unique)
        _refuse_non_finite(value)
        return value


def validate(kind: type[Validated], text: str) -> Validated:
    """Return `text`, JSON, as an instance of `kind`.

    Raises:
        InvalidFieldsError: it does not fit; says where and why.
        UnreadableError: it is nested deeper than pydantic reads.
    """
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        count = error.error_count()
        if count == 1 and error.errors(include_input=False, include_url=False)[0]["type"] == "json_invalid":
            raise UnreadableError(_TOO_DEEP) from None
        raise fields_error(error) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(f"the key {bounded(key, 40)!r} is given twice in one object")
            seen.add(key)
    return content


def _refuse_constant(_name: str) -> float:
    raise _ConstantError


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)


def _refuse_non_finite(value: Any) -> None:
    """Name the first number that is not finite; without recursion, for any depth."""
    waiting: list[tuple[Any, tuple[int | str, ...]]] = [(value, ())]
    while waiting:
        entry, place = waiting.pop()
        if isinstance(entry, float) and not math.isfinite(entry):
            raise InvalidFieldsError([(path_of(place), _NOT_FINITE)])
        if isinstance(entry, dict):
            waiting.extend((inner, (*place, key)) for key, inner in reversed(entry.items()))
        elif isinstance(entry, list):
            waiting.extend((inner, (*place, index)) for index, inner in reversed(list(enumerate(entry))))
