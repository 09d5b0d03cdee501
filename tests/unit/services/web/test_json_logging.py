"""The log of libraries, of gunicorn above all, has the same JSON lines as our own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.integration.system import ROOT

PROGRAM = """
import logging
from gunicorn.config import Config
from gunicorn.glogging import Logger
from services.web import json_logging

config = Config()
config.set("logconfig_dict", json_logging.LOGGING)
log = Logger(config)
{statements}
"""


def lines(statements: str) -> list[dict[str, Any]]:
    """What a program with gunicorn's logger writes to stdout. It writes nothing to stderr."""
    command = [sys.executable, "-c", PROGRAM.format(statements=statements)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_warning_of_gunicorn_is_one_line() -> None:
    """It has the fields of every line, and the logger's name. Messages below a warning are left out."""
    [line] = lines("log.info('booting'); log.warning('worker %s', 7)")
    assert set(line) == {"time", "level", "event", "pid", "logger"}
    assert (line["level"], line["event"], line["logger"]) == ("warning", "worker 7", "gunicorn.error")


def test_a_stack_trace_stays_in_its_line() -> None:
    """The trace is a field of the line."""
    [line] = lines("try: 1 / 0\nexcept ZeroDivisionError: log.exception('request failed')")
    assert (line["level"], line["event"]) == ("error", "request failed")
    assert "ZeroDivisionError" in line["trace"]


def test_other_libraries_are_logged_from_info_on() -> None:
    """Their records reach the root logger."""
    [line] = lines("logging.getLogger('other').debug('no'); logging.getLogger('other').info('yes')")
    assert (line["event"], line["logger"], line["level"]) == ("yes", "other", "info")


def test_gunicorn_has_no_access_log() -> None:
    """The services log their requests themselves."""
    assert lines("log.access_log.info('GET /')") == []
