"""The standards that the endpoint is held to: latency, errors of the server, accuracy. The limits are settings."""

from dataclasses import dataclass
from typing import Any

from app.core.config import Settings
from app.services.monitoring.accuracy import LiveAccuracy
from app.services.monitoring.windows import Window

SECONDS = 300
"""Latency and errors are judged over the last five minutes."""
LEAST_REQUESTS = 50
LEAST_FEEDBACK = 50


@dataclass(frozen=True, slots=True)
class Standard:
    """One standard and how it stands.

    Attributes:
        name: ``latency``, ``errors`` or ``accuracy``.
        value: what was seen; None below the smallest sample.
        limit: what it is held to.
        missed: whether it is not met.
        rows: how many requests or feedbacks `value` is made of.
        detail: in words.
    """

    name: str
    value: float | None
    limit: float
    missed: bool
    rows: int
    detail: str

    def summary(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "name": self.name,
            "value": self.value,
            "limit": self.limit,
            "missed": self.missed,
            "rows": self.rows,
            "detail": self.detail,
        }


def judge(settings: Settings, recent: Window, accuracy: LiveAccuracy) -> list[Standard]:
    """Hold the last minutes and the last feedbacks to the settings' standards.

    Accuracy counts as missed only when the upper end of its 95 % interval is below the standard: a few wrong answers in
    a row are no news.
    """
    requests = recent.requests
    enough = requests >= LEAST_REQUESTS
    latency = recent.latency.quantile(0.99) if enough else None
    errors = recent.failures / requests if enough else None
    tally = accuracy.window
    interval = tally.interval() if tally.rows >= LEAST_FEEDBACK else None
    share = tally.accuracy if interval else None
    minutes = SECONDS // 60
    return [
        Standard(
            "latency",
            latency,
            settings.standard_latency_ms,
            latency is not None and latency > settings.standard_latency_ms,
            requests,
            f"p99 of {requests} requests in {minutes} minutes is {latency:g} ms, "
            f"{settings.standard_latency_ms:g} are allowed"
            if latency is not None
            else f"{requests} requests in {minutes} minutes, {LEAST_REQUESTS} are needed to judge",
        ),
        Standard(
            "errors",
            None if errors is None else round(errors, 6),
            settings.standard_error_share,
            errors is not None and errors > settings.standard_error_share,
            requests,
            f"{recent.failures} of {requests} requests in {minutes} minutes failed here, "
            f"{settings.standard_error_share:.2%} are allowed"
            if errors is not None
            else f"{requests} requests in {minutes} minutes, {LEAST_REQUESTS} are needed to judge",
        ),
        Standard(
            "accuracy",
            None if share is None else round(share, 6),
            settings.standard_accuracy,
            interval is not None and interval[1] < settings.standard_accuracy,
            tally.rows,
            f"{tally.right} of the last {tally.rows} predictions with feedback were right "
            f"(95 % interval {interval[0]:.1%} to {interval[1]:.1%}), {settings.standard_accuracy:.1%} is the standard"
            if interval
            else f"{tally.rows} feedbacks, {LEAST_FEEDBACK} are needed to judge",
        ),
    ]
