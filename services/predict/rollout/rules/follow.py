"""What a worker does next, by what the store says."""

from __future__ import annotations

from dataclasses import dataclass

from services.predict.rollout.protocol import Candidate, Generation


@dataclass(frozen=True, slots=True)
class Load:
    """Load the current model before answering anything."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class Prepare:
    """Load the candidate beside the running model and vote."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Hold:
    """Have the model to return to loaded, beside the current one."""

    fallback: str


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing to load; models other than these may go."""

    sha256: frozenset[str]


def follow(
    loaded: frozenset[str],
    voted: str | None,
    current: Generation,
    candidate: Candidate | None,
    fallback: str | None = None,
) -> Load | Prepare | Hold | Keep:
    """What a worker does next.

    ``loaded`` are the SHA-256 of the models it holds, ``voted`` the attempt it voted on last; ``current``, ``candidate`` and the
    ``fallback`` of the current generation are what the store says *after* the worker entered the roster. A candidate takes the
    place of the fallback, because at most two models are alive.
    """
    if current.sha256 and current.sha256 not in loaded:
        return Load(current)
    if candidate is not None and candidate.after == current.number:
        if voted != candidate.attempt:
            return Prepare(candidate)
        return Keep(frozenset({current.sha256, candidate.sha256}))
    if fallback is not None:
        return Hold(fallback)
    return Keep(frozenset({current.sha256}))
