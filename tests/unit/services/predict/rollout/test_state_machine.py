"""The switch, explored: every interleaving of three workers, two bundles, changing pins, crashes and lost messages.

The explorer visits every state of the world in :mod:`tests.unit.services.predict.rollout.world` and checks the promises at each
step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from services.predict.rollout import protocol
from services.predict.rollout.protocol import NOBODY, PinnedVersion
from tests.unit.services.predict.rollout.world import (
    BAD,
    HANGS,
    A,
    B,
    C,
    Member,
    World,
    failing,
    lead_steps,
    replace,
    steps,
    work_steps,
)


def check(before: World, after: World) -> None:
    """The promises that hold at every step."""
    if after.current != before.current:
        assert after.current.number == before.current.number + 1, "a generation was skipped or repeated"
        back = before.probation is not None and before.condemned == before.current.number
        assert not back or after.current.sha256 == before.probation.fallback, (
            "a condemned model was not taken back first"
        )  # type: ignore[union-attr]
        assert after.current.sha256 in {*after.rehearsed, ""}, "a model that no rehearsal passed became current"
        assert after.current.sha256 not in (BAD, HANGS), "a bad model became current"
        for member in after.members:
            if member.entered and member.voted is not None and after.current.sha256 and not back:
                assert after.current.sha256 in member.loaded, "the flip came before a worker that had voted was ready"
    for member in after.members:
        assert len(member.loaded) <= 2, "more than two models are alive in a worker"
    assert sum(m.leader is not None for m in after.members) <= 1


def canonical(world: World) -> World:
    """Workers are alike: their order does not matter. Attempts are renamed, so that the space is finite."""
    now = world.candidate.attempt if world.candidate else None

    def renamed(attempt: str | None) -> str | None:
        return None if attempt is None else ("t0" if attempt == now else "old")

    def member(m: Member) -> Member:
        leader, action = m.leader, m.action
        if leader is not None and leader.candidate is not None:
            same = replace(leader.candidate, attempt=renamed(leader.candidate.attempt) or "")
            if same == leader.candidate:
                return m if renamed(m.voted) == m.voted else replace(m, voted=renamed(m.voted))
            leader = replace(leader, candidate=same)
            if isinstance(action, protocol.Count | protocol.Commit):
                action = replace(action, candidate=same)
        voted = renamed(m.voted)
        return m if voted == m.voted and leader is m.leader else replace(m, voted=voted, leader=leader, action=action)

    members = tuple(sorted(map(member, world.members), key=hash))  # any order that is the same for the same members
    candidate = replace(world.candidate, attempt="t0") if world.candidate else None
    return replace(world, members=members, candidate=candidate, attempts=1)


def explore(start: World, check: Callable[[World, World], None] = check) -> list[World]:
    """Every state reachable from ``start``, each step checked."""
    seen = {canonical(start)}
    queue = deque(seen)
    while queue:
        world = queue.popleft()
        for after in steps(world):
            check(world, after)
            after = canonical(after)
            if after not in seen:
                seen.add(after)
                queue.append(after)
    return list(seen)


def lead_steps_of(i: int) -> Callable[[World], list[World]]:
    return lambda world: lead_steps(world, i, False)


def work_steps_of(i: int) -> Callable[[World], list[World]]:
    return lambda world: work_steps(world, i)


def settle(world: World, known: dict[World, World]) -> World:
    """Faults off and restarts forbidden: every thread steps in turn until the pin is reached or refused.

    ``known`` has the ends of the worlds that were settled before: many ways lead into one.
    """
    passed = []
    world = canonical(world)
    while world not in known:
        passed.append(world)
        known[world] = world  # the end, if it comes back to this
        world = canonical(played(world))
    end = known[world]
    for one in passed:
        known[one] = end
    return end


def played(world: World) -> World:
    """A round of every thread; the same world where nothing is left to do."""
    if failing(world):
        world = replace(world, seen=world.current.number)
    condemned = world.probation is not None and world.seen == world.current.number
    if (world.refused == world.pin or arrived(world)) and not (condemned or world.silent):
        return world
    for i in range(len(world.members)):
        for part in (lead_steps_of(i), work_steps_of(i)):
            for after in part(world)[:1]:
                check(world, after)
                world = after
    return replace(world, hours=world.hours[1:]) if len(world.hours) > 1 else world


def arrived(world: World) -> bool:
    """The pinned model is current, and every worker has it."""
    ready = all(world.current.sha256 in {*member.loaded, ""} for member in world.members)
    return (world.current.sha256, world.current.share) == (world.pin.sha256, world.pin.share) and ready


PINS = {
    "A, B, A": (PinnedVersion(A, "1"), PinnedVersion(B, "2"), PinnedVersion(A, "3")),
    "A, bad, B": (PinnedVersion(A, "1"), PinnedVersion(BAD, "2"), PinnedVersion(B, "3")),
    "A, hangs, B": (PinnedVersion(A, "1"), PinnedVersion(HANGS, "2"), PinnedVersion(B, "3")),
    "A, hangs": (PinnedVersion(A, "1"), PinnedVersion(HANGS, "2")),
    "bad, bad again": (PinnedVersion(BAD, "1"), PinnedVersion(BAD, "2")),
}
LONG = ("A, hangs, B", "A, bad, B")


@pytest.mark.slow
def test_every_interleaving_of_probations_returns_to_the_model_before_and_to_no_other() -> None:
    """A, an unfit B, then C, which is on probation too: B is taken back on evidence only, and nobody ever returns to it."""
    pins = (PinnedVersion(A, "1"), PinnedVersion(B, "2"), PinnedVersion(C, "3"))
    for unfit in (frozenset({B}), frozenset({B, C})):
        worlds = explore(World(pins, faults=1, members=(Member(),) * 2, watches=True, unfit=unfit))
        back = [w for w in worlds if w.current.sha256 == A and w.current.number == 3]
        assert back, "no run took the unfit model back: the exploration proved less than it says"
        assert any(w.probation and w.probation.fallback == A and w.current.sha256 == C for w in worlds)
        known: dict[World, World] = {}
        for world in worlds:
            if len(world.pins) > 1:
                continue
            end = settle(world, known)
            if C in unfit:
                assert end.current.sha256 != C or end.seen != end.current.number, "an unfit model goes on answering"
            else:
                assert arrived(end), "the pin was not reached without a restart"


SHARES = {
    "A, nobody, A": (PinnedVersion(A, "1", share=10), NOBODY, PinnedVersion(A, "3", share=10)),
    "A, more of A, nobody": (PinnedVersion(A, "1", share=10), PinnedVersion(A, "2", share=20), NOBODY),
    "A, bad, nobody": (PinnedVersion(A, "1", share=10), PinnedVersion(BAD, "2", share=10), NOBODY),
    "A, B": (PinnedVersion(A, "1", share=10), PinnedVersion(B, "2", share=10)),
}


@pytest.mark.parametrize("unfit", [frozenset(), frozenset({A})], ids=["fit", "unfit"])
@pytest.mark.parametrize("pins", SHARES.values(), ids=SHARES.keys())
def test_every_interleaving_of_shares_ends_at_the_share_that_is_wanted(
    pins: tuple[PinnedVersion, ...], unfit: frozenset[str]
) -> None:
    """A challenger that is unfit, or not wanted any more, is retired for the champion, and for no other challenger."""
    worlds = explore(World(pins, faults=1, members=(Member(),) * 2, watches=True, unfit=unfit))
    assert any(w.current.number > 1 and not w.current.sha256 for w in worlds) or not (unfit or NOBODY in pins)
    assert all(r.fallback == "" for w in worlds for r in w.records), "a challenger would be followed by another one"
    known: dict[World, World] = {}
    for world in worlds:
        if len(world.pins) > 1:
            continue
        end = settle(world, known)
        assert end.current.sha256 not in unfit or end.seen != end.current.number, (
            "an unfit challenger goes on answering"
        )
        assert arrived(end) or end.refused == pins[-1], "the share that is wanted was not reached without a restart"


@pytest.mark.parametrize(
    "pins", [pytest.param(pins, id=name, marks=[pytest.mark.slow] * (name in LONG)) for name, pins in PINS.items()]
)
def test_every_interleaving_keeps_the_promises_and_reaches_the_pin(pins: tuple[PinnedVersion, ...]) -> None:
    """At every step of every interleaving no promise is broken; from every state, once faults stop, the pin is reached."""
    worlds = explore(World(pins, faults=1))
    assert any(w.current.number >= 1 for w in worlds) or pins[0].sha256 == BAD
    bad = {pin for pin in pins if pin.sha256 in (BAD, HANGS)}
    assert {w.refused for w in worlds} - {None} == bad, "a good pin was refused, or no run refused a bad one"
    assert any(m.leader and m.leader.trouble.startswith("late") for w in worlds for m in w.members) or pins[0] in bad, (
        "no vote was late: the exploration proved less than it says"
    )
    final = pins[-1]
    known: dict[World, World] = {}
    for world in worlds:
        if len(world.pins) > 1:
            continue
        end = settle(world, known)
        if final.sha256 in (BAD, HANGS):
            assert end.refused == final, "a model that can never answer was not refused"
        else:
            assert arrived(end), "the pin was not reached without a restart"
