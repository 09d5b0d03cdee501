"""A swap is safe for meaning: bundles that do not fit the traffic are refused, or taken back, while clients ask."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Made, make_book
from tests.integration import unfit
from tests.integration.system import Load, System, running, until

ROWS = 5000
GATES = {
    "required": ("contract", "`city` is a new required feature"),
    "kind": ("contract", "`purpose` becomes a number"),
    "bounds": ("contract", "`int_rate` has narrower bounds: 0 to 0.2, before 0 to 1"),
    "order": ("contract", "the classes are in another order: 1, 0, before 0, 1"),
    "inverted": ("scores", "the order of the rows by `1` is reversed"),
    "percent": ("contract", "`int_rate` was 5"),
}


def book() -> list[dict[str, Any]]:
    frame = make_book(ROWS, seed=7)[0]
    return [{k: None if v != v else v for k, v in row.items()} for row in frame.to_dict("records")]


def clients(system: System) -> Load:
    """Eight, who ask for a thousand loans in turn."""
    first, *others = book()[:1000]
    return Load(system.port, first, others=others)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, bundles: list[Made]) -> Iterator[System]:
    """The first bundle answers, and the log has 5,000 rows."""
    root = tmp_path_factory.mktemp("fit")
    with running(root, ALLOW_PICKLE="1", PROBATION_SECONDS="6") as system:
        for made in bundles:
            shutil.copy(made.path, system.models)
        system.pin(bundles[0].path.name, bundles[0].sha256)
        system.start_model()
        system.start_predict()
        assert system.post(book())[0] == 200
        yield system


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Makes an unfit bundle, once."""
    folder, known = tmp_path_factory.mktemp("unfit"), {}

    def get(what: str) -> Any:
        if what not in known:
            known[what] = unfit.make(what, folder)
        return known[what]

    return get


def back(system: System, made: Made) -> None:
    """The first bundle, whatever went before."""
    system.pin(made.path.name, made.sha256)
    system.serving(made.sha256)


def refused(system: System, published: Any, *allow: str) -> dict[str, Any]:
    """Pin a bundle and wait until it is refused; the refusal."""
    shutil.copy(published.path, system.models)
    before = system.readyz()[1]["refusal"]
    system.pin(published.path.name, published.sha256, allow=allow)

    def news() -> dict[str, Any] | None:
        found: dict[str, Any] | None = system.readyz()[1]["refusal"]
        return found if found != before and found and found["model_version"] == published.sha256 else None

    return dict(until(news, 60, f"{published.path.stem} is refused"))


@pytest.mark.slow
@pytest.mark.parametrize("what", GATES)
def test_a_bundle_that_would_misread_the_traffic_never_answers(
    watched: System, bundles: list[Made], made: Any, what: str
) -> None:
    """Eight clients see nothing of it, and the reason names the feature and the share of the last rows."""
    kind, said = GATES[what]
    published = made(what)
    with clients(watched) as load:
        found = refused(watched, published)
    assert (found["kind"], said in found["reason"]) == (kind, True), found
    if what not in ("order", "inverted"):
        assert "of the last 5,0" in found["reason"]
        assert found["evidence"]["rows"] >= ROWS
    assert load.failed() == []
    assert {answer.version for answer in load.answers} == {bundles[0].sha256}
    back(watched, bundles[0])


@pytest.mark.parametrize("what", ["required", "bounds", "inverted"])
def test_a_change_that_is_meant_goes_through(watched: System, bundles: list[Made], made: Any, what: str) -> None:
    """``allow`` beside the pin lifts the gate, and only that; the answer of the gate is a warning."""
    kind = GATES[what][0]
    shutil.copy(made(what).path, watched.models)
    watched.pin(made(what).path.name, made(what).sha256, allow=[kind])
    watched.serving(made(what).sha256)
    facts = watched.readyz()[1]
    assert facts["gates"]["warnings"][0].startswith(f"{kind}: ")
    assert facts["probation"] is not None
    if what == "required":  # what the gate said comes true, and as it was meant nothing is taken back for it
        assert watched.post(book()[0])[0] == 422
        time.sleep(1)
        assert watched.readyz()[1]["model_version"] == made(what).sha256
    back(watched, bundles[0])


@pytest.mark.slow
@pytest.mark.parametrize("what", ["raises", "nan", "slow"])
def test_a_bundle_that_fails_requests_is_taken_back_for_all_workers_at_once(
    watched: System, bundles: list[Made], made: Any, what: str
) -> None:
    """Its rows are not in the log, so that only the traffic shows it. The first model answers again, from memory."""
    loan, published = book()[0], made(what)
    shutil.copy(published.path, watched.models)
    with clients(watched) as load:
        watched.pin(published.path.name, published.sha256)
        watched.serving(published.sha256, 60)
        began = time.monotonic()
        if what != "slow":
            watched.post({**loan, "amount": unfit.ODD})
        until(lambda: watched.readyz()[1]["model_version"] == bundles[0].sha256, 20, "it is taken back")
        took = time.monotonic() - began
        time.sleep(0.5)
    facts = watched.readyz()[1]
    assert facts["refusal"]["kind"] == "probation"
    reason = facts["refusal"]["reason"]
    assert {"raises": "ZeroDivisionError", "nan": "not from 0 to 1", "slow": "ms a row"}[what] in reason
    assert facts["refusal"]["evidence"]["requests"] > 0
    assert load.failed() == []
    assert load.stale() == []
    assert took < 10
    assert facts["probation"] is None
    back(watched, bundles[0])
