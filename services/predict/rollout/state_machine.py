"""How a replica switches models: the decisions, without any I/O.

A replica's workers share one directory (``STATE_DIR``). One of them leads. It performs one action at a time and passes the result
to :func:`lead`, which returns the next action. Every worker, including the leader's process, reads the directory and asks
:func:`follow` what to do. :mod:`services.predict.rollout.leader` and :mod:`services.predict.rollout.worker` perform the actions
on real files and sockets. ``tests/unit/services/predict/rollout/test_state_machine.py`` performs them on a model of the world and
explores every interleaving of three workers, crashes, lost messages and pins that change and change back.

::

    WATCHING --new pin--> STAGING --passed--> PREPARING --all ready--> CONFIRMING --same pin--> COMMITTING --> WATCHING
       ^                     |                    |                        |
       |                     | retry, refuse      | veto, or too late      | other pin, no answer
       +---------------------+--------------------+------------------------+

The commit is one rename in ``STATE_DIR``. No worker answers with the new generation before it, and none with the old one after
it: a request reads the current generation from the directory, and a worker that lacks it loads it before it answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

FIRST_POLL = 0.5  # seconds that a starting replica waits for the model service
POLL = 2.0  # seconds that a later poll may take
MOST_BACK_OFF = 1.0  # seconds between two attempts
MOST_FAILURES = 5  # that are counted: the back-off has reached its most by then
MOST_FAILED_POLLS = 3
MOST_REHEARSALS = 3
REFUSALS = (  # the classes of reasons
    ("statement", "format", "runtime", "golden", "hash", "rehearsal", "contract", "scores", "veto", "late", "probation")
)


@dataclass(frozen=True, slots=True)
class PinnedVersion:
    """The version that the model service serves: its SHA-256, and the pin's own id, so that A, B, A are three pins.

    ``allow`` are the gates that the operator lifted for this pin; it does not tell two pins apart, since a new one has a new id.
    """

    sha256: str
    id: str
    allow: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Generation:
    """A switch that happened: its number and the SHA-256 of the model it switched to. Number 0 has no model."""

    number: int
    sha256: str


NOTHING = Generation(0, "")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that workers are asked to prepare. ``attempt`` is unique; ``after`` is the generation it would follow."""

    attempt: str
    sha256: str
    after: int


class Vote(Enum):
    """A worker's answer to a candidate."""

    READY = "ready"
    VETO = "veto"


class Outcome(Enum):
    """What came of a step that may fail for now (retry) or for good (refused)."""

    DONE = "done"
    RETRY = "retry"
    REFUSED = "refused"


# Actions of the leader


@dataclass(frozen=True, slots=True)
class Recover:
    """Withdraw what the previous leader had proposed, and read what it left."""


@dataclass(frozen=True, slots=True)
class Poll:
    """Ask the model service which pin it serves, for ``timeout`` seconds at most."""

    timeout: float = POLL


@dataclass(frozen=True, slots=True)
class Attest:
    """Fetch the statement about the current model again: another key may have signed it."""

    pin: PinnedVersion


@dataclass(frozen=True, slots=True)
class Stage:
    """Fetch the bytes, verify them against the pin and the signature policy, and rehearse the model."""

    pin: PinnedVersion


@dataclass(frozen=True, slots=True)
class Propose:
    """Write the candidate, *then* read the roster of live workers."""

    pin: PinnedVersion


@dataclass(frozen=True, slots=True)
class Count:
    """Read the votes of the workers that are alive now."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Commit:
    """Make the candidate current: one rename."""

    candidate: Candidate
    pin: PinnedVersion


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Remove the candidate."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Remember that this pin is not to be tried again, and withdraw the candidate. ``kind`` is one of :data:`REFUSALS`."""

    pin: PinnedVersion
    reason: str
    kind: str


@dataclass(frozen=True, slots=True)
class Rest:
    """Publish the status, and wait until the next poll is due, but for ``at_most`` seconds."""

    at_most: float = math.inf


@dataclass(frozen=True, slots=True)
class StepDown:
    """Give the leader's lock up: another worker may reach the model service."""


Action = Recover | Poll | Attest | Stage | Propose | Count | Commit | Withdraw | Refuse | Rest | StepDown


# Results of the actions. ``now`` is a monotonic time, ``time`` a Unix time, both in seconds.


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the previous leader published, and whether the model service was asked in this session (``settled``)."""

    confirmed: bool | None = None
    since: float = 0.0
    challenger: str | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Polled:
    """``pin`` is None where the model service gave no usable answer; ``current`` and ``refused`` are read from the store."""

    pin: PinnedVersion | None
    current: Generation = NOTHING
    refused: PinnedVersion | None = None
    challenger: str | None = None
    error: str = ""
    now: float = 0.0
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Attested:
    """Whether the model service answered."""

    answered: bool


@dataclass(frozen=True, slots=True)
class Staged:
    """The model is verified and rehearsed, or why not. ``kind`` is one of :data:`REFUSALS`, or ``fetch``."""

    outcome: Outcome
    reason: str = ""
    kind: str = "rehearsal"


@dataclass(frozen=True, slots=True)
class Proposed:
    """The candidate is written. Votes count until ``deadline``."""

    candidate: Candidate
    deadline: float


@dataclass(frozen=True, slots=True)
class Counted:
    """The vote of every live worker (None: not yet), with the reason of a veto."""

    votes: Mapping[str, Vote | None]
    now: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Committed:
    """The candidate is the current generation."""

    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Done:
    """An action without a result ended."""


Result = Recovered | Polled | Attested | Staged | Proposed | Counted | Committed | Done


class Phase(Enum):
    """What the leader waits for."""

    RECOVERING = "recovering"
    WATCHING = "watching"
    STAGING = "staging"
    PREPARING = "preparing"
    CONFIRMING = "confirming"
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

    # how it goes
    settled: bool = False  # the replica may answer: the model service was asked in this session
    confirmed: bool | None = None  # the pin is the current model
    since: float = 0.0  # when that changed last, Unix time
    trouble: str = ""  # why the pinned model cannot be staged yet
    failed_polls: int = 0
    failures: int = 0  # pauses in a row that followed a failure


FIRST: Action = Recover()


def lead(leader: Leader, result: Result) -> tuple[Leader, Action]:
    """The leader's next state and action, given the result of the last action (the first one is :data:`FIRST`)."""
    match leader.phase, result:
        case Phase.RECOVERING, Recovered(confirmed, since, challenger, settled):
            known = Leader(Phase.WATCHING, confirmed=confirmed, since=since, challenger=challenger, settled=settled)
            return known, Poll(POLL if settled else FIRST_POLL)
        case ((Phase.WATCHING | Phase.CONFIRMING), Polled()):
            return _polled(leader, result)
        case Phase.WATCHING, Attested(answered):
            return _rest(replace(leader, attested=leader.pin) if answered else leader)
        case Phase.WATCHING, Done():
            return replace(leader, settled=True), Poll()
        case Phase.STAGING, Staged(Outcome.DONE) if leader.target:
            return replace(leader, phase=Phase.PREPARING, trouble=""), Propose(leader.target)
        case Phase.STAGING, Staged(Outcome.REFUSED, reason, kind):
            return _refuse(leader, reason, kind)
        case Phase.STAGING, Staged(Outcome.RETRY, reason):
            return _rest(replace(leader, phase=Phase.WATCHING, trouble=reason), failing=True)
        case Phase.PREPARING, Proposed(candidate, deadline):
            return replace(leader, candidate=candidate, deadline=deadline), Count(candidate)
        case Phase.PREPARING, Counted():
            return _counted(leader, result)
        case Phase.COMMITTING, Committed(time):
            switched = replace(leader, phase=Phase.WATCHING, confirmed=True, since=time, attested=leader.target)
            return _rest(switched)
        case Phase.ENDING, Done():
            return replace(leader, phase=Phase.WATCHING, target=None, candidate=None), Poll()
    raise ValueError(f"{type(result).__name__} does not follow in phase {leader.phase.value}")


def _polled(leader: Leader, polled: Polled) -> tuple[Leader, Action]:
    pin = polled.pin
    confirmed = pin is not None and pin.sha256 == polled.current.sha256
    if confirmed != leader.confirmed:
        leader = replace(leader, confirmed=confirmed, since=polled.time)
    if pin is None:
        failed = leader.failed_polls + 1
        leader = replace(leader, pin=None, error=polled.error, failed_polls=failed)
    else:
        began = leader.began if pin == leader.pin else polled.now
        leader = replace(leader, pin=pin, began=began, challenger=polled.challenger, error="", failed_polls=0)
    match leader.phase, pin:
        case Phase.CONFIRMING, PinnedVersion() if pin == leader.target and leader.candidate:
            return replace(leader, phase=Phase.COMMITTING), Commit(leader.candidate, pin)
        case Phase.CONFIRMING, _:
            return replace(leader, phase=Phase.ENDING), Withdraw()
        case _, None if leader.failed_polls >= MOST_FAILED_POLLS:
            return replace(leader, phase=Phase.LEAVING), StepDown()
        case _, None:
            return _rest(leader, failing=True)
        case _, PinnedVersion() if confirmed and pin != leader.attested:
            return replace(leader, trouble=""), Attest(pin)
        case _, PinnedVersion() if confirmed or pin == polled.refused:
            return _rest(replace(leader, trouble=""))
        case _, PinnedVersion():
            return replace(leader, phase=Phase.STAGING, target=pin), Stage(pin)


def _counted(leader: Leader, counted: Counted) -> tuple[Leader, Action]:
    votes = set(counted.votes.values())
    if Vote.VETO in votes:
        return _refuse(leader, f"a worker could not prepare it: {counted.reason}", "veto")
    if votes == {Vote.READY}:  # nobody is alive: no vote, and not all of them
        return replace(leader, phase=Phase.CONFIRMING), Poll()
    if counted.now > leader.deadline:
        return _refuse(leader, "a worker did not prepare it in time", "late")
    assert leader.candidate is not None
    return leader, Count(leader.candidate)


def _refuse(leader: Leader, reason: str, kind: str) -> tuple[Leader, Action]:
    assert leader.target is not None
    return replace(leader, phase=Phase.ENDING, trouble=""), Refuse(leader.target, reason, kind)


def _rest(leader: Leader, failing: bool = False) -> tuple[Leader, Action]:
    """A pause that follows a failure doubles up to a second, so that a swap stays visible soon."""
    failures = min(leader.failures + 1, MOST_FAILURES) if failing else 0
    leader = replace(leader, failures=failures, target=None, candidate=None)
    return leader, Rest(min(0.05 * 2.0**failures, MOST_BACK_OFF)) if failing else Rest()


# Workers


@dataclass(frozen=True, slots=True)
class Load:
    """Load the current model before answering anything."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Prepare:
    """Load the candidate beside the running model and vote."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Keep:
    """NotPinned to load; models other than these may go."""

    sha256: frozenset[str]


def follow(
    loaded: frozenset[str], voted: str | None, current: Generation, candidate: Candidate | None
) -> Load | Prepare | Keep:
    """What a worker does next.

    ``loaded`` are the SHA-256 of the models it holds, ``voted`` the attempt it voted on last; ``current`` and ``candidate``
    are what the store says *after* the worker entered the roster.
    """
    if current.number and current.sha256 not in loaded:
        return Load(current)
    if candidate is not None and candidate.after == current.number:
        if voted != candidate.attempt:
            return Prepare(candidate)
        return Keep(frozenset({current.sha256, candidate.sha256}))
    return Keep(frozenset({current.sha256}))
