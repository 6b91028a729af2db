"""How values of variables are read: trimmed once, and lists taken apart."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, SecretStr
from pydantic_settings import PydanticBaseSettingsSource

_SHORTEST_KEY = 16
_KEY = re.compile(r"[\x21-\x7e]+")
_ORIGIN = re.compile(r"https?://(?:[a-z0-9._-]+|\[[0-9a-f:]+\])(?::\d{1,5})?")


def trim(value: str) -> str:
    """Take blanks and line ends off both sides, then one pair of matching quotes, then blanks again."""
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1].strip()
    return value


def parse_keys(value: str) -> tuple[bytes, ...]:
    """Split API keys at commas; blanks and one pair of quotes round each are taken off, empty ones left out.

    Raises:
        ValueError: a key is too short or holds what a header cannot; says which one by its number, never the key.
    """
    keys = [key for key in map(trim, value.split(",")) if key]
    if not keys:
        raise ValueError("holds no key")
    for number, key in enumerate(keys, 1):
        if not _KEY.fullmatch(key):
            raise ValueError(f"key {number} holds a blank, a line break or a letter outside ASCII")
        if len(key) < _SHORTEST_KEY:
            raise ValueError(f"key {number} is shorter than {_SHORTEST_KEY} characters")
    return tuple(key.encode() for key in keys)


def parse_origins(value: str) -> tuple[str, ...]:
    """Split origins at commas; blanks, quotes and a slash at the end of each are taken off.

    Raises:
        ValueError: an entry is no origin such as ``https://example.org``; says which one by its number.
    """
    origins = [origin.lower() for origin in (trim(entry).rstrip("/") for entry in value.split(",")) if origin]
    if origins == ["*"]:
        return ("*",)
    if not origins:
        raise ValueError("holds no origin")
    for number, origin in enumerate(origins, 1):
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(
                f"entry {number} is no origin: write https://host or https://host:port, several with commas between "
                "them, or * alone"
            )
    return tuple(origins)


def _one_line(value: SecretStr | None) -> SecretStr | None:
    if value is not None and re.search(r"\s", value.get_secret_value()):
        raise ValueError("holds white space or a line break inside; copy the value again")
    return value


def _several_keys(value: SecretStr | None) -> SecretStr | None:
    if value is not None:
        parse_keys(value.get_secret_value())
    return value


def _several_origins(value: str | None) -> str | None:
    if value is not None:
        parse_origins(value)
    return value


Secret = Annotated[SecretStr | None, AfterValidator(_one_line)]
Keys = Annotated[SecretStr | None, AfterValidator(_several_keys)]
Origins = Annotated[str | None, AfterValidator(_several_origins)]


class Trimmed(PydanticBaseSettingsSource):
    """Another source with blanks, CR and one pair of quotes taken off each value; empty means unset."""

    def __init__(self, inner: PydanticBaseSettingsSource) -> None:
        """Trim what `inner` gives."""
        super().__init__(inner.settings_cls)
        self._inner = inner

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Return what the inner source says of one field."""
        return self._inner.get_field_value(field, field_name)

    def __call__(self) -> dict[str, Any]:
        """Return all values, trimmed."""
        trimmed = {
            name: trim(value) if isinstance(value, str) else value for name, value in self._inner().items()
        }
        return {name: value for name, value in trimmed.items() if value not in (None, "")}
