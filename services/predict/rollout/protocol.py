"""What a leader does and learns, as values: the actions that the state machine returns, and the results that it is given."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from services.predict.rollout.instant.clock import UNKNOWN, Clock

FIRST_POLL = 0.5  # seconds that a poll may take while the replica starts, or a model is on probation
POLL = 2.0  # seconds that another poll may take
REFUSALS = (  # the classes of reasons
    *("statement", "format", "runtime", "golden", "hash", "rehearsal", "contract", "scores", "veto", "probation"),
    "instant",
)


@dataclass(frozen=True, slots=True)
class PinnedVersion:
    """The version that the model service serves: its SHA-256, and the pin's own id, so that A, B, A are three pins.

    ``allow`` are the gates that the operator lifted for this pin; it does not tell two pins apart, since a new one has a new id.
    ``share`` is the percentage of the records that a challenger is to answer; a champion, which answers the others, has 0.
    ``not_before`` is the Unix time from which it answers: 0 for at once, NaN for what is no time.
    """

    sha256: str
    id: str
    allow: tuple[str, ...] = field(default=(), compare=False)
    share: float = field(default=0.0, compare=False)
    not_before: float = field(default=0.0, compare=False)


NOBODY = PinnedVersion("", "")  # what is wanted where no challenger is to answer


@dataclass(frozen=True, slots=True)
class Generation:
    """A switch that happened: its number, the SHA-256 of the model it switched to, and the share that this model answers.

    Number 0 has no model, and neither has a generation that retired a challenger.
    """

    number: int
    sha256: str
    share: float = 0.0


NOTHING = Generation(0, "")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that workers are asked to prepare. ``attempt`` is unique; ``after`` is the generation it would follow.

    ``pin`` is the id of the pin it is brought in for.
    """

    attempt: str
    sha256: str
    after: int
    pin: str = ""


@dataclass(frozen=True, slots=True)
class Probation:
    """The current ``generation`` is watched until the Unix time ``until``. ``pin`` is what it was brought in for.

    ``fallback`` is the SHA-256 of the model that takes over again where this one proves unfit; empty for a challenger: then the
    champion answers all records again.
    """

    generation: int
    pin: PinnedVersion
    fallback: str
    until: float


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
    """Make the candidate current: one rename. On probation, ``fallback`` is the model to return to; None: there is none."""

    candidate: Candidate
    pin: PinnedVersion
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class Await:
    """Publish the status, and wait for ``seconds``: the candidate is prepared, and its instant has not come."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Remove the candidate."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Remember that this pin is not to be tried again, and withdraw the candidate. ``kind`` is one of :data:`REFUSALS`.

    ``generation`` is the one that is to be taken back; 0 where the pin was never current.
    """

    pin: PinnedVersion
    reason: str
    kind: str
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Retire:
    """Make a generation without a model current: one rename. It needs no votes, since every worker has the champion."""


@dataclass(frozen=True, slots=True)
class Judge:
    """Read what the workers saw of the current model, which is on probation."""

    probation: Probation


@dataclass(frozen=True, slots=True)
class Revert:
    """Make the fallback current: one rename."""

    probation: Probation


@dataclass(frozen=True, slots=True)
class Acquit:
    """The probation ended well: forget it, and let the fallback go."""

    probation: Probation


@dataclass(frozen=True, slots=True)
class Rest:
    """Publish the status, and wait until the next poll is due, but for ``at_most`` seconds."""

    at_most: float = math.inf


@dataclass(frozen=True, slots=True)
class StepDown:
    """Give the leader's lock up: another worker may reach the model service."""


Action = (
    Recover
    | Poll
    | Attest
    | Stage
    | Propose
    | Count
    | Commit
    | Await
    | Withdraw
    | Refuse
    | Retire
    | Judge
    | Revert
    | Acquit
    | Rest
    | StepDown
)


# Results of the actions. ``now`` is a monotonic time, ``time`` a Unix time, both in seconds.


@dataclass(frozen=True, slots=True)
class Recovered:
    """What the previous leader published, and whether the model service was asked in this session (``settled``).

    ``strikes`` and ``resume`` are what the previous leader held against the pins. ``bound`` is the id of the pin that the replica
    must not be late for, ``staged`` a pin with an ``instant`` whose model is rehearsed, ``vouched`` the generation that was
    confirmed last. Workers prepare at most ``lead`` seconds before an instant.
    ``probation`` is that of the current generation. ``condemned`` says that the leader before refused it and did not return.
    """

    confirmed: bool | None = None
    since: float = 0.0
    challenger: str | None = None
    settled: bool = False
    probation: Probation | None = None
    condemned: bool = False
    strikes: int = 0
    resume: float = 0.0
    bound: str = ""
    staged: PinnedVersion | None = None
    instant: float = 0.0
    vouched: int = 0
    lead: float = 30.0


@dataclass(frozen=True, slots=True)
class Polled:
    """``pin`` is None where the model service gave no usable answer, :data:`NOBODY` where no model is wanted.

    ``current`` and ``refused`` are read from the store.
    """

    pin: PinnedVersion | None
    current: Generation = NOTHING
    refused: PinnedVersion | None = None
    challenger: str | None = None
    error: str = ""
    now: float = 0.0
    time: float = 0.0
    clock: Clock = UNKNOWN


@dataclass(frozen=True, slots=True)
class Attested:
    """Whether the model service answered."""

    answered: bool


@dataclass(frozen=True, slots=True)
class Staged:
    """The model is verified and rehearsed, or why not. ``kind`` is one of :data:`REFUSALS`, or ``fetch``.

    ``not_before`` is what its statement says; 0 where it says nothing, or there is none.
    """

    outcome: Outcome
    reason: str = ""
    kind: str = "rehearsal"
    now: float = 0.0
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Proposed:
    """The candidate is written. Votes count until ``deadline``."""

    candidate: Candidate
    deadline: float


@dataclass(frozen=True, slots=True)
class Counted:
    """The vote of every live worker (None: not yet), with the reason of a veto, or what a worker waits for."""

    votes: Mapping[str, Vote | None]
    now: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Awaited:
    """Time has passed. ``current`` is read from the store."""

    clock: Clock
    current: Generation


@dataclass(frozen=True, slots=True)
class Committed:
    """The candidate is the current generation, on ``probation`` or not."""

    time: float = 0.0
    probation: Probation | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """Why the model on probation is unfit; empty while nothing speaks against it. ``over``: its time has passed."""

    reason: str = ""
    over: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """An action without a result ended."""

    now: float = 0.0


Result = Recovered | Polled | Attested | Staged | Proposed | Counted | Awaited | Committed | Judged | Done
