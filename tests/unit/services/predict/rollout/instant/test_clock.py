"""What the ``Date`` of answers tells of two clocks, and when an instant has come."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from services.predict.rollout.instant.clock import BOUND, FINE, Clock, ServiceClock

TRIP = 0.004  # seconds of each question and its answer


class Two:
    """This host and the model service, whose clock is ``ahead`` of this one's. Time passes when it is told to."""

    def __init__(self, ahead: float) -> None:
        self.mono, self.wall, self.ahead = 500.3, 1_796_018_400.7, ahead
        self.clock = ServiceClock(lambda: self.wall, lambda: self.mono)

    def passes(self, seconds: float) -> None:
        self.mono += seconds
        self.wall += seconds

    def ask(self) -> None:
        sent = self.mono
        self.passes(TRIP / 2)
        date = formatdate(self.wall + self.ahead, usegmt=True)
        self.passes(TRIP / 2)
        self.clock.heard(date, sent)

    @property
    def difference(self) -> tuple[float, float]:
        found = self.clock.read()
        return found.least - found.time, found.most - found.time


@pytest.mark.parametrize("ahead", [0.0, 0.1, -0.1, 0.4, -3.7, 86400.5])
def test_questions_at_the_turn_of_a_second_find_the_difference_soon(ahead: float) -> None:
    """Each halves what is not known; the true difference is never outside of it."""
    two = Two(ahead)
    two.ask()
    assert two.difference[1] - two.difference[0] == pytest.approx(1 + TRIP)
    for _ in range(6):
        two.passes(two.clock.aim(1.0))
        two.ask()
        assert two.difference[0] <= ahead <= two.difference[1]
    assert two.difference[1] - two.difference[0] < FINE
    assert two.clock.aim(0.7) == 0.7, "then it need not be known better"
    assert two.clock.read().trusted == (abs(ahead) < BOUND)


def test_what_is_known_is_forgotten_slowly_and_a_clock_that_is_set_is_noticed_at_once() -> None:
    """This host's by its own step, the model service's by its next answer."""
    two = Two(0.0)
    for _ in range(8):
        two.ask()
        two.passes(two.clock.aim(1.0))
    assert two.clock.read().trusted
    two.passes(3600.0)
    assert not two.clock.read().trusted
    two.passes(-3600.0)
    two.wall += 2
    two.ahead -= 2
    assert not two.clock.read().trusted
    two.ahead += 60
    two.ask()
    assert two.difference[0] <= two.ahead <= two.difference[1]


@pytest.mark.parametrize(
    "date", [None, "", "yesterday", "Mon, 99 Nov 2026 06:00:00 GMT", "Mon, 30 Nov 99999999 06:00:00 GMT"]
)
def test_an_answer_without_a_usable_date_tells_nothing(date: str | None) -> None:
    """Then this host's clock is taken, and the model service must confirm."""
    two = Two(0.0)
    two.clock.heard(date, two.mono)
    found = two.clock.read()
    assert not found.known
    assert not found.trusted
    assert two.clock.aim(0.9) == 0.9
    assert found.reached(found.time, confirmed=True)
    assert not found.reached(found.time, confirmed=False)


def test_a_clock_that_is_trusted_brings_the_instant_and_another_waits_for_the_model_service() -> None:
    """Not before the service's time has certainly come."""
    good, fast = Clock(100.0, 100.1, 100.2), Clock(105.0, 99.9, 100.1)
    assert good.reached(100.0, confirmed=False)
    assert not good.reached(100.01, confirmed=True)
    assert not fast.reached(99.9, confirmed=False)
    assert fast.reached(99.9, confirmed=True)
    assert not fast.reached(100.0, confirmed=True)
    assert fast.now == pytest.approx(100.0)
    assert not Clock(100.0, 100.0, 100.0 + BOUND + 0.01).trusted


@pytest.mark.parametrize(("instant", "pause"), [(100.0, 0.0), (100.7, 0.7), (101.0, 0.25), (110.0, 1.0), (90.0, 0.0)])
def test_the_last_question_is_asked_before_the_instant(instant: float, pause: float) -> None:
    """And the last pause ends at it."""
    assert Clock(100.0, 99.99, 100.01).pause(instant) == pytest.approx(pause)
