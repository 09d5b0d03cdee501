"""The leader's rules one by one: what follows each result, and what a leader remembers."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from services.predict.rollout import protocol, state_machine
from services.predict.rollout.protocol import Candidate, Generation, Outcome, PinnedVersion, Vote

WORKERS = 3
DEADLINE = 1.0  # of every vote; it is 0.0 o'clock until a vote is late
A, B, BAD = "a" * 64, "b" * 64, "0" * 64


def test_an_empty_roster_never_commits() -> None:
    """Nobody having voted is not everybody being ready."""
    pin = PinnedVersion(A, "1")
    candidate = Candidate("t", A, 0)
    leader = state_machine.Leader(state_machine.Phase.PREPARING, target=pin, candidate=candidate, deadline=DEADLINE)
    assert state_machine.lead(leader, protocol.Counted({}))[1] == protocol.Count(candidate)


def test_a_result_that_does_not_follow_is_an_error() -> None:
    """The machine does not guess."""
    with pytest.raises(ValueError, match="does not follow"):
        state_machine.lead(state_machine.Leader(state_machine.Phase.STAGING), protocol.Done())


def watching(**known: object) -> state_machine.Leader:
    return replace(state_machine.Leader(state_machine.Phase.WATCHING), **known)  # type: ignore[arg-type]


def test_a_leader_goes_on_from_what_the_one_before_published() -> None:
    """Confirmed since when, and the challenger. The first poll is short while the replica has not settled, and only then."""
    first = state_machine.Leader()
    leader, action = state_machine.lead(first, protocol.Recovered(True, 12.0, "c1", settled=False))
    assert (leader.confirmed, leader.since, leader.challenger) == (True, 12.0, "c1")
    assert action == protocol.Poll(protocol.FIRST_POLL)
    assert state_machine.lead(first, protocol.Recovered(settled=True))[1] == protocol.Poll()
    assert state_machine.lead(leader, protocol.Done()) == (replace(leader, settled=True), protocol.Poll())


def test_confirmed_has_the_time_of_its_last_change_only() -> None:
    """A poll that changes nothing leaves it; an error, another pin and the switch change it."""
    a, b = PinnedVersion(A, "1"), PinnedVersion(B, "2")
    current = Generation(1, A)
    leader = watching(attested=a)
    told = []
    for time, polled in enumerate(
        (
            protocol.Polled(a, current),
            protocol.Polled(a, current),
            protocol.Polled(None, current, error="lost"),
            protocol.Polled(None, current, error="lost"),
            protocol.Polled(a, current),
            protocol.Polled(b, current),
        ),
        start=1,
    ):
        leader, _ = state_machine.lead(leader, replace(polled, time=float(time)))
        told.append((leader.confirmed, leader.since))
    assert told == [(True, 1), (True, 1), (False, 3), (False, 3), (True, 5), (False, 6)]
    committing = replace(leader, phase=state_machine.Phase.COMMITTING)
    after, action = state_machine.lead(committing, protocol.Committed(9.0))
    assert (after.confirmed, after.since, action) == (True, 9.0, protocol.Rest())


def test_a_deployment_is_timed_from_the_first_poll_that_told_of_its_pin() -> None:
    """A retry does not begin anew; another pin does."""
    a, b = PinnedVersion(A, "1"), PinnedVersion(B, "2")
    leader, began = watching(), []
    for now, pin in enumerate((a, a, b, b), start=1):
        leader, _ = state_machine.lead(leader, protocol.Polled(pin, now=float(now)))
        began.append(leader.began)
        leader, _ = state_machine.lead(leader, protocol.Staged(Outcome.RETRY, "lost", "fetch"))
    assert began == [1, 1, 3, 3]


def test_the_pause_doubles_up_to_a_second_and_a_success_ends_that() -> None:
    """Failed polls and failed downloads alike; however many there are."""
    pin = PinnedVersion(A, "1")
    leader, action = state_machine.lead(watching(), protocol.Polled(None, error="lost"))
    pauses = [action.at_most]  # type: ignore[union-attr]
    for _ in range(2000):
        leader, _ = state_machine.lead(leader, protocol.Polled(pin))
        leader, action = state_machine.lead(leader, protocol.Staged(Outcome.RETRY, "lost", "fetch"))
        pauses.append(action.at_most)  # type: ignore[union-attr]
    assert pauses[:5] == [0.1, 0.2, 0.4, 0.8, 1.0]
    assert set(pauses[5:]) == {1.0}
    leader, action = state_machine.lead(leader, protocol.Polled(pin, refused=pin))
    assert (action, leader.failures) == (protocol.Rest(), 0)


def test_three_failed_polls_in_a_row_give_the_lead_up() -> None:
    """One that succeeds between them begins the count anew."""
    a = PinnedVersion(A, "1")
    good = protocol.Polled(a, Generation(1, A))
    bad = protocol.Polled(None, error="lost")
    leader, actions = watching(attested=a), []
    for polled in (bad, bad, good, bad, bad, bad):
        leader, action = state_machine.lead(leader, polled)
        actions.append(isinstance(action, protocol.StepDown))
    assert actions == [False] * 5 + [True]


def test_a_statement_is_asked_for_once_per_pin_of_the_current_model() -> None:
    """Until the model service answers. After a switch it is known: it came with the model."""
    a, current = PinnedVersion(A, "1"), Generation(1, A)
    leader, action = state_machine.lead(watching(), protocol.Polled(a, current))
    assert action == protocol.Attest(a)
    leader, action = state_machine.lead(leader, protocol.Attested(False))
    assert action == protocol.Rest()
    leader, action = state_machine.lead(leader, protocol.Polled(a, current))
    assert action == protocol.Attest(a)
    leader, _ = state_machine.lead(leader, protocol.Attested(True))
    assert state_machine.lead(leader, protocol.Polled(a, current))[1] == protocol.Rest()
    again = PinnedVersion(A, "2")
    assert state_machine.lead(leader, protocol.Polled(again, current))[1] == protocol.Attest(again)
    switched = watching(phase=state_machine.Phase.COMMITTING, target=again)
    leader, _ = state_machine.lead(switched, protocol.Committed())
    assert state_machine.lead(leader, protocol.Polled(again, current))[1] == protocol.Rest()


def test_a_poll_without_an_answer_forgets_the_pin_and_not_the_challenger() -> None:
    """Nothing is wanted then; the challenger that was pinned goes on."""
    a = PinnedVersion(A, "1")
    leader, _ = state_machine.lead(watching(), protocol.Polled(a, Generation(1, A), challenger="c1"))
    leader, _ = state_machine.lead(leader, protocol.Polled(None, error="lost"))
    assert (leader.pin, leader.challenger, leader.error) == (None, "c1", "lost")
    leader, _ = state_machine.lead(leader, protocol.Polled(a, Generation(1, A)))
    assert (leader.pin, leader.challenger, leader.error) == (a, None, "")


def test_a_trouble_is_told_until_it_is_over() -> None:
    """Staged, refused, or another pin."""
    pin, current = PinnedVersion(B, "2"), Generation(1, A)
    leader, _ = state_machine.lead(watching(), protocol.Polled(pin, current))
    leader, _ = state_machine.lead(leader, protocol.Staged(Outcome.RETRY, "lost", "fetch"))
    leader, action = state_machine.lead(leader, protocol.Polled(pin, current))
    assert (leader.trouble, action) == ("lost", protocol.Stage(pin))
    for staged in (protocol.Staged(Outcome.DONE), protocol.Staged(Outcome.REFUSED, "golden rows", "golden")):
        assert state_machine.lead(leader, staged)[0].trouble == ""
    watch = replace(leader, phase=state_machine.Phase.WATCHING)
    assert state_machine.lead(watch, protocol.Polled(PinnedVersion(A, "3"), current))[0].trouble == ""


def test_votes_count_until_the_deadline() -> None:
    """One that is missing then is tried again, which is named and no strike; a veto is a refusal at any time."""
    pin = PinnedVersion(A, "1")
    candidate = Candidate("t", A, 0)
    leader = watching(phase=state_machine.Phase.PREPARING, target=pin)
    leader, action = state_machine.lead(leader, protocol.Proposed(candidate, 5.0))
    assert action == protocol.Count(candidate)
    some = {"1": Vote.READY, "2": None}
    assert state_machine.lead(leader, protocol.Counted(some, 5.0))[1] == protocol.Count(candidate)
    waiting, _ = state_machine.lead(leader, protocol.Counted(some, 5.0, "a worker does not respond"))
    assert waiting.trouble == "a worker does not respond"
    late, action = state_machine.lead(leader, protocol.Counted(some, 5.1, "a worker does not respond"))
    assert action == protocol.Withdraw()
    late, action = state_machine.lead(late, protocol.Done(5.2))
    assert (late.trouble, late.strikes) == ("late, and tried again: a worker does not respond", 0)
    assert state_machine.lead(late, protocol.Polled(pin, now=5.3))[1] == protocol.Stage(pin)
    veto = state_machine.lead(leader, protocol.Counted({"1": Vote.VETO, "2": None}, 0.0, "no memory"))[1]
    assert veto == protocol.Refuse(pin, "a worker could not prepare it: no memory", "veto")


def test_a_pin_that_is_not_the_same_when_all_are_ready_is_withdrawn() -> None:
    """Another one, the same model pinned again, and no answer alike."""
    pin, candidate = PinnedVersion(B, "2"), Candidate("t", B, 1)
    confirming = watching(phase=state_machine.Phase.CONFIRMING, target=pin, candidate=candidate)
    for found in (PinnedVersion(A, "3"), PinnedVersion(B, "3"), None):
        assert state_machine.lead(confirming, protocol.Polled(found))[1] == protocol.Withdraw()
    assert state_machine.lead(confirming, protocol.Polled(pin))[1] == protocol.Commit(candidate, pin)


def test_a_leader_that_rests_has_neither_a_target_nor_an_old_trouble() -> None:
    """After a switch, a failed download, and a pin that was refused before."""
    pin, candidate = PinnedVersion(B, "2"), Candidate("t", B, 1)
    switched = watching(phase=state_machine.Phase.COMMITTING, target=pin, candidate=candidate)
    leader, _ = state_machine.lead(switched, protocol.Committed())
    assert (leader.target, leader.candidate) == (None, None)
    staging = watching(phase=state_machine.Phase.STAGING, target=pin)
    leader, _ = state_machine.lead(staging, protocol.Staged(Outcome.RETRY, "lost", "fetch"))
    assert (leader.target, leader.trouble) == (None, "lost")
    for polled in (protocol.Polled(pin, refused=pin), protocol.Polled(pin, Generation(1, B))):
        known = replace(leader, attested=pin)
        assert state_machine.lead(known, polled)[0].trouble == ""


def tried(leader: state_machine.Leader, pins: int, every: float, kind: str) -> list[float]:
    """When a pin is staged, for a model service that has a new pin at each poll, and none of them comes to anything."""
    now, times, number = 1000.0, [], 0
    while len(times) < pins:
        number += 1
        leader, action = state_machine.lead(leader, protocol.Polled(PinnedVersion(B, str(number)), now=now))
        if isinstance(action, protocol.Stage):
            times.append(now)
            outcome = Outcome.RETRY if kind == "fetch" else Outcome.REFUSED
            leader, action = state_machine.lead(leader, protocol.Staged(outcome, "no", kind, now))
            if outcome is Outcome.REFUSED:
                leader, action = state_machine.lead(leader, protocol.Done(now))
        now += max(every, action.at_most) if action.at_most < math.inf else max(every, 1.0)  # type: ignore[union-attr]
    return times


@pytest.mark.attack("lying model service")
@pytest.mark.parametrize("kind", ["statement", "fetch"])
def test_a_model_service_that_lies_for_ever_costs_two_rehearsals_a_minute(kind: str) -> None:
    """A new pin at each poll that is refused, or whose bytes do not fit: the pauses double up to half a minute."""
    times = tried(watching(), 30, 0.001, kind)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] < 1.2
    assert all(gap >= state_machine.MOST_STRIKE - 5 for gap in gaps[-10:])
    assert times[-1] - times[0] > 19 * (state_machine.MOST_STRIKE - 5)


def test_a_good_pin_after_a_wrong_one_is_staged_at_once() -> None:
    """One mistake costs a tenth of a second; the next leader knows of strikes, and they are forgotten after ten seconds."""
    bad = PinnedVersion(BAD, "1")
    leader = watching(phase=state_machine.Phase.STAGING, target=bad, pin=bad)
    leader, _ = state_machine.lead(leader, protocol.Staged(Outcome.REFUSED, "no", "format"))
    leader, action = state_machine.lead(leader, protocol.Done(100.0))
    assert action == protocol.Rest(0.1)
    good = PinnedVersion(B, "2")
    early, action = state_machine.lead(leader, protocol.Polled(good, now=100.08))
    assert isinstance(action, protocol.Rest)
    assert action.at_most < 0.03
    assert state_machine.lead(early, protocol.Polled(good, now=100.11))[1] == protocol.Stage(good)
    nine = state_machine.Leader()
    nine, _ = state_machine.lead(nine, protocol.Recovered(strikes=9, resume=130.0, settled=True))
    waits, action = state_machine.lead(nine, protocol.Polled(good, now=129.0))
    assert action == protocol.Rest(1.0)
    assert "9 pins in a row" in waits.trouble
    staging, _ = state_machine.lead(nine, protocol.Polled(good, now=141.0))
    refused, _ = state_machine.lead(staging, protocol.Staged(Outcome.REFUSED, "no", "format"))
    assert state_machine.lead(refused, protocol.Done(141.0))[0].strikes == 1


@pytest.mark.attack("lying model service")
def test_a_challenger_that_comes_and_goes_for_ever_waits_too() -> None:
    """To retire one is done at once, always; to bring one in is not."""
    leader, now, staged = watching(), 1000.0, 0
    for _ in range(200):
        leader, action = state_machine.lead(leader, protocol.Polled(protocol.NOBODY, Generation(1, A, 10.0), now=now))
        assert action == protocol.Retire()
        leader, _ = state_machine.lead(leader, protocol.Done(now))
        leader, action = state_machine.lead(leader, protocol.Polled(PinnedVersion(A, str(now), share=10), now=now))
        staged += isinstance(action, protocol.Stage)
        leader = replace(leader, phase=state_machine.Phase.WATCHING)
        now += 0.1
    assert staged <= 9
