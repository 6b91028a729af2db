"""Where log lines go: people's form on a terminal, Cloud Logging's JSON on Cloud Run; uvicorn's and warnings' too."""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from loguru import logger

from app.core.access_log import TRACE_FIELD, access_log, json_form, text_form, trace_name
from app.core.config import Settings
from app.core.values import parse_keys, trim

if TYPE_CHECKING:
    from loguru import Message, Record

_SEVERITIES = {"TRACE": "DEBUG", "SUCCESS": "INFO"}
"""Names of loguru's that Cloud Logging does not know."""
_FIELDS = ("request_id", "method", "path", "status", "milliseconds")
_HIDDEN = "[secret]"


def configure_logging(settings: Settings) -> None:
    """Send all log lines of the process to standard error, in the form that the settings name."""
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and settings.k_service is not None
    )
    secrets = [
        value.get_secret_value()
        for value in (settings.wandb_api_key, settings.log_hash_key, settings.feedback_key)
        if value is not None
    ]
    if settings.api_keys is not None:
        secrets += [key.decode() for key in parse_keys(settings.api_keys.get_secret_value())]
    _configure(settings.log_level, as_json, settings.google_cloud_project, secrets)


def configure_logging_without_settings() -> None:
    """Set up logging when the settings could not be read, so that the line about it has the right form."""
    form = trim(os.environ.get("LOG_FORMAT", "")).lower()
    _configure(
        "INFO", form == "json" or (form != "text" and bool(trim(os.environ.get("K_SERVICE", "")))), None, []
    )


def _configure(level: str, as_json: bool, project: str | None, secrets: Iterable[str]) -> None:
    hide = _hider(secrets)
    coloured = not as_json and sys.stderr.isatty()

    def write(line: str) -> None:
        _write(hide(line))

    access_log.configure(level, json_form(project) if as_json else text_form, None if coloured else write)
    logger.remove()
    # `diagnose` would print the values of variables: request texts, and keys.
    if as_json:
        logger.add(
            _json_sink(project, hide), level=level, format="{message}", backtrace=False, diagnose=False
        )
    else:
        logger.add(
            lambda line: write(str(line)),
            level=level,
            format=_text_format,
            colorize=coloured,
            backtrace=False,
            diagnose=False,
        )
    handler = _ToLoguru()
    logging.basicConfig(handlers=[handler], level=logging.getLevelName(level), force=True)
    logging.captureWarnings(capture=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        other = logging.getLogger(name)
        other.handlers.clear()
        other.propagate = True
    # What uvicorn tells of its steps is for whoever looks for a fault; the service says itself what happens.
    logging.getLogger("uvicorn.error").setLevel(logging.DEBUG if level == "DEBUG" else logging.WARNING)


def _text_format(record: "Record") -> str:
    request = "[{extra[request_id]}] " if record["extra"].get("request_id") else ""
    return (
        "<green>{time:YYYY-MM-DD HH:mm:ss.SSS}</green> <level>{level: <8}</level> "
        + request
        + "<level>{message}</level>\n{exception}"
    )


def _json_sink(project: str | None, hide: Callable[[str], str]) -> "Callable[[Message], None]":
    def write(message: "Message") -> None:
        _write(hide(json.dumps(_entry(message.record, project), ensure_ascii=False, default=str)) + "\n")

    return write


def _entry(record: "Record", project: str | None) -> dict[str, Any]:
    """Return a log record as Cloud Logging reads it.

    Source of the names: https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields
    """
    extra = record["extra"]
    entry: dict[str, Any] = {
        "severity": _SEVERITIES.get(record["level"].name, record["level"].name),
        "message": record["message"],
        "time": record["time"].isoformat(),
        "logger": record["name"],
    }
    entry.update({name: extra[name] for name in _FIELDS if name in extra})
    if trace := extra.get("trace"):
        entry[TRACE_FIELD] = trace_name(trace, project)
    if exception := record["exception"]:
        entry["stack_trace"] = "".join(
            traceback.format_exception(exception.type, exception.value, exception.traceback)
        )
    return entry


def _hider(secrets: Iterable[str]) -> Callable[[str], str]:
    known = [secret for secret in secrets if len(secret) >= 8]

    def hide(line: str) -> str:
        for secret in known:
            line = line.replace(secret, _HIDDEN)
        return line

    return hide


def _write(line: str) -> None:
    # Half a surrogate pair in a message must not end the line's way out.
    stream = sys.stderr
    stream.write(
        line.encode(stream.encoding or "utf-8", "backslashreplace").decode(stream.encoding or "utf-8")
    )
    stream.flush()


class _ToLoguru(logging.Handler):
    """Hands what the standard library's loggers say to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        """Pass one record on, with its level and traceback."""
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno

        def name_it(entry: "Record") -> None:
            # The caller that loguru finds is this handler; the standard library knows the right name.
            entry["name"] = record.name

        logger.patch(name_it).opt(exception=record.exc_info).log(level, "{}", record.getMessage().rstrip())
