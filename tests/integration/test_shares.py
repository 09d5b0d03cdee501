"""A challenger answers a share of the records: the same each time, named in each answer and in the log, until taken away."""

from __future__ import annotations

import sqlite3

from services.predict.serving.shares import falls
from tests.conftest import LOAN, Made
from tests.integration.system import System, until
from tests.integration.test_predictionlog import database


def test_a_challenger_answers_a_tenth_and_is_taken_away_again(serving: System, bundles: list[Made]) -> None:
    """The silent challenger scores what the champion answered, and only that."""
    champion, other = bundles[:2]
    loans = [{**LOAN, "id": f"loan-{i}"} for i in range(300)]
    expected = {loan["id"] for loan in loans if falls(other.sha256, 10, loan["id"])}
    assert 15 <= len(expected) <= 45
    serving.pin(champion.path.name, champion.sha256, (other.path.name, other.sha256), ("scores", "contract"), 10)
    until(lambda: (serving.readyz()[1]["challenger"] or {}).get("answers"), 30, "the challenger answers")
    until(lambda: serving.readyz()[1]["challenger"]["state"] == "scoring", 30, "the challenger is scored too")
    facts = serving.readyz()[1]
    assert (facts["model_version"], facts["generation"], facts["challenger"]["share"]) == (champion.sha256, 1, 10)

    def tenth() -> bool:
        answers = serving.post(loans)[2]["predictions"]
        return {a["id"] for a in answers if a["model_version"] == other.sha256} == expected

    until(tenth, 5, "every worker has seen the share")
    for loan in loans[:60]:
        _, headers, answer = serving.post(loan)
        assert headers["x-model-version"] == answer["model_version"]
        assert (answer["model_version"] == other.sha256) == (loan["id"] in expected)
    posted = 60 + 300

    def logged() -> dict[str, int]:
        with sqlite3.connect(database(serving), timeout=10) as connection:
            rows = connection.execute("SELECT record_id, model_version FROM predictions").fetchall()
        assert {own for own, version in rows if version == other.sha256} <= expected
        return {"all": len(rows), "challenger": sum(version == other.sha256 for _, version in rows)}

    until(lambda: logged()["all"] >= posted, 20, "all is logged")
    silent = "SELECT count(*) FROM challenges c JOIN predictions p USING (prediction_id) WHERE p.model_version = ?"
    with sqlite3.connect(database(serving), timeout=10) as connection:
        assert connection.execute(silent, [other.sha256]).fetchone() == (0,)
    serving.pin(champion.path.name, champion.sha256, (other.path.name, other.sha256), ("scores", "contract"))
    until(lambda: serving.readyz()[1]["challenger"]["share"] == 0, 20, "the share is gone")
    assert {a["model_version"] for a in serving.post(loans)[2]["predictions"]} == {champion.sha256}
    with sqlite3.connect(database(serving), timeout=10) as connection:
        events = connection.execute("SELECT detail FROM events WHERE kind = 'challenge'").fetchall()
    assert any('"result":"answers"' in detail for (detail,) in events)
