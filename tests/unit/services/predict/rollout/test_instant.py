"""A pin with an instant, explored: what one host answers with, whatever its clock says, and whatever happens before."""

from __future__ import annotations

import pytest

from services.predict.rollout.instant.clock import BOUND
from services.predict.rollout.protocol import PinnedVersion
from services.predict.rollout.state_machine import Phase
from tests.unit.services.predict.rollout import test_state_machine as exploring
from tests.unit.services.predict.rollout.world import BAD, HANGS, WIDTH, A, B, C, Member, World, replace

T = 1e9 + 10.0
HOURS = (T - 100, T - 1, T + 0.1, T + 0.6)  # early, time to prepare, just after the instant, and too late
FAST = (T - 100, T - 1, T - 0.1, T + 0.6)  # the same, where the host's clock is a little fast
DUE = PinnedVersion(B, "2", not_before=T)
FIRST, LAST = PinnedVersion(A, "1"), PinnedVersion(A, "3")


def check(before: World, after: World) -> None:
    """The promises of the switch, and those about the instant: the model service's time is the true one."""
    exploring.check(before, after)
    now, skew, switched = after.hours[0], after.skew or 0.0, after.current != before.current
    if switched and after.current.sha256 == B:
        assert now >= T - BOUND, "a model answers before its instant"
        assert now >= T or abs(skew) <= BOUND, "a clock that is wrong brought the instant"
    told = after.schedule is not None and after.schedule.sha256 == B
    if told and now > T + 2 * BOUND + WIDTH and after.refused != DUE:
        assert after.silent or after.current.sha256 == B, "a host goes on answering with the model before"
    assert not after.silent or now >= T - BOUND, "a host is silent before the instant"
    assert not (after.silent and after.refused == DUE), "a host is silent for a model that was taken back"


def explore(*pins: PinnedVersion, skew: float | None, workers: int = 1, **more: object) -> list[World]:
    """Every state of one host. Hosts do not talk to each other, so what holds for each at a time holds for all."""
    start = World(pins, faults=1, members=(Member(),) * workers, hours=FAST if skew == 0.2 else HOURS, skew=skew)
    return exploring.explore(replace(start, **more), check)  # type: ignore[arg-type]


PINS = {
    "A, B due": (FIRST, DUE),
    "A, B due, taken back": (FIRST, DUE, LAST),
    "A, B due, C at once": (FIRST, DUE, PinnedVersion(C, "3")),
    "A, B due, C due": (FIRST, DUE, PinnedVersion(C, "3", not_before=T + 0.3)),
    "A, bad one due, B due": (FIRST, PinnedVersion(BAD, "2", not_before=T), replace(DUE, id="3")),
    "A, one that hangs due": (FIRST, PinnedVersion(HANGS, "2", not_before=T)),
}


SKEWS = (0.2, -0.2, 5.0, -5.0, None)  # seconds; with None the model service never told its time
BACK = "A, B due, taken back"
CASES = [pytest.param(BACK, skew, marks=pytest.mark.slow if skew in (0.2, -5.0) else ()) for skew in SKEWS]
LONG = "A, B due, C due"
CASES += [pytest.param(name, -0.2, marks=pytest.mark.slow if name == LONG else ()) for name in PINS if name != BACK]


@pytest.mark.parametrize(("name", "skew"), CASES)
def test_whatever_the_clock_says_nothing_is_early_stale_or_taken_back_and_the_last_pin_wins(
    name: str, skew: float | None
) -> None:
    """A crash, a lost answer, a change of the pin at every step before, at and after the instant."""
    pins = PINS[name]
    worlds = explore(*pins, skew=skew)
    flipped = [w for w in worlds if w.current.sha256 == pins[1].sha256]
    assert bool(flipped) == (pins[1].sha256 == B), "no run switched: the exploration proved less than it says"
    assert any(w.silent for w in worlds), "no run was late: the exploration proved less than it says"
    arrives(worlds, pins[-1])


def arrives(worlds: list[World], last: PinnedVersion) -> None:
    """From every state, once faults stop, and without a restart, the last pin is reached; one that hangs is refused."""
    known: dict[World, World] = {}
    for world in worlds:
        if len(world.pins) == 1:
            end = exploring.settle(world, known)
            assert not end.silent, "a host stays silent"
            assert exploring.arrived(end) or (end.refused == last and last.sha256 == HANGS), (
                "the last pin is not reached"
            )


@pytest.mark.slow
def test_two_workers_keep_the_same_promises() -> None:
    """One leads after the other, and takes over what it had staged."""
    worlds = explore(FIRST, DUE, skew=-0.2, workers=2)
    assert any(w.current.sha256 == B for w in worlds)
    arrives(worlds, DUE)


def test_a_model_that_came_at_an_instant_is_on_probation_like_any_other() -> None:
    """It is taken back on evidence, and then the host goes on with the model before, although another was due."""
    worlds = explore(FIRST, DUE, skew=0.2, watches=True, unfit=frozenset({B}))
    back = [w for w in worlds if w.current.sha256 == A and w.current.number == 3]
    assert back, "no run took the model back: the exploration proved less than it says"
    assert not any(w.silent for w in back)


@pytest.mark.slow
def test_a_model_on_probation_is_judged_while_another_is_held() -> None:
    """An unfit model goes before the instant of the next, and that one comes all the same."""
    pins = (FIRST, PinnedVersion(C, "0"), DUE)
    worlds = explore(*pins, skew=-5.0, watches=True, unfit=frozenset({C}))
    held = [
        m.leader for w in worlds for m in w.members if m.leader and m.leader.candidate and m.leader.candidate.pin == "2"
    ]
    assert any(leader.phase is Phase.JUDGING for leader in held)
    assert any(w.condemned and w.probation and w.probation.pin.sha256 == C for w in worlds), "C is never taken back"
    known: dict[World, World] = {}
    ends = [exploring.settle(w, known) for w in worlds if len(w.pins) == 1]
    assert {end.current.sha256 for end in ends} == {B}
