"""The form of log lines. The set-up is global, so each case has a process of its own."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SET_UP = """
import logging, warnings
from loguru import logger
from app.core.config import Settings
from app.core.logging import configure_logging
configure_logging(Settings(_env_file=None, {settings}))
"""


Lines = Callable[[str, str], list[str]]


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    """`lines(settings, code)`: what a program writes to standard error."""

    def run(settings: str, code: str) -> list[str]:
        # A file and not -c, so that tracebacks can show lines of it.
        program = tmp_path / "program.py"
        program.write_text(SET_UP.format(settings=settings) + code, "utf-8")
        done = subprocess.run(
            [sys.executable, program],
            capture_output=True,
            encoding="utf-8",
            timeout=100,
            check=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONIOENCODING": "utf-8"},
        )
        assert done.stdout == ""
        return done.stderr.splitlines()

    return run


def test_cloud_loggings_fields(lines):
    code = """
with logger.contextualize(request_id="an-id", trace="0af7651916cd43dd8448eb211c80319c"):
    logger.bind(status=200, milliseconds=1.5).info("GET / 200 {}", "é")
logger.warning("two\\nlines")
logger.success("ok")
logging.getLogger("uvicorn.error").warning("from %s", "uvicorn")
warnings.warn("be warned", UserWarning)
logger.debug("unseen")
"""
    first, second, third, uvicorn, warning = (
        json.loads(line) for line in lines('k_service="s", google_cloud_project="acme"', code)
    )
    assert first["severity"] == "INFO"
    assert first["message"] == "GET / 200 é"
    assert first["logging.googleapis.com/trace"] == "projects/acme/traces/0af7651916cd43dd8448eb211c80319c"
    assert (first["request_id"], first["status"], first["milliseconds"]) == ("an-id", 200, 1.5)
    assert second["message"] == "two\nlines"
    assert "logging.googleapis.com/trace" not in second
    assert third["severity"] == "INFO"
    assert (uvicorn["logger"], uvicorn["severity"], uvicorn["message"]) == (
        "uvicorn.error",
        "WARNING",
        "from uvicorn",
    )
    assert warning["logger"] == "py.warnings"
    assert "be warned" in warning["message"]


@pytest.mark.parametrize("name", ["wandb_api_key", "log_hash_key", "feedback_key", "api_keys"])
def test_no_line_holds_one_of_the_secrets(name, lines):
    value = "another-secret-value,0123456789abcdef" if name == "api_keys" else "0123456789abcdef"
    (line,) = lines(f'log_format="text", {name}="{value}"', 'logger.info("0123456789abcdef")')
    assert line.endswith("[secret]")


@pytest.mark.parametrize("settings", ['log_format="json"', 'log_format="text"'])
def test_tracebacks_hold_no_values_and_lines_no_secrets(settings, lines):
    code = """
def work(text):
    raise ValueError("refused key 0123456789abcdef")
try:
    work("a private text")
except ValueError as error:
    logger.opt(exception=error).error("failed")
logging.getLogger("library").error("with %s", "0123456789abcdef")
"""
    found = lines(f'{settings}, wandb_api_key="0123456789abcdef"', code)
    everything = "\n".join(found)
    assert "ValueError" in everything
    assert "[secret]" in everything
    assert "0123456789abcdef" not in everything
    # The line of code is shown, the value that the variable had is not.
    assert everything.count("a private text") == 1


def test_people_get_a_line_with_the_requests_id(lines):
    code = """
with logger.contextualize(request_id="an-id"):
    logger.info("GET / {{}} <red>", 200)
logger.info("no request")
"""
    first, second = lines('log_format="text", k_service="s"', code.replace("{{", "{").replace("}}", "}"))
    assert first.endswith("INFO     [an-id] GET / 200 <red>")
    assert second.endswith("INFO     no request")
    assert "\x1b" not in first


def test_half_a_surrogate_pair_is_written_somehow(lines):
    (line,) = lines('log_format="json"', 'logger.info("half {}", chr(0xd800))')
    assert "half" in json.loads(line.replace("\\ud800", "?"))["message"]


def test_the_level_is_the_settings(lines):
    code = 'logger.info("unseen"); logging.getLogger("x").info("unseen"); logger.error("seen")'
    assert len(lines('log_level="ERROR"', code)) == 1


def test_uvicorns_steps_are_for_those_who_look(lines):
    code = 'logging.getLogger("uvicorn.error").info("step")'
    assert lines('log_level="INFO"', code) == []
    assert len(lines('log_level="DEBUG"', code)) == 1


ACCESS = """
import asyncio
from app.core.access_log import Access, access_log

async def serve():
    with logger.contextualize(request_id="an-id", trace="0af7651916cd43dd8448eb211c80319c"):
        logger.bind(method="GET", path="/p", status=200, milliseconds=1.23).info("GET /p 200 in 1.2 ms")
        for level in ("INFO", "DEBUG", "ERROR"):
            access_log(Access(level, "GET", "/p", 200, 1.234, "an-id", "0af7651916cd43dd8448eb211c80319c"))
        {wait}

asyncio.run(serve())
"""


@pytest.mark.parametrize("wait", ["await asyncio.sleep(0.2)", "pass"])
@pytest.mark.parametrize(
    "settings", ['log_format="json"', 'log_format="text"', 'log_format="json", log_level="ERROR"']
)
def test_access_lines_have_the_form_of_all_lines_and_none_is_lost(settings, wait, lines):
    found = lines(f'{settings}, google_cloud_project="acme"', ACCESS.replace("{wait}", wait))
    if "ERROR" in settings:
        assert [json.loads(line)["severity"] for line in found] == ["ERROR"]
        return
    assert len(found) == 3
    usual, info, error = [json.loads(line) for line in found] if "json" in settings else found
    if "json" in settings:
        assert usual.keys() == info.keys()
        for own in ("time", "logger"):
            del usual[own], info[own]
        assert usual == info
        assert error["severity"] == "ERROR"
    else:
        form = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} ")
        assert [bool(form.match(line)) for line in found] == [True] * 3
        assert usual[24:] == info[24:] == "INFO     [an-id] GET /p 200 in 1.2 ms"
        assert error[24:].startswith("ERROR    [an-id]")


def test_access_lines_hide_secrets(lines):
    code = ACCESS.replace("{wait}", "pass").replace('"/p", 200, 1.234', '"/0123456789abcdef", 200, 1.234')
    assert "0123456789abcdef" not in "".join(
        lines('log_format="json", wandb_api_key="0123456789abcdef"', code)
    )
