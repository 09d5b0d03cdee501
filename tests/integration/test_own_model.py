"""``docs/models.md`` from its first line to an answer: a model that is no loan, published and deployed as the page says."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.examples import blocks
from tests.integration.place import Place
from tests.integration.system import ROOT, ask

PAGE = ROOT / "docs" / "models.md"


@pytest.fixture
def shop(place: Place) -> Place:
    """A system that serves loans, and the page's Python, run in its directory."""
    place.start()
    code = blocks(PAGE, "python")[0]
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=place.root, env=place.environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return place


@pytest.mark.slow
def test_wines_are_published_deployed_and_asked(shop: Place) -> None:
    """Each command of the page, with make's variables as its targets pass them on."""
    publish, check, deploy = (shlex.split(line) for line in blocks(PAGE, "sh")[0].splitlines())
    named = dict(word.split("=", 1) for word in (*publish[2:], *check[2:], *deploy[2:]))
    assert [words[1] for words in (publish, check, deploy)] == ["publish", "check", "deploy"]
    out = named["OUT"]
    done = shop.command(
        "publish", "wine.joblib", "--data", named["DATA"], "--label", named["LABEL"], "--out", out, module="modelbundle"
    )
    assert done.returncode == 0, done.stderr
    assert "combined scorer, proven equal on" in done.stdout
    assert shop.command("check", out, module="modelbundle").returncode == 0
    refused = shop.command("deploy", out, "--why", "not said")
    done = shop.command("deploy", out, "--allow", named["ALLOW"], "--why", named["WHY"])
    assert done.returncode == 0, done.stderr + refused.stderr
    header, *rows = ask(shop.port, "GET", "/batch/template.csv")[2].decode().splitlines()
    assert header.startswith("alcohol,malic_acid,")
    status, _, answer = ask(
        shop.port, "POST", "/predict", "\n".join([header, *rows]).encode(), {"Content-Type": "text/csv"}
    )
    assert status == 200
    assert "class_" in answer.decode().splitlines()[1]
    assert (Path(shop.root) / out).exists()
