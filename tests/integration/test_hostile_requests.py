"""The corpus of hostile requests against both services; ``tests/e2e`` sends it through the proxy and the Swarm stack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import hostile
from tests.conftest import LOAN, Made
from tests.integration.system import System, running

MALFORMED = (400, 414, 417, 431, 501)  # what the server refuses itself, whatever it serves


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory, bundles: list[Made]) -> Iterator[System]:
    """Both services, with short patience for bodies."""
    with running(tmp_path_factory.mktemp("corpus"), BODY_SECONDS="2") as system:
        (system.models / "a.bundle").write_bytes(bundles[0].path.read_bytes())
        system.pin("a.bundle", bundles[0].sha256)
        system.start_model()
        system.start_predict()
        yield system


@pytest.mark.attack("requests")
@pytest.mark.parametrize("case", hostile.cases(), ids=lambda case: case.name)
def test_a_hostile_request_gets_its_status(attacked: System, case: hostile.Case) -> None:
    """A problem document with the expected status and its request's id; the same workers answer the next good request."""
    workers = attacked.workers()
    answered = hostile.exchange(attacked.port, case.raw)
    assert answered.status == case.status
    if case.status >= 400:
        assert answered.problem()["request_id"] == answered.headers["X-Request-Id"]
    assert attacked.workers() == workers
    assert attacked.post(LOAN)[0] == 200


@pytest.mark.parametrize(
    "case",
    [each for each in hostile.cases() if each.raw.startswith(b"GET") and each.status in MALFORMED],
    ids=lambda c: c.name,
)
def test_the_model_service_refuses_what_is_no_http(attacked: System, case: hostile.Case) -> None:
    answered = hostile.exchange(attacked.model_port, case.raw)
    assert answered.status == case.status
    assert answered.problem()["request_id"] == answered.headers["X-Request-Id"]


def test_nothing_of_a_hostile_request_is_in_a_log_line(attacked: System) -> None:
    """Not the names either that a caller gave to fields, and nothing of what is no HTTP: it may be a borrower's."""
    sent = [case.raw for case in hostile.cases() if b"marguerite" in case.raw.lower()]
    assert len(sent) > 10
    for raw in sent:
        for port in (attacked.port, attacked.model_port):
            hostile.exchange(port, raw)
    log = (attacked.root / "services.log").read_bytes()
    assert b"marguerite" not in log.lower()
    assert b"InvalidHeaderName" in log
