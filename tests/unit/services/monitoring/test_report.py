"""``make monitor``: the page, the data, and how the command ends."""

from __future__ import annotations

import html
import json
import time
from pathlib import Path
from typing import Any

import pytest

from modelbundle.format import bundle
from services.monitoring import report, unseen
from services.monitoring.__main__ import DRIFTED, main
from services.monitoring.summary import DAY
from tests.conftest import Made, make_book
from tests.unit.services.logs import NOW, Written


def ask(log: Written, made: Made, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setenv("PREDICTION_LOG_URL", log.url)
    return main(["report", "--models", str(made.path.parent), *arguments])


def test_the_page_says_in_words_what_drifted(
    tmp_path: Path, bundles: list[Made], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Amounts that doubled are named, with training's shares beside today's; the exit code is one to act on."""
    log, model = Written(tmp_path), bundle.read(bundles[0].path)
    frame, _ = make_book(900, seed=5)
    log.add(model, frame.assign(int_rate=frame["int_rate"].clip(lower=0.24)), time.time() - 3600)
    out, data = tmp_path / "report.html", tmp_path / "report.json"
    assert ask(log, bundles[0], monkeypatch, "--out", str(out), "--json", str(data)) == DRIFTED
    said = capsys.readouterr().out
    assert said == f"first: Not as in training: Interest rate and the score. See {out}\n"
    content = json.loads(data.read_bytes())
    (moved,) = [part for part in content["models"][0]["features"] if part["status"] == "drifted"]
    page = out.read_text("utf-8")
    assert html.escape(moved["text"]) in page
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_book_as_in_training_ends_well(
    tmp_path: Path, bundles: list[Made], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And ``--json -`` prints nothing but the data."""
    log = Written(tmp_path)
    log.add(bundle.read(bundles[0].path), make_book(900, seed=6)[0], time.time() - 3600)
    assert ask(log, bundles[0], monkeypatch, "--out", str(tmp_path / "report.html"), "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["status"] == "stable"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:///{folder}/none.sqlite", "monitor: there is no prediction log yet\n"),
        ("what is this", "monitor: the log cannot be read (ArgumentError)\n"),
        ("postgresql://u:secret@127.0.0.1:1/x", "monitor: the log cannot be read (OperationalError)\n"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    url: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No stack trace, no password, no page."""
    monkeypatch.setenv("PREDICTION_LOG_URL", url.format(folder=tmp_path))
    out = tmp_path / "report.html"
    assert main(["report", "--out", str(out)]) == 1
    assert capsys.readouterr().err == reason
    assert not out.exists()


def test_what_callers_and_authors_wrote_is_text(tmp_path: Path, bundles: list[Made]) -> None:
    """Categories, titles and reasons of refusals that look like HTML are shown, not obeyed; outcomes get their table."""
    log, model = Written(tmp_path), bundle.read(bundles[0].path)
    frame, labels = make_book(900)
    labelled = log.add(model, frame.assign(purpose="<b>boat</b>"), NOW - 2 * DAY)
    log.judge(labelled, labels)
    content: dict[str, Any] = log.monitor(bundles[0].path.parent).summary(NOW)
    content["models"][0]["title"] = "<i>Late</i>"
    page = report.page(unseen.with_values(content))
    assert "&lt;b&gt;boat" in page
    assert "&lt;i&gt;Late" in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert html.escape(content["models"][0]["performance"]["text"]) in page


def test_lines_and_bars_are_to_scale() -> None:
    """From zero, to the largest; where nothing is known nothing is drawn."""
    assert report.line([0.0, None, 2.0]) == {
        "points": f"0.0,{report.HEIGHT} {report.WIDTH},8.0",
        "dots": [(0.0, report.HEIGHT), (report.WIDTH, 8.0)],
        "most": 2.0,
    }
    bars = report.pairs([{"reference": 0.2, "live": 0.1}, {"reference": 0.0, "live": None}])
    assert [(bar["before"], bar["now"]) for bar in bars] == [(100.0, 50.0)]


def test_nothing_scored_is_said(tmp_path: Path, bundles: list[Made]) -> None:
    """A page of nothing is a page too."""
    assert "No row was scored" in report.page(Written(tmp_path).monitor(bundles[0].path.parent).summary(NOW))
