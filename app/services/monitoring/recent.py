"""The last predictions, as the page shows them: no more of a text than the inference log keeps."""

from collections import deque
from typing import Any

from app.core.config import Settings
from app.services.monitoring.observation import Observation
from app.services.privacy import TextPrivacy

_MOST = 20
_SHOWN_CHARACTERS = 160
_SHOWN_MODES = ("masked", "full")
"""Values of LOG_TEXT with which texts can be read."""


class RecentPredictions:
    """The last twenty."""

    def __init__(self, settings: Settings) -> None:
        """Keep none yet; the settings say what of a text may be shown."""
        self._with_text = settings.log_text in _SHOWN_MODES
        self._privacy = TextPrivacy(settings)
        self._rows: deque[tuple[dict[str, Any], float, Observation]] = deque(maxlen=_MOST)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._rows)

    def add(self, row: dict[str, Any], when: float, seen: Observation) -> None:
        """Keep a row of the inference log, its time in seconds of the epoch, and what was observed of it."""
        self._rows.append((row, when, seen))

    def summary(self) -> list[dict[str, Any]]:
        """Return them as JSON, the last one first."""
        return [self._shown(*entry) for entry in reversed(self._rows)]

    def _shown(self, row: dict[str, Any], when: float, seen: Observation) -> dict[str, Any]:
        text = row.get("text") if self._with_text else None
        return {
            "time": when,
            "label": seen.label,
            "confidence": seen.confidence,
            "tokens": seen.tokens,
            "language": seen.language,
            "milliseconds": round(seen.queue_ms + seen.inference_ms, 2),
            "model_version": row.get("model_version"),
            "text": self._privacy.protect(text)[:_SHOWN_CHARACTERS] if isinstance(text, str) else None,
        }
