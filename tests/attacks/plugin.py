"""A pytest plugin that keeps account of the tests marked as attacks.

``@pytest.mark.attack(name)`` names a row of :data:`tests.attacks.known.ATTACKS`; a row may have several tests. A test may say
more by ``record_property``: ``sent``, how many requests, files or tries (1 otherwise), and ``came``, what they got.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.attacks.known import ATTACKS


@dataclass
class Attack:
    """One row of the table."""

    sent: int = 0
    came: list[str] = field(default_factory=list)
    tests: set[str] = field(default_factory=set)
    broken: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


class Account:
    """The attacks of a run, by name. It works with xdist too: reports carry all that it needs."""

    def __init__(self) -> None:
        self.attacks: dict[str, Attack] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a test's end to its row."""
        facts: dict[str, Any] = dict(report.user_properties)
        if "attack" not in facts:
            return
        attack = self.attacks.setdefault(facts["attack"], Attack())
        attack.tests.add(report.nodeid.partition("[")[0])
        if report.failed:
            attack.broken.append(report.nodeid)
        elif report.skipped:
            attack.skipped.append(report.nodeid)
        elif report.when == "call":
            attack.sent += int(facts.get("sent", 1))
            if came := str(facts.get("came", "")):
                attack.came.append(came)


def mark(item: pytest.Item) -> None:
    """Put the name of a test's mark where its report carries it. AssertionError for a name that is no row."""
    if marker := item.get_closest_marker("attack"):
        (name,) = marker.args
        assert name in ATTACKS, f"{name}: no row of tests/attacks/known.py"
        item.user_properties.append(("attack", name))
