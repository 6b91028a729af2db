"""Headers of a request as ASGI gives them. Starlette's `Headers` raises and catches an exception for an absent one."""

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str:
    """Return the first value of a header, whose name is in lower case; empty where it is absent."""
    for found, value in scope["headers"]:
        if found == name:
            return str(value, "latin-1")
    return ""
