"""The log of libraries, of gunicorn above all, has the same JSON lines as our own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from services.web import json_logging
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
    assert line["trace"].endswith("builtins.ZeroDivisionError")
    assert 'File "<string>"' in line["trace"]


def test_no_text_of_an_exception_is_logged() -> None:
    """A library puts the value into it that it could not read. Those that led to it are there, with their types only."""
    statements = "name = 'Margue' + 'rite'\ntry: {}[name]\nexcept KeyError:\n  "
    statements += "try: int(name)\n  except ValueError: log.exception('no')"
    [line] = lines(statements)
    assert "builtins.KeyError" in line["trace"]
    assert line["trace"].endswith("builtins.ValueError")
    assert "Marguerite" not in json.dumps(line)


@pytest.mark.parametrize("where", ["fail()", "threading.Thread(target=fail, name='writer').start()"])
def test_what_no_code_catches_is_a_line_too(where: str) -> None:
    """Nothing goes to stderr."""
    program = "import threading\njson_logging.log_uncaught()\ndef fail(): int('Margue' + 'rite')\n" + where
    command = [sys.executable, "-c", PROGRAM.format(statements=program)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    [line] = map(json.loads, done.stdout.splitlines())
    assert (line["level"], line["event"]) == ("error", "uncaught")
    assert line["trace"].endswith("builtins.ValueError")
    assert "Marguerite" not in done.stdout


def test_a_chain_of_exceptions_has_an_end() -> None:
    error = ValueError()
    error.__context__ = TypeError()
    error.__context__.__context__ = error
    assert json_logging.trace(error).count("ValueError") <= json_logging.CHAIN


def test_other_libraries_are_logged_from_info_on() -> None:
    """Their records reach the root logger."""
    [line] = lines("logging.getLogger('other').debug('no'); logging.getLogger('other').info('yes')")
    assert (line["event"], line["logger"], line["level"]) == ("yes", "other", "info")


def test_gunicorn_has_no_access_log() -> None:
    """The services log their requests themselves."""
    assert lines("log.access_log.info('GET /')") == []
