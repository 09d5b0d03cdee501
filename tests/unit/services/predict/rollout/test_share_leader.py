"""Leader and worker of a challenger that answers a share: brought in, taken back for the champion, and retired."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from services.predict.app import Application
from services.predict.challenger.status import ChallengerStatus
from services.predict.rollout import protocol, state_machine
from services.predict.rollout.leader import LeaderThread
from services.predict.rollout.model_client import ModelClient, ModelClientError, ServedPins
from services.predict.rollout.probation import Evidence
from services.predict.rollout.protocol import NOTHING, Generation, PinnedVersion
from services.predict.rollout.state_dir import link_text, parse_link
from services.predict.rollout.worker import Worker
from services.predict.settings import Settings
from services.predictionlog import event
from tests.conftest import Made


class Pins(ModelClient):
    """A model service in this process. ``challenger`` is None where none is pinned, a text where it is not served."""

    def __init__(self, made: list[Made]) -> None:
        super().__init__("http://nowhere", max_bytes=1 << 30, role="challenger")
        self.made = made
        self.silent = False
        self.challenger: PinnedVersion | str | None = None

    def poll(self, timeout: float) -> ServedPins:
        champion, own = PinnedVersion(self.made[0].sha256, "0"), self.challenger
        if self.silent:
            raise ModelClientError("nobody is there")
        if isinstance(own, str):
            return ServedPins(champion, None, own)
        return ServedPins(champion, own)

    def fetch(self, pin: PinnedVersion, write: Callable[[bytes], object], seconds: float) -> None:
        write(next(made for made in self.made if made.sha256 == pin.sha256).path.read_bytes())


class Share:
    """The slot of one replica, stepped by hand."""

    def __init__(self, application: Application, settings: Settings, made: list[Made]) -> None:
        self.store = application.share
        self.models = application.sharing
        self.worker = Worker(self.store, self.models)
        self.client = Pins(made)
        self.lines: list[bytes] = []
        self.leader = LeaderThread(self.store, settings, self.client, self.write, champion=application.store)
        self.status = ChallengerStatus(settings, self.store)

    def write(self, line: bytes) -> bool:
        self.lines.append(line)
        return True

    def wants(self, made: Made, own: str, share: float) -> None:
        self.client.challenger = PinnedVersion(made.sha256, own, ("contract", "scores"), share)

    def reign(self) -> Generation:
        """Lead until the second rest, as a new leader; the generation then."""
        self.leader.state, action, rests = state_machine.Leader(), state_machine.FIRST, 0
        for _ in range(200):
            result: protocol.Result = protocol.Done()
            if isinstance(action, protocol.Rest):
                rests += 1
                self.leader._publish()
                self.store.settle()
                if rests == 2:
                    break
            elif not isinstance(action, protocol.StepDown):
                result = self.leader.perform(action)
            self.worker.step()
            self.leader.state, action = state_machine.lead(self.leader.state, result)
        self.worker.step()
        return self.store.current()

    def results(self) -> list[tuple[str, float]]:
        found = [json.loads(event.decode(line)["detail"]) for line in self.lines]
        return [(one["result"], one["share"]) for one in found]


@pytest.fixture
def slot(application: Application, settings: Settings, bundles: list[Made], monkeypatch: pytest.MonkeyPatch) -> Share:
    monkeypatch.setattr("services.predict.rollout.leader.COUNT", 0)
    return Share(application, replace(settings, prediction_log_url="none"), bundles)


def test_a_share_is_brought_in_changed_and_retired(
    slot: Share, application: Application, settings: Settings, bundles: list[Made]
) -> None:
    """The champion's slot stays as it is."""
    champion = application.store.current()
    assert slot.reign() == NOTHING
    slot.wants(bundles[1], "1", 0)
    assert slot.reign() == NOTHING, "a silent challenger answers"
    slot.wants(bundles[1], "2", 10)
    assert slot.reign() == Generation(1, bundles[1].sha256, 10)
    assert slot.models.answering
    assert slot.status.sharing(slot.leader.state.challenger)["answers"]
    slot.wants(bundles[1], "3", 0.5)
    assert slot.reign() == Generation(2, bundles[1].sha256, 0.5)
    slot.client.silent = True
    assert slot.reign().share == 0.5, "the model service is silent: the share stays"
    slot.client.silent, slot.client.challenger = False, "it is being read"
    assert slot.reign().share == 0.5
    slot.client.challenger = None
    assert slot.reign() == Generation(3, "")
    assert not slot.models.answering
    assert slot.models.loaded() == frozenset()
    assert slot.results() == [("answers", 10), ("answers", 0.5), ("retired", 0)]
    assert application.store.current() == champion
    slot.wants(bundles[0], "4", 10)
    assert slot.reign() == Generation(3, ""), "the champion challenges itself"


def test_an_unfit_challenger_goes_back_to_nothing_and_does_not_come_again(slot: Share, bundles: list[Made]) -> None:
    slot.wants(bundles[1], "1", 10)
    slot.reign()
    assert slot.store.probation() is not None
    slot.store.write_evidence("w", msgspec.json.encode(Evidence(1, 20, {"ValueError: no": 2})))
    assert slot.reign() == Generation(2, "")
    assert slot.reign() == Generation(2, ""), "a condemned challenger came back"
    facts = slot.status.sharing("1")
    assert (facts["share"], facts["answers"]) == (10, False)
    assert "probation: 2 of 20 requests got no probability (ValueError: no)" in facts["share_why_not"]
    assert ("refused", 0.0) in slot.results()
    slot.wants(bundles[1], "2", 10)
    assert slot.reign() == Generation(3, bundles[1].sha256, 10), "a new pin is tried again"


def test_links_of_shares_and_of_nothing_are_read_as_they_were_written() -> None:
    """A link without a share, as an older release wrote it, is a champion's."""
    for generation in (
        Generation(7, "a" * 64),
        Generation(7, "a" * 64, 10),
        Generation(7, "a" * 64, 1e-05),
        Generation(8, ""),
    ):
        assert parse_link(link_text(generation)) == generation
    assert link_text(Generation(7, "a" * 64, 10.0)) == f"7-{'a' * 64}-10"
    assert parse_link(f"7-{'a' * 64}") == Generation(7, "a" * 64)
    assert parse_link(f"7-{'a' * 64}-x") == NOTHING
