"""The switch, explored: every interleaving of three workers, two bundles, changing pins, crashes and lost messages.

The world below is small and honest: a store with the current generation, a candidate, votes and journal; a model service whose
pin an operator moves A, B, A; workers that are killed and replaced at any step. The explorer visits every reachable state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from services.predict.rollout import state_machine
from services.predict.rollout.state_machine import (
    NOTHING,
    Candidate,
    Generation,
    Outcome,
    PinnedVersion,
    Vote,
)

WORKERS = 3
DEADLINE = 1.0  # of every vote; it is 0.0 o'clock until a vote is late
A, B, BAD = "a" * 64, "b" * 64, "0" * 64


@dataclass(frozen=True)
class Member:
    """A worker process: ``entered`` the roster, ``loaded`` models, its vote, and its leader thread if it leads."""

    entered: bool = False
    loaded: frozenset[str] = frozenset()
    voted: str | None = None
    vote: Vote | None = None
    leader: state_machine.Leader | None = None
    action: state_machine.Action | None = None


@dataclass(frozen=True)
class World:
    """Everything there is. ``faults`` is what may still go wrong."""

    pins: tuple[PinnedVersion, ...]
    faults: int
    members: tuple[Member, ...] = (Member(),) * WORKERS
    current: Generation = NOTHING
    candidate: Candidate | None = None
    attempts: int = 0
    refused: PinnedVersion | None = None
    rehearsed: frozenset[str] = frozenset()
    begun: int = 0

    @property
    def pin(self) -> PinnedVersion:
        return self.pins[0]

    def member(self, i: int, **changes: object) -> World:
        members = list(self.members)
        members[i] = replace(members[i], **changes)  # type: ignore[arg-type]
        return replace(self, members=tuple(members))


def results(world: World, i: int, faults: bool) -> list[tuple[World, state_machine.Result]]:
    """All ways in which the leader's action may turn out."""
    me = world.members[i]
    lossy = faults and world.faults > 0
    harmed = replace(world, faults=world.faults - 1)
    match me.action:
        case state_machine.Recover():
            return [(replace(world, candidate=None), state_machine.Recovered())]
        case state_machine.Poll():
            told = [(world, state_machine.Polled(world.pin, world.current, world.refused))]
            return told + ([(harmed, state_machine.Polled(None, world.current, error="lost"))] if lossy else [])
        case state_machine.Attest(pin):
            assert pin.sha256 == world.current.sha256, "a statement about another model was asked for"
            done = [(world, state_machine.Attested(True))]
            return done + ([(harmed, state_machine.Attested(False))] if lossy else [])
        case state_machine.Stage(pin):
            lost = [(harmed, state_machine.Staged(Outcome.RETRY, "lost", "fetch"))] if lossy else []
            ended = replace(world, begun=0)
            if world.begun >= state_machine.MOST_REHEARSALS:
                return [*lost, (ended, state_machine.Staged(Outcome.REFUSED, "never ended"))]
            if pin.sha256 == BAD:
                return [*lost, (ended, state_machine.Staged(Outcome.REFUSED, "golden rows"))]
            passed = replace(ended, rehearsed=world.rehearsed | {pin.sha256})
            return [*lost, (passed, state_machine.Staged(Outcome.DONE))]
        case state_machine.Propose(pin):
            candidate = Candidate(f"t{world.attempts}", pin.sha256, world.current.number)
            written = replace(world, candidate=candidate, attempts=world.attempts + 1)
            return [(written, state_machine.Proposed(candidate, DEADLINE))]
        case state_machine.Count(candidate):
            votes = {
                str(j): m.vote if m.voted == candidate.attempt else None
                for j, m in enumerate(world.members)
                if m.entered
            }
            counted = [(world, state_machine.Counted(votes))]
            return counted + ([(harmed, state_machine.Counted(votes, DEADLINE + 1))] if lossy else [])
        case state_machine.Commit(candidate):
            after = Generation(world.current.number + 1, candidate.sha256)
            return [(replace(world, current=after, candidate=None), state_machine.Committed())]
        case state_machine.Withdraw():
            return [(replace(world, candidate=None), state_machine.Done())]
        case state_machine.Refuse(pin):
            return [(replace(world, refused=pin, candidate=None), state_machine.Done())]
        case state_machine.Rest():
            check_status(world, me.leader)
            return [(world, state_machine.Done())]
    raise AssertionError(me.action)


def lead_steps(world: World, i: int, faults: bool) -> list[World]:
    me = world.members[i]
    if not me.entered:
        return []
    if me.leader is None:
        if any(m.leader for m in world.members):
            return []
        return [world.member(i, leader=state_machine.Leader(), action=state_machine.FIRST)]
    if isinstance(me.action, state_machine.StepDown):
        return [world.member(i, leader=None, action=None)]
    found = []
    for after, result in results(world, i, faults):
        leader, action = state_machine.lead(me.leader, result)
        found.append(after.member(i, leader=leader, action=action))
    return found


def work_steps(world: World, i: int) -> list[World]:
    me = world.members[i]
    if not me.entered:
        return [world.member(i, entered=True)]
    match state_machine.follow(me.loaded, me.voted, world.current, world.candidate):
        case state_machine.Load(generation):
            return [world.member(i, loaded=me.loaded | {generation.sha256})]
        case state_machine.Prepare(candidate):
            # the oldest model has gone before a third is loaded
            kept = me.loaded & {world.current.sha256}
            loaded = kept | {candidate.sha256}
            return [world.member(i, loaded=loaded, voted=candidate.attempt, vote=Vote.READY)]
        case state_machine.Keep(keep):
            return [world.member(i, loaded=me.loaded & keep)]
    raise AssertionError


def steps(world: World, faults: bool = True) -> list[World]:
    """Every state that may follow."""
    found = []
    for i in range(WORKERS):
        found += lead_steps(world, i, faults)
        found += work_steps(world, i)
        if faults and world.faults > 0:
            found.append(killed(world, i))
    if len(world.pins) > 1:
        found.append(replace(world, pins=world.pins[1:]))
    return found


def killed(world: World, i: int) -> World:
    """Another process takes the place of a worker. A rehearsal that it had begun never ends."""
    begun = world.begun + isinstance(world.members[i].action, state_machine.Stage)
    members = list(world.members)
    members[i] = Member()
    return replace(world, members=tuple(members), begun=begun, faults=world.faults - 1)


def check_status(world: World, leader: state_machine.Leader | None) -> None:
    """What is published while the leader rests is true."""
    assert leader is not None
    current = leader.pin is not None and leader.pin.sha256 == world.current.sha256
    assert leader.confirmed == current, "confirmed is not what the last poll and the current generation say"
    assert not (current and leader.trouble), "a trouble of an earlier pin is still reported"
    assert bool(leader.error) == (leader.pin is None), "a poll without an answer is not reported"
    assert leader.target is None, "a leader that rests still deploys"
    assert leader.candidate is None, "a leader that rests still counts votes"


def check(before: World, after: World) -> None:
    """The promises that hold at every step."""
    if after.current != before.current:
        assert after.current.number == before.current.number + 1, "a generation was skipped or repeated"
        assert after.current.sha256 in after.rehearsed, "a model that no rehearsal passed became current"
        assert after.current.sha256 != BAD, "a bad model became current"
        for member in after.members:
            if member.entered and member.voted is not None:
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
            leader = replace(leader, candidate=same)
            if isinstance(action, state_machine.Count | state_machine.Commit):
                action = replace(action, candidate=same)
        return replace(m, voted=renamed(m.voted), leader=leader, action=action)

    members = tuple(sorted(map(member, world.members), key=repr))
    candidate = replace(world.candidate, attempt="t0") if world.candidate else None
    return replace(world, members=members, candidate=candidate, attempts=1)


def explore(start: World) -> list[World]:
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


def settle(world: World) -> World:
    """Faults off and restarts forbidden: every thread steps in turn until the pin is reached or refused."""
    for _ in range(120):
        if world.refused == world.pin or arrived(world):
            break
        for i in range(WORKERS):
            for part in (lead_steps_of(i), work_steps_of(i)):
                for after in part(world)[:1]:
                    check(world, after)
                    world = after
    return world


def arrived(world: World) -> bool:
    """The pinned model is current, and every worker has it."""
    ready = all(world.current.sha256 in member.loaded for member in world.members)
    return world.current.sha256 == world.pin.sha256 and ready


PINS = {
    "A, B, A": (PinnedVersion(A, "1"), PinnedVersion(B, "2"), PinnedVersion(A, "3")),
    "A, bad, B": (PinnedVersion(A, "1"), PinnedVersion(BAD, "2"), PinnedVersion(B, "3")),
    "bad, bad again": (PinnedVersion(BAD, "1"), PinnedVersion(BAD, "2")),
}


@pytest.mark.parametrize("pins", PINS.values(), ids=PINS.keys())
def test_every_interleaving_keeps_the_promises_and_reaches_the_pin(pins: tuple[PinnedVersion, ...]) -> None:
    """At every step of every interleaving no promise is broken; from every state, once faults stop, the pin is reached."""
    worlds = explore(World(pins, faults=1))
    assert any(w.current.number >= 1 for w in worlds) or pins[0].sha256 == BAD
    assert any(w.refused for w in worlds), "no run saw a refusal: the exploration proved less than it says"
    final = pins[-1]
    for world in worlds:
        if len(world.pins) > 1:
            continue
        end = settle(world)
        if final.sha256 == BAD or end.refused == final:
            assert end.current.sha256 != BAD
        else:
            assert arrived(end), "the pin was not reached without a restart"
