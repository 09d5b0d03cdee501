"""A challenger answers a share of the records: which ones, under which names, and what happens where it cannot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from modelbundle.errors import CannotScore
from modelbundle.model import Model
from modelbundle.publishing.annotations import Author
from modelbundle.publishing.publish import publish
from services.predict.app import Application, create_app
from services.predict.rollout.probation import verdict
from services.predict.rollout.protocol import Candidate, PinnedVersion, Probation
from services.predict.rollout.state_dir import StateDir
from services.predict.serving.shares import falls
from services.predict.settings import Settings
from services.predictionlog import record, spool
from tests.conftest import LOAN, Made, make_book, make_logistic
from tests.unit.services.conftest import make_current

LOANS = [{**LOAN, "id": f"loan-{i}"} for i in range(40)]
SHARE = 30.0


def share(application: Application, made: Made, percent: float, on_probation: bool = False) -> None:
    """What the leader and the worker of the share do in the end."""
    store, number = application.share, application.share.current().number
    store.bundle(made.sha256).write_bytes(made.path.read_bytes())
    probation = (
        Probation(number + 1, PinnedVersion(made.sha256, "1", share=percent), "", 1e12) if on_probation else None
    )
    store.commit(Candidate("test", made.sha256, number), probation, percent)
    store.settle()
    application.sharing.resolve()


def post(client: FlaskClient, document: Any, **headers: str) -> Any:
    return client.post("/predict", data=json.dumps(document), content_type="application/json", headers=headers)


def versions(client: FlaskClient, loans: Sequence[dict[str, Any]] = LOANS) -> dict[str, str]:
    """The model that answered, by the record's id."""
    answers = post(client, loans).get_json()["predictions"]
    assert [a["id"] for a in answers] == [loan["id"] for loan in loans], "the answers are out of order"
    return {a["id"]: a["model_version"] for a in answers}


@pytest.mark.parametrize("percent", [0.5, 10, 50])
def test_the_share_is_that_of_the_keys(percent: float) -> None:
    """100,000 ids; another challenger gets others."""
    keys = [f"loan-{i}" for i in range(100_000)]
    own = {key for key in keys if falls("a" * 64, percent, key)}
    assert abs(len(own) / 1000 - percent) < 0.5
    other = {key for key in keys if falls("b" * 64, percent, key)}
    assert abs(len(own & other) / 1000 - percent**2 / 100) < 0.5
    assert own >= {key for key in keys if falls("a" * 64, percent / 2, key)}, "a larger share moved a record back"


def test_replicas_that_share_nothing_choose_the_same_records_whatever_their_champion(
    application: Application, settings: Settings, bundles: list[Made], tmp_path: Path
) -> None:
    """A champion's swap moves nobody."""
    share(application, bundles[1], SHARE)
    first = versions(application.flask.test_client())
    chosen = {own for own, version in first.items() if version == bundles[1].sha256}
    assert chosen == {loan["id"] for loan in LOANS if falls(bundles[1].sha256, SHARE, str(loan["id"]))}
    assert 0 < len(chosen) < len(LOANS)
    elsewhere = replace(settings, state_dir=settings.state_dir / "elsewhere", data_dir=settings.data_dir / "elsewhere")
    store = StateDir(elsewhere.state_dir)
    make_current(store, bundles[0])
    store.settle()
    other = create_app(elsewhere, store)
    share(other, bundles[1], SHARE)
    assert versions(other.flask.test_client()) == first
    frame, labels = make_book()
    author = Author("third", "Third", "late")
    third = publish(make_logistic().fit(frame, labels), frame, labels, tmp_path / "third.bundle", author=author)
    make_current(application.store, Made(third, None, frame))
    after = versions(application.flask.test_client())
    assert {own for own, version in after.items() if version == bundles[1].sha256} == chosen
    assert set(after.values()) == {bundles[1].sha256, third.sha256}


def test_each_answer_and_each_logged_row_names_its_model(
    application: Application, client: FlaskClient, settings: Settings, bundles: list[Made]
) -> None:
    """The bits are those that each model gives alone; the header names the champion where both answered."""
    alone = {a["id"]: a for a in post(client, LOANS).get_json()["predictions"]}
    share(application, bundles[1], SHARE)
    application.prediction_log.open()
    response = post(client, LOANS)
    application.prediction_log.close()
    answers = {a["id"]: a for a in response.get_json()["predictions"]}
    assert response.headers["X-Model-Version"] == response.get_json()["model_version"] == bundles[0].sha256
    model = application.sharing.resolve().model
    for own, answer in answers.items():
        if answer["model_version"] == bundles[0].sha256:
            assert answer["predict_proba"] == alone[own]["predict_proba"]
        else:
            assert answer["predict_proba"] == model.answer(model.validator.record(LOAN).row).predict_proba
    lines = [line for path in settings.data_dir.glob("spool/**/*") if path.is_file() for line in spool.lines(path)]
    rows = {row["record_id"]: row for line in lines for row in record.decode(line).rows()}
    assert {own: row["prediction_id"] for own, row in rows.items()} == {
        own: a["prediction_id"] for own, a in answers.items()
    }
    assert {own: row["model_version"] for own, row in rows.items()} == {
        own: a["model_version"] for own, a in answers.items()
    }
    one = next(loan for loan in LOANS if falls(bundles[1].sha256, SHARE, str(loan["id"])))
    assert post(client, one).headers["X-Model-Version"] == bundles[1].sha256


def test_the_ids_of_an_idempotent_request_stay_and_its_rows_without_ids_stay_together(
    application: Application, client: FlaskClient, bundles: list[Made]
) -> None:
    share(application, bundles[1], SHARE)
    found = set()
    for i in range(20):
        answers = [post(client, [LOAN, LOAN], **{"Idempotency-Key": f"key-{i}"}).get_json() for _ in range(2)]
        assert answers[0] == answers[1]
        (version,) = {a["model_version"] for a in answers[0]["predictions"]}
        assert version == answers[0]["model_version"]
        assert (version == bundles[1].sha256) == falls(bundles[1].sha256, SHARE, f"key-{i}")
        found.add(version)
    assert len(found) == 2


def test_csv_rows_name_their_model_and_a_protocol_without_names_is_the_champions(
    application: Application, client: FlaskClient, bundles: list[Made]
) -> None:
    share(application, bundles[1], SHARE)
    rows = [["id", *LOAN], *([loan["id"], *LOAN.values()] for loan in LOANS)]
    text = "\n".join(",".join("" if value is None else str(value) for value in row) for row in rows)
    table = client.post("/predict", data=text, content_type="text/csv").get_data(as_text=True).splitlines()
    for line in table[1:]:
        named = bundles[1 if falls(bundles[1].sha256, SHARE, line.split(",")[0]) else 0].sha256
        assert named in line
    sent = {"dataframe_records": LOANS}
    answers = client.post("/invocations", data=json.dumps(sent), content_type="application/json").get_json()
    assert {a["model_version"] for a in answers["predictions"]} == {bundles[0].sha256}


@pytest.mark.parametrize("error", [CannotScore({0: "ValueError: no"}), MemoryError()])
@pytest.mark.parametrize("one", [True, False])
def test_what_the_challenger_cannot_score_the_champion_answers(
    application: Application,
    client: FlaskClient,
    bundles: list[Made],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    one: bool,
) -> None:
    """The request does not fail; the trial finds the challenger unfit."""
    share(application, bundles[1], 50, on_probation=True)
    whole = {name: getattr(Model, name) for name in ("answer", "answer_columns")}

    def failing(name: str) -> Any:
        def answer(self: Model, *arguments: Any, **options: Any) -> Any:
            if self.version == bundles[1].sha256:
                raise error
            return whole[name](self, *arguments, **options)

        return answer

    for name in whole:
        monkeypatch.setattr(Model, name, failing(name))
    if one:
        loan = next(loan for loan in LOANS if falls(bundles[1].sha256, 50, str(loan["id"])))
        response = post(client, loan)
        assert (response.status_code, response.headers["X-Model-Version"]) == (200, bundles[0].sha256)
    else:
        assert set(versions(client).values()) == {bundles[0].sha256}
    seen = application.sharing.seen()
    assert seen is not None
    assert "got no probability" in verdict(seen, ())


def test_a_retired_challenger_answers_nothing(
    application: Application, client: FlaskClient, bundles: list[Made]
) -> None:
    """At once, though the worker's thread has not looked yet."""
    share(application, bundles[1], 50)
    assert len(set(versions(client).values())) == 2
    application.share.commit(Candidate("", "", application.share.current().number))
    assert set(versions(client).values()) == {bundles[0].sha256}
    application.sharing.retire()
    assert application.sharing.release(frozenset()), "the challenger stays in memory"
