"""How a replica switches models: the decisions, without any I/O.

A replica's workers share one store (``STATE_DIR``). One of them leads: it performs one action at a time and feeds what came
of it back into :func:`lead`, which names the next action. Every worker, the leader's process included, looks at the store
and asks :func:`follow` what to do. :mod:`services.predict.rollout.leader` and :mod:`services.predict.rollout.worker`
perform the actions on
real files and sockets; ``tests/unit/services/predict/rollout/test_state_machine.py`` performs them on a model of the
world and explores every interleaving of three workers, crashes, lost messages and pins that change and change back.

::

    WATCHING --new pin--> FETCHING --verified--> REHEARSING --passed--> PREPARING --all ready--> CONFIRMING --same--> commit
       ^                     |                       |                      |                        |
       |                     | retry                 | refuse               | veto, or too late      | other pin, no answer
       +---------------------+-----------------------+----------------------+------------------------+

The commit is one rename in the store. Before it nobody answers with the new generation; after it nobody with the old one,
because a request reads the current generation from the store and a worker that lacks it loads it before it answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

MOST_FAILED_POLLS = 3
MOST_REHEARSALS = 3
REFUSALS = ("statement", "format", "runtime", "golden", "hash", "rehearsal", "veto", "late")  # the classes of reasons


@dataclass(frozen=True, slots=True)
class PinnedVersion:
    """What the model service is told to serve: a SHA-256, and the pin's own identity, so that A, B, A are three pins."""

    sha256: str
    id: str


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
class Poll:
    """Ask the model service which pin it serves."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bring the bytes into the store, verified against the pin."""

    pin: PinnedVersion


@dataclass(frozen=True, slots=True)
class Rehearse:
    """Journal the attempt, then load the model in a process of its own and check its golden rows."""

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
    """Rename the link: the candidate becomes current. Then remove the candidate."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Remove whatever candidate there is."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Remember that this pin is refused, until the pin changes, and remove its candidate. ``kind`` is one of :data:`REFUSALS`."""

    pin: PinnedVersion
    reason: str
    kind: str


@dataclass(frozen=True, slots=True)
class Rest:
    """Wait before the next poll; ``failing`` asks for back-off."""

    failing: bool = False


@dataclass(frozen=True, slots=True)
class LetGo:
    """Give up the lead, so that another worker tries."""


Action = Poll | Fetch | Rehearse | Propose | Count | Commit | Withdraw | Refuse | Rest | LetGo


# What came of them


@dataclass(frozen=True, slots=True)
class Polled:
    """``pin`` is None where the model service gave no usable answer; ``current`` and ``refused`` are read from the store."""

    pin: PinnedVersion | None
    current: Generation = NOTHING
    refused: PinnedVersion | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """A fetch or a rehearsal ended."""

    outcome: Outcome
    reason: str = ""
    kind: str = "rehearsal"  # of a refusal


@dataclass(frozen=True, slots=True)
class Proposed:
    """The candidate is written."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Counted:
    """The vote of every live worker (None: not yet), with a veto's reason; ``late`` once the time for voting is over."""

    votes: Mapping[str, Vote | None]
    late: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """An action that has no result ended."""


Result = Polled | Tried | Proposed | Counted | Done


class Phase(Enum):
    """Where the leader is."""

    STARTING = "starting"
    WATCHING = "watching"
    FETCHING = "fetching"
    REHEARSING = "rehearsing"
    PREPARING = "preparing"
    CONFIRMING = "confirming"
    ENDING = "ending"
    LEAVING = "leaving"


@dataclass(frozen=True, slots=True)
class Leader:
    """All that a leader remembers. It dies with its process; what must survive is in the store."""

    phase: Phase = Phase.STARTING
    pin: PinnedVersion | None = None
    candidate: Candidate | None = None
    failed_polls: int = 0


FIRST: Action = Withdraw()  # whatever the leader before had proposed


def lead(leader: Leader, result: Result) -> tuple[Leader, Action]:
    """The leader's next state and action, given what came of the last action (the first one is :data:`FIRST`)."""
    match leader.phase, result:
        case Phase.STARTING, Done():
            return replace(leader, phase=Phase.WATCHING), Poll()
        case Phase.WATCHING, Polled() as polled:
            return _watch(leader, polled)
        case Phase.WATCHING, Done():
            return leader, Poll()
        case Phase.FETCHING, Tried(Outcome.DONE):
            assert leader.pin is not None
            return replace(leader, phase=Phase.REHEARSING), Rehearse(leader.pin)
        case Phase.REHEARSING, Tried(Outcome.DONE):
            assert leader.pin is not None
            return replace(leader, phase=Phase.PREPARING), Propose(leader.pin)
        case ((Phase.FETCHING | Phase.REHEARSING), Tried(outcome, reason, kind)):
            return _refuse(leader, reason, kind) if outcome is Outcome.REFUSED else _back(leader, failing=True)
        case Phase.PREPARING, Proposed(candidate):
            return replace(leader, candidate=candidate), Count(candidate)
        case Phase.PREPARING, Counted() as counted:
            return _count(leader, counted)
        case Phase.CONFIRMING, Polled() as polled:
            return _confirm(leader, polled)
        case Phase.ENDING, Done():
            return _back(leader)
    raise ValueError(f"{type(result).__name__} does not follow in phase {leader.phase.value}")


def _watch(leader: Leader, polled: Polled) -> tuple[Leader, Action]:
    if polled.pin is None:
        failed = leader.failed_polls + 1
        if failed >= MOST_FAILED_POLLS:
            return replace(leader, phase=Phase.LEAVING), LetGo()
        return replace(leader, failed_polls=failed), Rest(failing=True)
    leader = replace(leader, failed_polls=0)
    if polled.pin.sha256 == polled.current.sha256 or polled.pin == polled.refused:
        return leader, Rest()
    return replace(leader, phase=Phase.FETCHING, pin=polled.pin), Fetch(polled.pin)


def _count(leader: Leader, counted: Counted) -> tuple[Leader, Action]:
    assert leader.candidate is not None
    if Vote.VETO in counted.votes.values():
        return _refuse(leader, f"a worker could not prepare it: {counted.reason}", "veto")
    if counted.votes and all(vote is Vote.READY for vote in counted.votes.values()):
        return replace(leader, phase=Phase.CONFIRMING), Poll()
    if counted.late:
        return _refuse(leader, "a worker did not prepare it in time", "late")
    return leader, Count(leader.candidate)


def _confirm(leader: Leader, polled: Polled) -> tuple[Leader, Action]:
    assert leader.candidate is not None
    if polled.pin == leader.pin:
        return replace(leader, phase=Phase.ENDING), Commit(leader.candidate)
    return replace(leader, phase=Phase.ENDING), Withdraw()


def _refuse(leader: Leader, reason: str, kind: str) -> tuple[Leader, Action]:
    assert leader.pin is not None
    return replace(leader, phase=Phase.ENDING), Refuse(leader.pin, reason, kind)


def _back(leader: Leader, failing: bool = False) -> tuple[Leader, Action]:
    watching = replace(leader, phase=Phase.WATCHING, pin=None, candidate=None)
    return watching, Rest(failing=True) if failing else Poll()


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
