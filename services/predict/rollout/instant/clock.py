"""Compares this host's clock with the model service's, by the ``Date`` of its answers.

``Date`` has whole seconds. One answer bounds the service's time to a second; answers around the turn of a second halve that with
each (:meth:`ServiceClock.aim`). What is bounded is the service's time minus the monotonic one, which nobody sets, so a host's
clock that is set in between is noticed at once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from modelbundle.instant import InstantError, bound

BOUND = 0.25  # seconds between this host's clock and the model service's, up to which a host goes by its own
DRIFT = 2e-4  # seconds a second by which two clocks may part
FINE = 0.05  # seconds of uncertainty that are good enough
LAST = 0.75  # seconds before the instant at which the pin is asked for once more
SOON = 0.02  # seconds between two questions once the instant may have come
MOST_PAUSE = 1.0  # seconds between two questions before that


@dataclass(frozen=True, slots=True)
class Clock:
    """This host's Unix ``time``; the model service's is between ``least`` and ``most``."""

    time: float = 0.0
    least: float = -math.inf
    most: float = math.inf

    @property
    def known(self) -> bool:
        """Whether the model service told its time."""
        return math.isfinite(self.least) and math.isfinite(self.most)

    @property
    def trusted(self) -> bool:
        """Whether the host's clock is proven to differ by at most :data:`BOUND`: then it is the one that counts."""
        return self.time - self.least <= BOUND and self.most - self.time <= BOUND

    @property
    def ahead(self) -> float:
        """The seconds that this host's clock is ahead of the clock that counts."""
        return 0.0 if self.trusted or not self.known else self.time - (self.least + self.most) / 2

    @property
    def now(self) -> float:
        """The time by the clock that counts."""
        return self.time - self.ahead

    def left(self, instant: float) -> float:
        """The seconds until an instant has certainly come."""
        return instant - (self.time if self.trusted or not self.known else self.least)

    def reached(self, instant: float, confirmed: bool) -> bool:
        """Whether a model may answer that is due at ``instant``. ``confirmed``: the model service was asked just now."""
        return (self.trusted or confirmed) and self.left(instant) <= 0

    def unusable(self, instant: float) -> str:
        """Why no model can be brought in at an instant (NaN: it is none); empty where one can."""
        if math.isnan(instant):
            return "the pin's notBefore is no time in UTC as RFC 3339"
        try:
            bound(instant, self.now)
        except InstantError as error:
            return f"the notBefore of the pin or its statement {error}"
        return ""

    def pause(self, instant: float) -> float:
        """The seconds until the model service is asked again, or until the instant where it need not be."""
        left = self.left(instant)
        if not self.trusted:
            return min(max(left, SOON), MOST_PAUSE)
        return max(left, 0.0) if left <= LAST else min(max(left - LAST, SOON), MOST_PAUSE)


UNKNOWN = Clock()


class ServiceClock:
    """What is known of the model service's time. It is not thread-safe."""

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._least, self._most, self._at = -math.inf, math.inf, 0.0  # of its time minus the monotonic one, then

    def heard(self, date: str | None, sent: float) -> None:
        """Take the ``Date`` of an answer that has just come. ``sent`` is when it was asked for, monotonic."""
        received = self._monotonic()
        try:
            told = parsedate_to_datetime(date or "").timestamp()
        except (ValueError, TypeError, OverflowError):
            return
        least, most = self._widened(received)
        own = (told - received, told + 1 - sent)
        both = (max(least, own[0]), min(most, own[1]))
        self._least, self._most = both if both[0] <= both[1] else own  # otherwise one of the clocks was set
        self._at = received

    def read(self) -> Clock:
        """Both clocks now."""
        now = self._monotonic()
        least, most = self._widened(now)
        return Clock(self._wall(), now + least, now + most)

    def aim(self, seconds: float) -> float:
        """A pause of about ``seconds``, at most one; so that the next question falls on a turn of the service's second.

        As it is where the uncertainty is below :data:`FINE`.
        """
        now = self._monotonic()
        least, most = self._widened(now)
        if not FINE < most - least < math.inf:
            return seconds
        turn = -(now + (least + most) / 2) % 1.0
        return turn if turn > SOON else turn + 1.0

    def _widened(self, now: float) -> tuple[float, float]:
        drift = DRIFT * (now - self._at)
        return self._least - drift, self._most + drift
