"""Bodies that Google's APIs were sent, as files under ``recorded/``: a change shows there.

``RECORD=1 make test-cloud`` writes them anew.
"""

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "recorded"


def check_recorded(name: str, body: Any) -> None:
    """Compare a body with ``recorded/NAME.json``."""
    file = FOLDER / f"{name}.json"
    if os.environ.get("RECORD"):
        FOLDER.mkdir(exist_ok=True)
        file.write_text(json.dumps(body, indent=2, sort_keys=True) + "\n", "utf-8")
    assert body == json.loads(file.read_text("utf-8")), (
        f"{file.name} differs: see RECORD in tests/cloud/recorded.py"
    )
