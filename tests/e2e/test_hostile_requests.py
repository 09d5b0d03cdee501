"""The corpus of hostile requests through the shipped proxy: compose's, and the Swarm stack's."""

from __future__ import annotations

from collections.abc import Callable
from http.client import BadStatusLine

import pytest

from services.web import problem
from tests import hostile
from tests.conftest import LOAN
from tests.e2e.conftest import Project

pytestmark = pytest.mark.docker


def wrong(port: int, good: Callable[[], int]) -> list[str]:
    """The files of the corpus whose answer on ``port`` is not the one that they name, with what came.

    After each one ``good()``, a good request, must get 200: nothing that was sent may be left on a connection that the proxy
    keeps to a replica.
    """
    found = []
    for case in hostile.cases():
        try:
            answered = hostile.exchange(port, case.raw)
        except TimeoutError:
            found.append(f"{case.name}: no answer that ends")
            continue
        except BadStatusLine:
            if case.proxied:
                found.append(f"{case.name}: an answer of another protocol")
            continue
        kind = answered.headers["Content-Type"]
        if answered.status != case.proxied:
            found.append(f"{case.name}: {answered.status}, not {case.proxied}")
        elif case.proxied in (400, 422) and kind == "text/html" and "X-Request-Id" not in answered.headers:
            pass  # what HAProxy's parser refuses has a page of its own: no frontend has seen the request
        elif case.proxied >= 400 and kind != problem.MEDIA_TYPE:
            found.append(f"{case.name}: {kind}")
        elif case.proxied >= 400:
            answered.problem()
        if (status := good()) != 200:
            found.append(f"{case.name}: the next good request was answered {status}")
    return found


@pytest.mark.slow
def test_through_the_proxy_each_hostile_request_gets_its_status(fresh: Project) -> None:
    """The same replica answers on."""
    before = fresh.containers("predict"), fresh.containers("proxy")
    assert wrong(fresh.port, lambda: fresh.post(LOAN)[0]) == []
    assert (fresh.containers("predict"), fresh.containers("proxy")) == before
