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


def test_an_empty_roster_never_commits() -> None:
    """Nobody having voted is not everybody being ready."""
    pin = PinnedVersion(A, "1")
    candidate = Candidate("t", A, 0)
    leader = state_machine.Leader(state_machine.Phase.PREPARING, target=pin, candidate=candidate, deadline=DEADLINE)
    assert state_machine.lead(leader, state_machine.Counted({}))[1] == state_machine.Count(candidate)


def test_a_result_that_does_not_follow_is_an_error() -> None:
    """The machine does not guess."""
    with pytest.raises(ValueError, match="does not follow"):
        state_machine.lead(state_machine.Leader(state_machine.Phase.STAGING), state_machine.Done())


def watching(**known: object) -> state_machine.Leader:
    return replace(state_machine.Leader(state_machine.Phase.WATCHING), **known)  # type: ignore[arg-type]


def test_a_leader_goes_on_from_what_the_one_before_published() -> None:
    """Confirmed since when, and the challenger. The first poll is short while the replica has not settled, and only then."""
    first = state_machine.Leader()
    leader, action = state_machine.lead(first, state_machine.Recovered(True, 12.0, "c1", settled=False))
    assert (leader.confirmed, leader.since, leader.challenger) == (True, 12.0, "c1")
    assert action == state_machine.Poll(state_machine.FIRST_POLL)
    assert state_machine.lead(first, state_machine.Recovered(settled=True))[1] == state_machine.Poll()
    assert state_machine.lead(leader, state_machine.Done()) == (replace(leader, settled=True), state_machine.Poll())


def test_confirmed_has_the_time_of_its_last_change_only() -> None:
    """A poll that changes nothing leaves it; an error, another pin and the switch change it."""
    a, b = PinnedVersion(A, "1"), PinnedVersion(B, "2")
    current = Generation(1, A)
    leader = watching(attested=a)
    told = []
    for time, polled in enumerate(
        (
            state_machine.Polled(a, current),
            state_machine.Polled(a, current),
            state_machine.Polled(None, current, error="lost"),
            state_machine.Polled(None, current, error="lost"),
            state_machine.Polled(a, current),
            state_machine.Polled(b, current),
        ),
        start=1,
    ):
        leader, _ = state_machine.lead(leader, replace(polled, time=float(time)))
        told.append((leader.confirmed, leader.since))
    assert told == [(True, 1), (True, 1), (False, 3), (False, 3), (True, 5), (False, 6)]
    committing = replace(leader, phase=state_machine.Phase.COMMITTING)
    after, action = state_machine.lead(committing, state_machine.Committed(9.0))
    assert (after.confirmed, after.since, action) == (True, 9.0, state_machine.Rest())


def test_a_deployment_is_timed_from_the_first_poll_that_told_of_its_pin() -> None:
    """A retry does not begin anew; another pin does."""
    a, b = PinnedVersion(A, "1"), PinnedVersion(B, "2")
    leader, began = watching(), []
    for now, pin in enumerate((a, a, b, b), start=1):
        leader, _ = state_machine.lead(leader, state_machine.Polled(pin, now=float(now)))
        began.append(leader.began)
        leader, _ = state_machine.lead(leader, state_machine.Staged(Outcome.RETRY, "lost", "fetch"))
    assert began == [1, 1, 3, 3]


def test_the_pause_doubles_up_to_a_second_and_a_success_ends_that() -> None:
    """Failed polls and failed downloads alike; however many there are."""
    pin = PinnedVersion(A, "1")
    leader, action = state_machine.lead(watching(), state_machine.Polled(None, error="lost"))
    pauses = [action.at_most]  # type: ignore[union-attr]
    for _ in range(2000):
        leader, _ = state_machine.lead(leader, state_machine.Polled(pin))
        leader, action = state_machine.lead(leader, state_machine.Staged(Outcome.RETRY, "lost", "fetch"))
        pauses.append(action.at_most)  # type: ignore[union-attr]
    assert pauses[:5] == [0.1, 0.2, 0.4, 0.8, 1.0]
    assert set(pauses[5:]) == {1.0}
    leader, action = state_machine.lead(leader, state_machine.Polled(pin, refused=pin))
    assert (action, leader.failures) == (state_machine.Rest(), 0)


def test_three_failed_polls_in_a_row_give_the_lead_up() -> None:
    """One that succeeds between them begins the count anew."""
    a = PinnedVersion(A, "1")
    good = state_machine.Polled(a, Generation(1, A))
    bad = state_machine.Polled(None, error="lost")
    leader, actions = watching(attested=a), []
    for polled in (bad, bad, good, bad, bad, bad):
        leader, action = state_machine.lead(leader, polled)
        actions.append(isinstance(action, state_machine.StepDown))
    assert actions == [False] * 5 + [True]


def test_a_statement_is_asked_for_once_per_pin_of_the_current_model() -> None:
    """Until the model service answers. After a switch it is known: it came with the model."""
    a, current = PinnedVersion(A, "1"), Generation(1, A)
    leader, action = state_machine.lead(watching(), state_machine.Polled(a, current))
    assert action == state_machine.Attest(a)
    leader, action = state_machine.lead(leader, state_machine.Attested(False))
    assert action == state_machine.Rest()
    leader, action = state_machine.lead(leader, state_machine.Polled(a, current))
    assert action == state_machine.Attest(a)
    leader, _ = state_machine.lead(leader, state_machine.Attested(True))
    assert state_machine.lead(leader, state_machine.Polled(a, current))[1] == state_machine.Rest()
    again = PinnedVersion(A, "2")
    assert state_machine.lead(leader, state_machine.Polled(again, current))[1] == state_machine.Attest(again)
    switched = watching(phase=state_machine.Phase.COMMITTING, target=again)
    leader, _ = state_machine.lead(switched, state_machine.Committed())
    assert state_machine.lead(leader, state_machine.Polled(again, current))[1] == state_machine.Rest()


def test_a_poll_without_an_answer_forgets_the_pin_and_not_the_challenger() -> None:
    """Nothing is wanted then; the challenger that was pinned goes on."""
    a = PinnedVersion(A, "1")
    leader, _ = state_machine.lead(watching(), state_machine.Polled(a, Generation(1, A), challenger="c1"))
    leader, _ = state_machine.lead(leader, state_machine.Polled(None, error="lost"))
    assert (leader.pin, leader.challenger, leader.error) == (None, "c1", "lost")
    leader, _ = state_machine.lead(leader, state_machine.Polled(a, Generation(1, A)))
    assert (leader.pin, leader.challenger, leader.error) == (a, None, "")


def test_a_trouble_is_told_until_it_is_over() -> None:
    """Staged, refused, or another pin."""
    pin, current = PinnedVersion(B, "2"), Generation(1, A)
    leader, _ = state_machine.lead(watching(), state_machine.Polled(pin, current))
    leader, _ = state_machine.lead(leader, state_machine.Staged(Outcome.RETRY, "lost", "fetch"))
    leader, action = state_machine.lead(leader, state_machine.Polled(pin, current))
    assert (leader.trouble, action) == ("lost", state_machine.Stage(pin))
    for staged in (state_machine.Staged(Outcome.DONE), state_machine.Staged(Outcome.REFUSED, "golden rows", "golden")):
        assert state_machine.lead(leader, staged)[0].trouble == ""
    watch = replace(leader, phase=state_machine.Phase.WATCHING)
    assert state_machine.lead(watch, state_machine.Polled(PinnedVersion(A, "3"), current))[0].trouble == ""


def test_votes_count_until_the_deadline() -> None:
    """One that is missing then is a refusal; a veto is one at any time."""
    pin = PinnedVersion(A, "1")
    candidate = Candidate("t", A, 0)
    leader = watching(phase=state_machine.Phase.PREPARING, target=pin)
    leader, action = state_machine.lead(leader, state_machine.Proposed(candidate, 5.0))
    assert action == state_machine.Count(candidate)
    some = {"1": Vote.READY, "2": None}
    assert state_machine.lead(leader, state_machine.Counted(some, 5.0))[1] == state_machine.Count(candidate)
    late = state_machine.lead(leader, state_machine.Counted(some, 5.1))[1]
    assert late == state_machine.Refuse(pin, "a worker did not prepare it in time", "late")
    veto = state_machine.lead(leader, state_machine.Counted({"1": Vote.VETO, "2": None}, 0.0, "no memory"))[1]
    assert veto == state_machine.Refuse(pin, "a worker could not prepare it: no memory", "veto")


def test_a_pin_that_is_not_the_same_when_all_are_ready_is_withdrawn() -> None:
    """Another one, the same model pinned again, and no answer alike."""
    pin, candidate = PinnedVersion(B, "2"), Candidate("t", B, 1)
    confirming = watching(phase=state_machine.Phase.CONFIRMING, target=pin, candidate=candidate)
    for found in (PinnedVersion(A, "3"), PinnedVersion(B, "3"), None):
        assert state_machine.lead(confirming, state_machine.Polled(found))[1] == state_machine.Withdraw()
    assert state_machine.lead(confirming, state_machine.Polled(pin))[1] == state_machine.Commit(candidate)


def test_a_leader_that_rests_has_neither_a_target_nor_an_old_trouble() -> None:
    """After a switch, a failed download, and a pin that was refused before."""
    pin, candidate = PinnedVersion(B, "2"), Candidate("t", B, 1)
    switched = watching(phase=state_machine.Phase.COMMITTING, target=pin, candidate=candidate)
    leader, _ = state_machine.lead(switched, state_machine.Committed())
    assert (leader.target, leader.candidate) == (None, None)
    staging = watching(phase=state_machine.Phase.STAGING, target=pin)
    leader, _ = state_machine.lead(staging, state_machine.Staged(Outcome.RETRY, "lost", "fetch"))
    assert (leader.target, leader.trouble) == (None, "lost")
    for polled in (state_machine.Polled(pin, refused=pin), state_machine.Polled(pin, Generation(1, B))):
        known = replace(leader, attested=pin)
        assert state_machine.lead(known, polled)[0].trouble == ""
