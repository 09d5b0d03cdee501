"""The figures of ``docs/capacity.md`` are those of the results that are committed."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from benchmarks.capacity import page, proxy
from benchmarks.capacity.__main__ import main
from tests.unit.deploy.rendered import ROOT

RESULTS = json.loads((ROOT / page.RESULTS).read_text("utf-8"))
PORTFOLIO = json.loads((ROOT / page.PORTFOLIO).read_text("utf-8"))
TEXT = (ROOT / page.PAGE).read_text("utf-8")
REPLICAS = page.places((ROOT / page.PROXY).read_text("utf-8"))


def test_the_page_has_the_figures_of_the_results() -> None:
    """If this fails, results have changed since the page was written: ``make capacity``."""
    assert page.render(TEXT, RESULTS, PORTFOLIO, REPLICAS) == TEXT


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (("capacity", "one_loan"), "answering_milliseconds"),
        (("capacity", "thousand_loans_arrow"), "shipping_milliseconds"),
        (("capacity", "proxy"), "megabytes"),
        (("capacity", "log"), "bytes_per_row"),
        (("portfolio", "kinds", "csv_to_parquet"), "rows_per_second"),
    ],
)
def test_other_results_make_another_page(where: tuple[str, ...], name: str) -> None:
    """And the page of these comes back from them: nothing of the earlier figures stays."""
    all_of_it = copy.deepcopy({"capacity": RESULTS["capacity"], "portfolio": PORTFOLIO})
    found: Any = all_of_it
    for part in where:
        found = found[part]
    found[name] *= 2
    other = page.render(TEXT, {**RESULTS, "capacity": all_of_it["capacity"]}, all_of_it["portfolio"], REPLICAS)
    assert other != TEXT
    assert page.render(other, RESULTS, PORTFOLIO, REPLICAS) == TEXT


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="has no <!-- figures -->"):
        page.render("# Capacity\n", RESULTS, PORTFOLIO, REPLICAS)


def test_the_command_writes_the_page(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without measuring; and it says how to measure where nothing was."""
    for path in (page.RESULTS, page.PORTFOLIO, page.PROXY, page.PAGE):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text((ROOT / path).read_text("utf-8"), "utf-8")
    (tmp_path / page.PAGE).write_text(f"# Before\n\n{page.BEGIN}\nold\n{page.END}\n\nafter\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["capacity"])
    assert main() == 0
    made = (tmp_path / page.PAGE).read_text("utf-8")
    assert made.startswith("# Before\n")
    assert made.endswith("\n\nafter\n")
    assert TEXT.partition(page.BEGIN)[2].partition(page.END)[0] in made
    without = {name: value for name, value in RESULTS.items() if name != "capacity"}
    (tmp_path / page.RESULTS).write_text(json.dumps(without), "utf-8")
    assert main() == 1
    assert (tmp_path / page.PAGE).read_text("utf-8") == made


def test_the_measured_proxy_is_the_one_that_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its configuration, but for the ports, and for the replica, which is named instead of looked up."""
    monkeypatch.chdir(ROOT)
    shipped = page.PROXY.read_text("utf-8").splitlines()
    measured = proxy.configuration(1, 2).splitlines()
    changed = [(old.split()[0], new.split()[0]) for old, new in zip(shipped, measured, strict=True) if old != new]
    assert changed == [
        ("bind", "bind"),
        ("bind", "bind"),
        ("default-server", "default-server"),
        ("server-template", "server"),
    ]
