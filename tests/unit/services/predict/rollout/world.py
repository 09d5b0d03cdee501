"""A small world in which replicas switch models: everything there is, and every way in which its next step may turn out.

A store with the current generation, a candidate, votes, probations and a journal; a model service whose pin an operator moves;
workers that are killed and replaced at any step, also in the middle of an action.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from services.predict.rollout import protocol, state_machine
from services.predict.rollout.instant.clock import Clock
from services.predict.rollout.instant.schedule import Schedule, scheduled
from services.predict.rollout.protocol import NOBODY, NOTHING, Candidate, Generation, Outcome, PinnedVersion, Vote
from services.predict.rollout.rules import follow

T = TypeVar("T")
WORKERS = 3
DEADLINE = 1.0  # of every vote; it is 0.0 o'clock until a vote is late
A, B, C, BAD, HANGS = "a" * 64, "b" * 64, "c" * 64, "0" * 64, "f" * 64
WIDTH = 0.02  # seconds by which the model service's time is not known exactly
LATER = 1e6  # o'clock, of every poll: what waited has waited long enough


def replace(one: T, **changes: Any) -> T:
    """``dataclasses.replace``; a copy of the attributes where that is the same, because explorations do little else."""
    if not hasattr(one, "__dict__"):
        return dataclasses.replace(one, **changes)  # type: ignore[type-var]
    assert changes.keys() <= one.__dict__.keys(), changes.keys() - one.__dict__.keys()
    new: T = object.__new__(type(one))
    new.__dict__.update(one.__dict__, **changes)
    new.__dict__.pop("hash", None)
    return new


def computed_once(one: object) -> int:
    """The hash of a :class:`Member` or a :class:`World`."""
    if "hash" not in one.__dict__:
        one.__dict__["hash"] = hash(tuple(one.__dict__.values()))
    found: int = one.__dict__["hash"]
    return found


@dataclass(frozen=True)
class Member:
    """A worker process: ``entered`` the roster, ``loaded`` models, its vote, and its leader thread if it leads.

    ``serving`` is the model that its last request used, ``told`` the pin that its leader heard of last.
    """

    entered: bool = False
    loaded: frozenset[str] = frozenset()
    serving: str = ""
    voted: str | None = None
    vote: Vote | None = None
    leader: state_machine.Leader | None = None
    action: protocol.Action | None = None
    told: PinnedVersion | None = None
    __hash__ = computed_once


@dataclass(frozen=True)
class World:
    """Everything there is. ``faults`` is what may still go wrong.

    ``hung`` are the pins whose model hung in a worker, which was ended; :data:`HANGS` hangs in every worker and in no rehearsal.
    ``records`` are the probations by generation, ``unfit`` the models that fail requests, ``seen`` the generation of which the
    workers have evidence, ``condemned`` the generation that the refusal names, ``doubted`` the models whose probation did not end
    well, ``gone`` whether an earlier pin took the challenger away.

    ``hours`` are the times of the model service that are still to come, the first is now; ``skew`` is how far the host's clock is
    ahead of it (None: nothing is known of that), ``schedule`` what the leader published of a pin with an instant.
    """

    pins: tuple[PinnedVersion, ...]
    faults: int
    members: tuple[Member, ...] = (Member(),) * WORKERS
    current: Generation = NOTHING
    candidate: Candidate | None = None
    attempts: int = 0
    refused: PinnedVersion | None = None
    rehearsed: frozenset[str] = frozenset()
    begun: int = 0
    hung: frozenset[str] = frozenset()
    watches: bool = False
    unfit: frozenset[str] = frozenset()
    records: frozenset[protocol.Probation] = frozenset()
    seen: int = 0
    condemned: int = 0
    doubted: frozenset[str] = frozenset()
    gone: frozenset[PinnedVersion] = frozenset()
    hours: tuple[float, ...] = (0.0,)
    skew: float | None = None
    schedule: Schedule | None = None
    __hash__ = computed_once

    @property
    def probation(self) -> protocol.Probation | None:
        """That of the current generation."""
        found = [r for r in self.records if (r.generation, r.pin.sha256) == (self.current.number, self.current.sha256)]
        return found[0] if found else None

    @property
    def pin(self) -> PinnedVersion:
        return self.pins[0]

    @property
    def clock(self) -> Clock:
        """What the leader knows of the time now."""
        now = self.hours[0]
        return Clock(now) if self.skew is None else Clock(now + self.skew, now - WIDTH, now + WIDTH)

    @property
    def silent(self) -> bool:
        """Whether no worker answers with the current model, because another one is due."""
        return self.schedule is not None and self.schedule.overdue(self.current, self.clock.time)

    def member(self, i: int, **changes: object) -> World:
        members = list(self.members)
        members[i] = replace(members[i], **changes)  # type: ignore[arg-type]
        return replace(self, members=tuple(members))


def results(world: World, i: int, faults: bool) -> list[tuple[World, protocol.Result]]:
    """All ways in which the leader's action may turn out."""
    me = world.members[i]
    lossy = faults and world.faults > 0
    world = published(world, i)
    harmed = replace(world, faults=world.faults - 1)
    match me.action:
        case protocol.Recover():
            record = world.probation
            condemned = record is not None and world.condemned == record.generation
            known = protocol.Recovered(probation=record, condemned=condemned)
            if due := world.schedule:
                known = replace(known, bound=due.id if due.binding else "")
                if due.staged:
                    known = replace(known, staged=PinnedVersion(due.sha256, due.id), instant=due.instant)
            return [(replace(world, candidate=None), known)]
        case protocol.Poll():
            told = [(world, protocol.Polled(world.pin, world.current, world.refused, now=LATER, clock=world.clock))]
            lost = protocol.Polled(None, world.current, error="lost", clock=world.clock)
            return told + ([(harmed, lost)] if lossy else [])
        case protocol.Attest(pin):
            assert pin.sha256 == world.current.sha256, "a statement about another model was asked for"
            done = [(world, protocol.Attested(True))]
            return done + ([(harmed, protocol.Attested(False))] if lossy else [])
        case protocol.Stage(pin):
            lost = [(harmed, protocol.Staged(Outcome.RETRY, "lost", "fetch"))] if lossy else []
            ended = replace(world, begun=0)
            if world.begun >= state_machine.MOST_REHEARSALS:
                return [*lost, (ended, protocol.Staged(Outcome.REFUSED, "never ended"))]
            if pin.sha256 == BAD:
                return [*lost, (ended, protocol.Staged(Outcome.REFUSED, "golden rows"))]
            passed = replace(ended, rehearsed=world.rehearsed | {pin.sha256})
            return [*lost, (passed, protocol.Staged(Outcome.DONE))]
        case protocol.Propose(pin):
            candidate = Candidate(f"t{world.attempts}", pin.sha256, world.current.number, pin.id)
            written = replace(world, candidate=candidate, attempts=world.attempts + 1)
            return [(written, protocol.Proposed(candidate, DEADLINE))]
        case protocol.Count(candidate):
            votes = {
                str(j): m.vote if m.voted == candidate.attempt else None
                for j, m in enumerate(world.members)
                if m.entered
            }
            counted = [(world, protocol.Counted(votes))]
            return counted + ([(harmed, protocol.Counted(votes, DEADLINE + 1, "late"))] if lossy else [])
        case protocol.Commit(candidate, pin, fallback):
            assert pin != NOBODY, "nobody was brought in"
            assert me.told == pin, "a pin was followed that had been taken back"
            after = tidied(renamed(recorded(world, candidate, pin, fallback), candidate.sha256, pin.share))
            return [(after, protocol.Committed(probation=after.probation))]
        case protocol.Judge(probation):
            assert probation == world.probation, "a leader judges what is not current"
            if world.seen == probation.generation:
                return [(world, protocol.Judged("unfit"))]
            return [(world, protocol.Judged()), (world, protocol.Judged(over=True))]
        case protocol.Revert(probation):
            assert world.seen == probation.generation, "a model was taken back without evidence"
            assert world.condemned == probation.generation, "a model was taken back before that was remembered"
            assert probation.fallback not in world.doubted, "a model in doubt is returned to"
            return [(tidied(renamed(unscheduled(world), probation.fallback)), protocol.Done())]
        case protocol.Retire():
            assert world.pin == NOBODY or NOBODY in world.gone, "a challenger was retired that nobody took away"
            return [(tidied(renamed(world, "")), protocol.Done())]
        case protocol.Acquit(probation):
            acquitted = replace(world, records=frozenset(), seen=0, doubted=world.doubted - {probation.pin.sha256})
            return [(acquitted, protocol.Done())]
        case protocol.Await(seconds):
            assert 0 <= seconds <= 1, "the pin is not asked for in time"
            return [(world, protocol.Awaited(world.clock, world.current))]
        case protocol.Withdraw():
            return [(replace(world, candidate=None), protocol.Done())]
        case protocol.Refuse(pin, _, kind, generation):
            assert (kind == "probation") == (generation > 0)
            return [(replace(world, refused=pin, candidate=None, condemned=generation), protocol.Done())]
        case protocol.Rest():
            check_status(world, me.leader)
            return [(world, protocol.Done())]
    raise AssertionError(me.action)


def published(world: World, i: int) -> World:
    """What all workers know once the leader performs its action."""
    leader = world.members[i].leader
    if leader is None or leader.pin is None:
        return world
    if not isinstance(world.members[i].action, protocol.Stage | protocol.Rest | protocol.Await):
        return world
    return replace(world, schedule=scheduled(leader))


def unscheduled(world: World) -> World:
    """What was due has come, or is about to be taken back."""
    due = world.schedule
    return replace(world, schedule=None) if due and due.sha256 == world.current.sha256 else world


def recorded(world: World, candidate: Candidate, pin: PinnedVersion, fallback: str | None) -> World:
    """The record of the next generation is written; the link is not renamed yet."""
    after = Generation(world.current.number + 1, candidate.sha256, pin.share)
    record = protocol.Probation(after.number, pin, fallback, 0.0) if fallback is not None and world.watches else None
    others = {r for r in world.records if (r.generation, r.pin.sha256) != (after.number, after.sha256)}
    return replace(world, records=frozenset(others | ({record} if record else set())))


def renamed(world: World, sha256: str, share: float = 0.0) -> World:
    """The link is renamed; nothing is tidied up yet. A model that leaves while it is on probation stays in doubt."""
    doubted = world.doubted | ({world.current.sha256} if world.probation else frozenset())
    after = replace(world, current=Generation(world.current.number + 1, sha256, share), doubted=doubted)
    return after if after.probation else replace(after, doubted=after.doubted - {sha256})


def tidied(world: World) -> World:
    """What is left of other generations has gone."""
    record, world = world.probation, unscheduled(world)
    return replace(world, candidate=None, records=frozenset({record} if record else ()), seen=0)


def halfway(world: World, i: int) -> list[World]:
    """What a leader that is killed in the middle of its action leaves."""
    match world.members[i].action:
        case protocol.Commit(candidate, pin, fallback):
            written = recorded(world, candidate, pin, fallback)
            return [written, renamed(written, candidate.sha256, pin.share)]
        case protocol.Revert(probation):
            left = unscheduled(world)
            return [left, renamed(left, probation.fallback)]
        case protocol.Stage() | protocol.Await():
            return [published(world, i)]
        case protocol.Retire():
            return [renamed(world, "")]
        case protocol.Refuse(pin, _, _, generation):
            return [replace(world, refused=pin, condemned=generation)]
    return []


def lead_steps(world: World, i: int, faults: bool) -> list[World]:
    me = world.members[i]
    if not me.entered:
        return []
    if me.leader is None:
        if any(m.leader for m in world.members):
            return []
        return [world.member(i, leader=state_machine.Leader(), action=state_machine.FIRST)]
    if isinstance(me.action, protocol.StepDown):
        return [world.member(i, leader=None, action=None, told=None)]
    found = []
    for after, result in results(world, i, faults):
        leader, action = state_machine.lead(me.leader, result)
        told = result.pin or me.told if isinstance(result, protocol.Polled) else me.told
        found.append(after.member(i, leader=leader, action=action, told=told))
    return found


def work_steps(world: World, i: int) -> list[World]:
    me = world.members[i]
    if not me.entered:
        return [world.member(i, entered=True)]
    fallback = world.probation.fallback or None if world.probation else None
    match follow.follow(me.loaded, me.voted, world.current, world.candidate, fallback):
        case follow.Load(generation):
            kept = me.loaded & {me.serving}  # what was prepared for another switch goes
            return [world.member(i, loaded=kept | {generation.sha256}, serving=generation.sha256)]
        case follow.Prepare(candidate):
            # the oldest model has gone before a third is loaded
            kept = me.loaded & {world.current.sha256}
            now = world.current.sha256
            if candidate.pin in world.hung:
                return [world.member(i, loaded=kept, serving=now, voted=candidate.attempt, vote=Vote.VETO)]
            if candidate.sha256 == HANGS:  # its watchdog says so and ends the process
                return [replace(world.member(i, **vars_of(Member())), hung=world.hung | {candidate.pin})]
            loaded = kept | {candidate.sha256}
            return [world.member(i, loaded=loaded, serving=now, voted=candidate.attempt, vote=Vote.READY)]
        case follow.Hold(fallback):
            kept = me.loaded & {world.current.sha256, fallback}
            loaded = kept if kept != me.loaded else kept | {fallback}
            return [world.member(i, loaded=loaded, serving=world.current.sha256)]
        case follow.Keep(keep):
            return [world.member(i, loaded=me.loaded & keep, serving=world.current.sha256)]
    raise AssertionError


def vars_of(member: Member) -> dict[str, object]:
    """The fields of a member."""
    return {each.name: getattr(member, each.name) for each in fields(member)}


def steps(world: World, faults: bool = True) -> list[World]:
    """Every state that may follow."""
    found = []
    for i in range(len(world.members)):
        found += lead_steps(world, i, faults)
        found += work_steps(world, i)
        if faults and world.faults > 0:
            found += [killed(left, i) for left in (world, *halfway(world, i))]
    if failing(world):
        found.append(replace(world, seen=world.current.number))
    if len(world.pins) > 1:
        found.append(replace(world, pins=world.pins[1:], gone=world.gone | ({world.pin} & {NOBODY})))
    if len(world.hours) > 1:
        found.append(replace(world, hours=world.hours[1:]))
    return found


def failing(world: World) -> bool:
    """Whether requests may show that the model on probation is unfit."""
    return world.probation is not None and world.current.sha256 in world.unfit and world.seen != world.current.number


def killed(world: World, i: int) -> World:
    """Another process takes the place of a worker. A rehearsal that it had begun never ends."""
    begun = world.begun + isinstance(world.members[i].action, protocol.Stage)
    members = list(world.members)
    members[i] = Member()
    return replace(world, members=tuple(members), begun=begun, faults=world.faults - 1)


def check_status(world: World, leader: state_machine.Leader | None) -> None:
    """What is published while the leader rests is true."""
    assert leader is not None
    now = (world.current.sha256, world.current.share)
    current = leader.pin is not None and (leader.pin.sha256, leader.pin.share) == now
    due = leader.pin is not None and leader.awaits and leader.clock.left(leader.instant) > 0
    pending = due and 0 < leader.vouched == world.current.number
    refused = leader.pin is not None and leader.pin == world.refused and leader.pin.not_before  # the next poll says so
    assert leader.confirmed == (current or pending) or refused, (
        "confirmed is not what the last poll and the current generation say"
    )
    assert not (current and leader.trouble), "a trouble of an earlier pin is still reported"
    assert bool(leader.error) == (leader.pin is None), "a poll without an answer is not reported"
    assert leader.target is None, "a leader that rests still deploys"
    assert leader.candidate is None, "a leader that rests still counts votes"
