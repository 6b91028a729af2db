"""What a ``tokenizer.json`` would do to a text, seen before a text is given to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.services.json_files import read_json

_MOST_GROWTH = 64
"""How many times longer its replacements may make a text; `unicodedata` itself lengthens up to 18 times."""


def check_tokenizer(path: Path) -> None:
    """Refuse a tokenizer whose replacements blow a text up: thirty that double it would need a gigabyte a letter.

    Raises:
        ValueError: they would, or the file is no JSON object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is no tokenizer file: it is no JSON object")
    growth = 1.0
    for step in _replacements(content.get("normalizer")):
        pattern = step.get("pattern")
        literal = pattern.get("String") if isinstance(pattern, dict) else None
        growth *= max(1.0, len(str(step.get("content", ""))) / max(1, len(literal or "")))
    if growth > _MOST_GROWTH:
        raise ValueError(f"{path.name} has replacements that make a text up to {growth:.3g} times longer")


def _replacements(part: Any) -> Iterator[dict[str, Any]]:
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            if part.get("type") == "Replace":
                yield part
            waiting += part.values()
