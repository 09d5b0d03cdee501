"""The leader's rules about pins with an instant, one by one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from modelbundle import instant
from modelbundle.format import statement
from services.predict.rollout import protocol, state_machine
from services.predict.rollout.instant.clock import Clock
from services.predict.rollout.instant.schedule import scheduled
from services.predict.rollout.protocol import Candidate, Generation, Outcome, PinnedVersion, Vote
from services.predict.rollout.state_machine import MOST_LATE, Leader, Phase
from services.predict.settings import Settings
from tests.conftest import Made
from tests.unit.services.predict.rollout.test_leader import Replica, World

A, B = "a" * 64, "b" * 64
NOW = 1.8e9
OLD = Generation(1, A)


def pinned(due: float) -> PinnedVersion:
    return PinnedVersion(B, "2", not_before=due)


def at(now: float, skew: float = 0.0) -> Clock:
    return Clock(now + skew, now - 0.01, now + 0.01)


def polled(pin: PinnedVersion | None, now: float = NOW, skew: float = 0.0) -> protocol.Polled:
    return protocol.Polled(pin, OLD, now=1e6, clock=at(now, skew), error="" if pin else "lost")


def watching(**known: object) -> Leader:
    return replace(Leader(Phase.WATCHING, settled=True, vouched=1), **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(("due", "why"), [(math.nan, "is no time"), (NOW + 8 * 86400, "more than 7 days ahead")])
@pytest.mark.parametrize("skew", [0.0, -1e8])
def test_an_instant_that_cannot_be_one_is_refused(due: float, why: str, skew: float) -> None:
    """Whatever this host's own clock says, and the replica goes on with what it has."""
    leader, action = state_machine.lead(watching(), polled(pinned(due), skew=skew))
    assert isinstance(action, protocol.Refuse)
    assert action.kind == "instant"
    assert why in action.reason
    assert scheduled(leader) is None


def test_a_model_is_staged_at_once_and_prepared_shortly_before() -> None:
    """Not again with every poll, and the model before is as confirmed as it was."""
    pin = pinned(NOW + 3600)
    leader, action = state_machine.lead(watching(confirmed=True), polled(pin))
    assert action == protocol.Stage(pin)
    leader, action = state_machine.lead(leader, protocol.Staged(Outcome.DONE))
    assert isinstance(action, protocol.Poll)
    leader, action = state_machine.lead(leader, polled(pin))
    assert action == protocol.Rest(3600 - leader.lead)
    assert leader.confirmed
    leader, _ = state_machine.lead(leader, protocol.Done())
    leader, action = state_machine.lead(leader, polled(pin, NOW + 3600 - 20))
    assert action == protocol.Propose(pin)


def test_a_new_leader_goes_on_with_what_was_staged() -> None:
    """It does not rehearse again."""
    pin = pinned(NOW + 10)
    known = protocol.Recovered(settled=True, staged=PinnedVersion(B, "2"), instant=NOW + 20, bound="2")
    leader, _ = state_machine.lead(Leader(), known)
    leader, action = state_machine.lead(leader, polled(pin))
    assert action == protocol.Propose(pin)
    assert leader.instant == NOW + 20, "the statement's, which is the later one"


def held(due: float = NOW + 5) -> Leader:
    pin = pinned(due)
    known = watching(target=pin, staged=pin, instant=due, candidate=Candidate("t", B, 1, "2"), pin=pin, bound="2")
    return replace(known, phase=Phase.PREPARING, deadline=math.inf, awaits=True)


def test_the_model_service_may_be_away_at_the_instant_where_the_clock_is_right() -> None:
    """It must have confirmed the pin once since the workers were ready, and the model is not called confirmed then."""
    pin = pinned(NOW + 5)
    leader, action = state_machine.lead(held(), protocol.Counted({"1": Vote.READY}))
    assert action == protocol.Poll(protocol.FIRST_POLL)
    never, _ = state_machine.lead(leader, polled(None, NOW + 5))
    assert never.phase is Phase.HOLDING
    leader, _ = state_machine.lead(leader, polled(pin, NOW))
    for _ in range(5):
        leader, action = state_machine.lead(leader, polled(None, NOW + 1))
        assert isinstance(action, protocol.Await)
        leader, action = state_machine.lead(leader, protocol.Awaited(at(NOW + 1), OLD))
        leader, action = state_machine.lead(leader, protocol.Counted({"1": Vote.READY}))
    leader, action = state_machine.lead(leader, polled(None, NOW + 2))
    leader, action = state_machine.lead(leader, protocol.Awaited(at(NOW + 5), OLD))
    assert action == protocol.Commit(Candidate("t", B, 1, "2"), pin, A)
    assert state_machine.lead(leader, protocol.Committed())[0].confirmed is False


def test_a_wrong_clock_brings_nothing_while_the_model_service_is_away() -> None:
    """Another worker leads then; it may reach the model service."""
    pin = pinned(NOW + 5)
    leader, _ = state_machine.lead(held(), protocol.Counted({"1": Vote.READY}))
    leader, _ = state_machine.lead(leader, polled(pin, NOW, 5.0))
    for _ in range(2):
        leader, action = state_machine.lead(leader, polled(None, NOW + 9, 5.0))
        assert isinstance(action, protocol.Await)
        leader, action = state_machine.lead(leader, protocol.Awaited(at(NOW + 9, 5.0), OLD))
        assert isinstance(action, protocol.Count)
        leader, action = state_machine.lead(leader, protocol.Counted({"1": Vote.READY}))
    assert isinstance(state_machine.lead(leader, polled(None, NOW + 9, 5.0))[1], protocol.Withdraw)


def test_a_veto_while_the_candidate_is_held_is_a_refusal() -> None:
    """Of a worker that came since."""
    leader, _ = state_machine.lead(held(), protocol.Counted({"1": Vote.READY}))
    leader, _ = state_machine.lead(leader, polled(pinned(NOW + 5)))
    leader, _ = state_machine.lead(leader, protocol.Awaited(at(NOW + 1), OLD))
    _, action = state_machine.lead(leader, protocol.Counted({"1": Vote.READY, "2": Vote.VETO}, reason="it hangs"))
    assert isinstance(action, protocol.Refuse)


def test_a_pin_binds_from_its_instant_on_unless_it_is_new_and_old_or_was_refused() -> None:
    """A pin whose instant passed long ago is as one without; one that was known before binds on."""
    late = polled(pinned(NOW - MOST_LATE - 1))
    for leader, told, binds in (
        (watching(), polled(pinned(NOW - 5)), True),
        (watching(), late, False),
        (watching(bound="2"), late, True),
        (watching(), replace(polled(pinned(NOW - 5)), refused=PinnedVersion(B, "1")), False),
    ):
        after, action = state_machine.lead(leader, told)
        assert isinstance(action, protocol.Stage)
        found = scheduled(after)
        assert found is not None
        assert found.overdue(OLD, NOW) == binds


def test_the_later_instant_of_pin_and_statement_counts_and_the_switch_names_it(
    settings: Settings, bundles: list[Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rehearsals: list[str]
) -> None:
    """A model service that was taken over cannot bring a signed model early."""
    statement.make_keys(tmp_path / "private.pem", tmp_path / "public.pem")
    key = statement.read_private(tmp_path / "private.pem")
    raw = statement.sign(bundles[1].sha256, "b", key, 17, not_before=instant.text(NOW + 60))
    first = statement.sign(bundles[0].sha256, "a", key, 16)
    replica = Replica(replace(settings, model_public_key_file=str(tmp_path / "public.pem")), World())
    said = {bundles[0].sha256: first, bundles[1].sha256: raw}
    monkeypatch.setattr(type(replica.client), "statement", lambda _, pin: said[pin.sha256])
    now = NOW
    monkeypatch.setattr(replica.client.clock, "read", lambda: at(now))
    replica.pin(bundles[0], "1")
    replica.reign()
    replica.pin(bundles[1], "2")
    replica.reign()
    assert replica.store.current().sha256 == bundles[0].sha256
    due = replica.leader.schedule.read()
    assert due is not None
    assert (due.instant, due.staged, due.binding) == (NOW + 60, True, True)
    now = NOW + 60
    replica.reign()
    assert replica.store.current().sha256 == bundles[1].sha256
    assert rehearsals.count(bundles[1].sha256) == 1, "the leader that came since took what was staged"
    assert [e.get("not_before") for e in replica.events().values() if e["kind"] == "switch"].count(
        instant.text(NOW + 60).replace("Z", "+00:00")
    ) == 1
    assert replica.leader.schedule.read() is None
    replica.close()
