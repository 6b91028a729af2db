"""Windows over what was predicted, drift against the reference profile, live accuracy, and who is told about it."""

from app.services.monitoring.monitor import Monitor

__all__ = ["Monitor"]
