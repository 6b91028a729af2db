"""JSON files of an artifact, whose author is not to be trusted with the size or the depth of what is read."""

import json
from pathlib import Path
from typing import Any

_MOST_BYTES = 64 << 20


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        ValueError: it is no JSON, nested too deeply, or larger than 64 MiB; names the file.
        OSError: it cannot be read.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path.name} is larger than {_MOST_BYTES >> 20} MiB")
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path.name} is no JSON: {error}") from error
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
