"""How a replica switches models: the decisions, without any I/O.

A replica's workers share one directory (``STATE_DIR``). One of them leads. It performs one action at a time and passes the result
to :func:`lead`, which returns the next action. Every worker reads the directory and does what
:mod:`services.predict.rollout.rules.follow` says. ``leader.py`` and ``worker.py`` perform the actions on real files and sockets.
``test_state_machine.py`` and ``test_instant.py`` perform them on a model of the world and explore every interleaving of three
workers, crashes, lost messages and pins that change and change back.

::

    WATCHING --new pin--> STAGING --passed--> PREPARING --all ready--> CONFIRMING --same pin--> COMMITTING --> WATCHING
       ^                     |                    |                        |
       |                     | retry, refuse      | veto, or late          | other pin, no answer
       +---------------------+--------------------+------------------------+

    on probation, after each pause: WATCHING --> JUDGING --nothing--> WATCHING
                                                  |  | unfit
                                        time over |  +-----> CONDEMNING --remembered--> REVERTING --> WATCHING
                                                  +--------> ACQUITTING --> WATCHING

    due later: PREPARING --all ready--> HOLDING --the instant--> COMMITTING --> WATCHING
                                           | other pin, veto
                                           +------------------> WATCHING

The commit is one rename in ``STATE_DIR``. No worker answers with the new generation before it, and none with the old one after
it: a request reads the current generation from the directory, and a worker that lacks it loads it before it answers.

A model that was switched to is on probation for a while: the model before stays loaded, and one rename returns to it. The refusal
is written before that rename, and names the generation: a leader that finds it returns at once.

A pin may have an instant. Its model is staged at once, and the workers prepare it ``lead`` seconds before. Then the leader
holds the candidate and goes on asking for the pin. It commits at the instant by this host's clock, where that is proven to
differ little from the model service's (``instant/clock.py``), or else when the model service confirms that the instant has
come. From then on no worker answers with another model (``instant/schedule.py``).

A challenger that answers a share of the records is switched to in the same way, in a directory of its own. What takes over again
is then the champion, so the generation that follows has no model, and so has the one that follows when no share is wanted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

from services.predict.rollout.instant.clock import LAST, UNKNOWN, Clock
from services.predict.rollout.protocol import (
    FIRST_POLL,
    NOBODY,
    POLL,
    Acquit,
    Action,
    Attest,
    Attested,
    Await,
    Awaited,
    Candidate,
    Commit,
    Committed,
    Count,
    Counted,
    Done,
    Generation,
    Judge,
    Judged,
    Outcome,
    PinnedVersion,
    Poll,
    Polled,
    Probation,
    Propose,
    Proposed,
    Recover,
    Recovered,
    Refuse,
    Rest,
    Result,
    Retire,
    Revert,
    Stage,
    Staged,
    StepDown,
    Vote,
    Withdraw,
)

MOST_BACK_OFF = 1.0  # seconds between two attempts
MOST_WATCH = 0.25  # seconds between two looks at a model on probation
MOST_STRIKE = 30.0  # seconds without another try, after strikes in a row
FORGIVEN = 10.0  # seconds without a strike after which they are forgotten
MOST_STRIKES = 9  # that are counted
MOST_FAILURES = 5  # that are counted: the back-off has reached its most by then
MOST_FAILED_POLLS = 3
MOST_REHEARSALS = 3
MOST_LATE = 600.0  # seconds after its instant, from which a pin that was not known before is as one without


class Phase(Enum):
    """What the leader waits for."""

    RECOVERING = "recovering"
    WATCHING = "watching"
    STAGING = "staging"
    PREPARING = "preparing"
    CONFIRMING = "confirming"
    HOLDING = "holding"
    JUDGING = "judging"
    CONDEMNING = "condemning"
    REVERTING = "reverting"
    ACQUITTING = "acquitting"
    RETIRING = "retiring"
    COMMITTING = "committing"
    ENDING = "ending"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class Leader:
    """All that a leader remembers. It dies with its process; what must survive is in the store."""

    phase: Phase = Phase.RECOVERING

    # the deployment under way
    target: PinnedVersion | None = None
    candidate: Candidate | None = None
    deadline: float = 0.0  # of the votes, monotonic

    # what the model service said last
    pin: PinnedVersion | None = None
    challenger: str | None = None  # the id of the challenger's pin
    began: float = 0.0  # when this pin was seen first, monotonic
    error: str = ""  # why the last poll gave no pin
    attested: PinnedVersion | None = None  # the pin whose newest statement is known
    probation: Probation | None = None  # of the current generation

    # the instant of the pin, Unix time; 0 where it has none
    instant: float = 0.0
    awaits: bool = False  # it is neither current nor refused
    bound: str = ""  # the id of the pin that the replica must not be late for
    staged: PinnedVersion | None = None  # the pin with an instant whose model is rehearsed
    asked: bool = False  # the model service confirmed the pin since the workers prepared its model
    clock: Clock = UNKNOWN
    lead: float = 30.0  # seconds before the instant, in which the workers prepare the model

    # how it goes
    settled: bool = False  # the replica may answer: the model service was asked in this session
    confirmed: bool | None = None  # the pin is the current model
    since: float = 0.0  # when that changed last, Unix time
    vouched: int = 0  # the generation that was confirmed last
    trouble: str = ""  # why the pinned model cannot be staged yet
    failed_polls: int = 0
    failures: int = 0  # pauses in a row that followed a failure
    strikes: int = 0  # pins in a row that came to nothing
    resume: float = 0.0  # monotonic; no pin is staged before
    failed: PinnedVersion | None = None  # the pin that could not be staged last


FIRST: Action = Recover()


def lead(leader: Leader, result: Result) -> tuple[Leader, Action]:
    """The leader's next state and action, given the result of the last action (the first one is :data:`FIRST`)."""
    match leader.phase, result:
        case Phase.RECOVERING, Recovered():
            return _recovered(result)
        case ((Phase.WATCHING | Phase.CONFIRMING | Phase.HOLDING), Polled()):
            return _polled(leader, result)
        case Phase.HOLDING, Awaited(clock, current):
            return _awaited(replace(leader, clock=clock), current)
        case Phase.WATCHING, Attested(answered):
            return _rest(replace(leader, attested=leader.pin) if answered else leader)
        case Phase.WATCHING, Done() if leader.probation:
            return replace(leader, phase=Phase.JUDGING, settled=True), Judge(leader.probation)
        case Phase.WATCHING, Done():
            return _watch(replace(leader, settled=True))
        case Phase.JUDGING, Judged(reason, over) if leader.probation:
            return _judged(leader, leader.probation, reason, over)
        case Phase.CONDEMNING, Done() if leader.probation:
            return replace(leader, phase=Phase.REVERTING), Revert(leader.probation)
        case Phase.RETIRING, Done(now):
            return _watch(replace(_strike(leader, now), probation=None))
        case Phase.REVERTING, Done():
            return _watch(replace(leader, probation=None, staged=None))
        case Phase.ACQUITTING, Done():
            return _resume(replace(leader, probation=None))
        case Phase.STAGING, Staged(Outcome.DONE, not_before=due) if leader.target and max(due, leader.instant):
            return _watch(replace(leader, trouble="", staged=leader.target, instant=max(due, leader.instant)))
        case Phase.STAGING, Staged(Outcome.DONE) if leader.target:
            return replace(leader, phase=Phase.PREPARING, trouble=""), Propose(leader.target)
        case Phase.STAGING, Staged(Outcome.REFUSED, reason, kind):
            return _refuse(leader, reason, kind)
        case Phase.STAGING, Staged(Outcome.RETRY, reason, _, now):
            other = leader.failed not in (None, leader.target)
            failed = replace(_strike(leader, now) if other else leader, failed=leader.target)
            return _rest(replace(failed, phase=Phase.WATCHING, trouble=reason), failing=True)
        case Phase.PREPARING, Proposed(candidate, deadline):
            return replace(leader, candidate=candidate, deadline=deadline), Count(candidate)
        case ((Phase.PREPARING | Phase.HOLDING), Counted()):
            return _counted(leader, result)
        case Phase.COMMITTING, Committed(time, probation):
            known = leader.pin == leader.target  # at an instant, the model service may be away
            switched = replace(leader, confirmed=known, since=time, attested=leader.target, probation=probation)
            number = leader.candidate.after + 1 if known and leader.candidate else leader.vouched
            switched = replace(switched, vouched=number, failed=None, awaits=False, bound="", staged=None)
            return _rest(replace(switched, phase=Phase.WATCHING))
        case Phase.ENDING, Done(now):
            chance = (
                leader.trouble or leader.pin is None
            )  # a late vote, or a poll without an answer: no fault of the pin
            own = leader if chance else _strike(leader, now)
            return _rest(replace(own, phase=Phase.WATCHING), failing=True)
    raise ValueError(f"{type(result).__name__} does not follow in phase {leader.phase.value}")


def _recovered(found: Recovered) -> tuple[Leader, Action]:
    known = Leader(confirmed=found.confirmed, since=found.since, challenger=found.challenger, settled=found.settled)
    known = replace(known, probation=found.probation, strikes=found.strikes, resume=found.resume)
    known = replace(known, bound=found.bound, vouched=found.vouched if found.settled else 0, lead=found.lead)
    known = replace(known, staged=found.staged, instant=found.instant)
    if found.probation and found.condemned:
        return replace(known, phase=Phase.REVERTING), Revert(found.probation)
    return _watch(known)


def _polled(leader: Leader, polled: Polled) -> tuple[Leader, Action]:
    leader, serves = _learned(leader, polled)
    pin = polled.pin
    match leader.phase, pin:
        case Phase.HOLDING, _ if pin in (leader.target, None):
            return _held(leader, polled)
        case Phase.CONFIRMING, PinnedVersion() if pin == leader.target:
            return _commit(leader, polled.current)
        case ((Phase.CONFIRMING | Phase.HOLDING), _):
            return replace(leader, phase=Phase.ENDING), Withdraw()
        case _, None if leader.failed_polls >= MOST_FAILED_POLLS:
            return replace(leader, phase=Phase.LEAVING), StepDown()
        case _, None:
            return _rest(leader, failing=True)
        case _, PinnedVersion() if pin == NOBODY and not serves:
            return replace(leader, phase=Phase.RETIRING, trouble=""), Retire()
        case _, PinnedVersion() if serves and pin not in (leader.attested, NOBODY):
            return replace(leader, trouble=""), Attest(pin)
        case _, PinnedVersion() if serves or pin == polled.refused:
            return _rest(replace(leader, trouble=""))
        case _, PinnedVersion() if wrong := leader.clock.unusable(leader.instant):
            return _refuse(replace(leader, target=pin), wrong, "instant")
        case _, PinnedVersion() if polled.now < leader.resume:
            return _wait(leader, leader.resume - polled.now)
        case _, PinnedVersion() if pin != leader.staged:
            return replace(leader, phase=Phase.STAGING, target=pin, staged=None), Stage(pin)
        case _, PinnedVersion() if (early := leader.clock.left(leader.instant) - leader.lead) > 0:
            leader, rest = _rest(replace(leader, trouble=""))
            return leader, Rest(min(rest.at_most, max(early, 0.01)))
        case _, PinnedVersion():
            return replace(leader, phase=Phase.PREPARING, target=pin, trouble=""), Propose(pin)


def _learned(leader: Leader, polled: Polled) -> tuple[Leader, bool]:
    """What a poll tells, and whether the pinned model answers already.

    Until the instant of a pin, the model before it is as confirmed as it was.
    """
    pin, current = polled.pin, polled.current
    serves = pin is not None and (pin.sha256, pin.share) == (current.sha256, current.share)
    leader = replace(leader, clock=polled.clock, vouched=current.number if serves else leader.vouched)
    if pin is None:
        known = replace(leader, pin=None, error=polled.error, failed_polls=leader.failed_polls + 1)
        confirmed = False
    else:
        began, trouble = (leader.began, leader.trouble) if pin == leader.pin else (polled.now, "")
        due = leader.instant if pin in (leader.staged, leader.target) else pin.not_before
        own = leader.clock.now < due + MOST_LATE or pin.id == leader.bound
        refused = polled.refused is not None and pin.sha256 == polled.refused.sha256
        known = replace(leader, pin=pin, began=began, trouble=trouble, challenger=polled.challenger)
        known = replace(known, error="", failed_polls=0, instant=due)
        known = replace(known, awaits=bool(due) and not serves and pin != polled.refused)
        known = replace(known, bound=pin.id if known.awaits and own and not refused else "")
        pending = known.awaits and leader.clock.left(due) > 0
        confirmed = serves or (pending and 0 < current.number == leader.vouched)
    if confirmed != leader.confirmed:
        known = replace(known, confirmed=confirmed, since=polled.time)
    return known, serves


def _held(leader: Leader, polled: Polled) -> tuple[Leader, Action]:
    """The candidate is prepared. Without an answer, only a clock that is known well enough brings the instant."""
    confirmed = polled.pin is not None
    leader = replace(leader, asked=leader.asked or confirmed)
    if leader.clock.reached(leader.instant, confirmed) and leader.asked:
        return _commit(leader, polled.current)
    lost = leader.failed_polls >= MOST_FAILED_POLLS
    if lost and not (leader.clock.trusted and leader.asked):  # another worker may reach the model service
        return replace(leader, phase=Phase.ENDING), Withdraw()
    pause = leader.clock.pause(leader.instant)
    watched = leader.probation and leader.clock.left(leader.instant) > LAST
    return leader, Await(min(pause, MOST_WATCH) if watched else pause)


def _awaited(leader: Leader, current: Generation) -> tuple[Leader, Action]:
    if leader.clock.reached(leader.instant, confirmed=False) and leader.asked:
        return _commit(leader, current)
    assert leader.candidate is not None
    return leader, Count(leader.candidate)


def _commit(leader: Leader, current: Generation) -> tuple[Leader, Action]:
    assert leader.candidate is not None
    assert leader.target is not None
    fallback = _fallback(leader, current)
    return replace(leader, phase=Phase.COMMITTING), Commit(leader.candidate, leader.target, fallback)


def _resume(leader: Leader) -> tuple[Leader, Action]:
    """After a look at the model on probation."""
    return (replace(leader, phase=Phase.HOLDING), Poll(FIRST_POLL)) if leader.candidate else _watch(leader)


def _watch(leader: Leader) -> tuple[Leader, Action]:
    """A poll that hangs must not keep a leader long from what it has to watch."""
    short = leader.probation is not None or not leader.settled
    return replace(leader, phase=Phase.WATCHING), Poll(FIRST_POLL if short else POLL)


def _strike(leader: Leader, now: float) -> Leader:
    """A pin came to nothing. The next ones wait, for longer each time: they may change for ever, and each costs a rehearsal.

    A single one costs a tenth of a second, so that the right pin after a wrong one is visible soon.
    """
    strikes = min(leader.strikes + 1, MOST_STRIKES) if now < leader.resume + FORGIVEN else 1
    return replace(leader, strikes=strikes, resume=now + min(0.05 * 2.0**strikes, MOST_STRIKE))


def _wait(leader: Leader, seconds: float) -> tuple[Leader, Action]:
    """Polls go on until the next pin may be tried."""
    trouble = f"{leader.strikes} pins in a row came to nothing, so this one waits"
    leader, rest = _rest(replace(leader, trouble=trouble if leader.strikes > 1 else ""))
    return leader, Rest(min(rest.at_most, max(seconds, 0.01)))


def _judged(leader: Leader, probation: Probation, reason: str, over: bool) -> tuple[Leader, Action]:
    if reason:
        condemned = Refuse(probation.pin, reason, "probation", probation.generation)
        return replace(leader, phase=Phase.CONDEMNING, target=None, candidate=None), condemned
    if over:
        return replace(leader, phase=Phase.ACQUITTING), Acquit(probation)
    return _resume(leader)


def _fallback(leader: Leader, current: Generation) -> str | None:
    """What to return to after a switch: the current model, or what that would return to itself while it is on probation.

    From a challenger it is always nothing: the champion answers in its place.
    """
    assert leader.candidate is not None
    if leader.target is not None and leader.target.share:
        return ""
    found = leader.probation.fallback if leader.probation else current.sha256
    return found if found not in ("", leader.candidate.sha256) else None


def _counted(leader: Leader, counted: Counted) -> tuple[Leader, Action]:
    votes = set(counted.votes.values())
    if Vote.VETO in votes:
        return _refuse(leader, f"a worker could not prepare it: {counted.reason}", "veto")
    if leader.phase is Phase.HOLDING:  # a worker that came since loads the model by itself
        if leader.probation:
            return replace(leader, phase=Phase.JUDGING), Judge(leader.probation)
        return leader, Poll(FIRST_POLL)
    if votes == {Vote.READY} and leader.instant:
        return replace(leader, phase=Phase.HOLDING, trouble="", asked=False), Poll(FIRST_POLL)
    if votes == {Vote.READY}:  # nobody is alive: no vote, and not all of them
        return replace(leader, phase=Phase.CONFIRMING, trouble=""), Poll()
    if (
        counted.now > leader.deadline
    ):  # that is not the model's doing: a worker is stopped, or an answer holds an older model
        late = f"late, and tried again: {counted.reason or 'no worker is alive'}"
        return replace(leader, phase=Phase.ENDING, trouble=late), Withdraw()
    assert leader.candidate is not None
    return replace(leader, trouble=counted.reason), Count(leader.candidate)


def _refuse(leader: Leader, reason: str, kind: str) -> tuple[Leader, Action]:
    assert leader.target is not None
    ending = replace(leader, phase=Phase.ENDING, trouble="", awaits=False, bound="", staged=None)
    return ending, Refuse(leader.target, reason, kind)


def _rest(leader: Leader, failing: bool = False) -> tuple[Leader, Rest]:
    """A pause that follows a failure doubles up to a second, so that a swap stays visible soon."""
    failures = min(leader.failures + 1, MOST_FAILURES) if failing else 0
    leader = replace(leader, failures=failures, target=None, candidate=None)
    most = MOST_WATCH if leader.probation else math.inf
    return leader, Rest(min(0.05 * 2.0**failures, MOST_BACK_OFF, most) if failing else most)
