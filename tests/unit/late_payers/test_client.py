"""The client, against an API in this process that fails as told."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import numpy as np
import pandas as pd
import pytest
from flask import Flask, Response

from late_payers.client import ApiError, Client, Refused, Unavailable
from late_payers.client import api as module
from services.predict.api.arrow import columns
from services.predict.app import create_app
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from tests.conftest import LOAN, Made
from tests.unit.services.conftest import make_current


class Api:
    """An application that answers what is in ``first``, and then what the real one does."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.first: list[Any] = []  # WSGI applications
        self.seen: list[dict[str, Any]] = []
        self.url = ""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        self.seen.append(environ)
        if self.first:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return self.first.pop(0)(environ, start_response)
        return self.app(environ, start_response)


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def api(tmp_path: Any, bundles: list[Made], monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    settings = Settings.from_environment({"STATE_DIR": str(tmp_path), "MAX_ROWS": "50"})
    store = StateDir(settings.state_dir)
    make_current(store, bundles[0])
    store.settle()
    api = Api(create_app(settings, store).flask)
    monkeypatch.setattr(module.time, "sleep", api_pauses.append)
    api_pauses.clear()
    with make_server("127.0.0.1", 0, api, handler_class=Quiet) as server:
        api.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield api
        server.shutdown()
        thread.join()


api_pauses: list[float] = []


def test_typed_answers(api: Api, bundles: list[Made]) -> None:
    """Everything the API says, under names."""
    with Client(api.url, key="abc") as client:
        one = client.predict({**LOAN, "id": "L1", "purpose": "rocket"})
        assert client.model()["name"] == "first"
    assert one.probability == one.probabilities[1]
    assert one.id == "L1"
    assert one.model_version == bundles[0].sha256
    assert [w.pointer for w in one.warnings] == ["/purpose"]
    assert one.reasons is not None
    assert all(reason.text and reason.contribution > 0 for reason in one.reasons)
    assert api.seen[0]["HTTP_AUTHORIZATION"] == "Bearer abc"


def test_it_tries_again_as_it_is_told_and_it_is_the_same_prediction(api: Api) -> None:
    """503 with Retry-After, then 429, then the answer: three attempts, one idempotency key."""
    api.first = [
        Response(status=503, headers={"Retry-After": "7"}),
        Response(status=429, headers={"Retry-After": "3600"}),
    ]
    with Client(api.url) as client:
        assert 0 < client.predict(LOAN).probability < 1
    assert len({environ["HTTP_IDEMPOTENCY_KEY"] for environ in api.seen}) == 1
    assert len(api.seen) == 3
    assert 7 <= api_pauses[1] <= 8.4
    assert api_pauses[2] == module.LONGEST_PAUSE


def test_it_gives_up_and_says_why(api: Api) -> None:
    api.first = [Response(status=503)] * 3
    with Client(api.url, attempts=3) as client, pytest.raises(Unavailable, match="503, 3 times"):
        client.predict(LOAN)
    with Client("http://127.0.0.1:9", attempts=2) as client, pytest.raises(Unavailable, match="cannot be reached"):
        client.predict(LOAN)


def test_a_refusal_has_every_problem(api: Api) -> None:
    """In the message and as data; it is not tried again."""
    with Client(api.url) as client, pytest.raises(Refused) as refused:
        client.predict({**LOAN, "amount": "12", "colour": 1})
    assert refused.value.status == 422
    assert {p.pointer for p in refused.value.problems} == {"/amount", "/colour"}
    assert "/amount: must be a number" in str(refused.value)
    assert refused.value.request_id == api.seen[0]["request.id"]
    assert len(api.seen) == 1


def test_something_else_at_the_address(api: Api) -> None:
    for answer in (Response("<html>"), Response("[]"), Response("gone", 404)):
        api.first = [answer]
        with Client(api.url) as client, pytest.raises(ApiError, match="is it the prediction API"):
            client.predict(LOAN)


@pytest.mark.parametrize("value", [np.int64(12000), np.float32(12000), Decimal("12000"), np.array(12000.0)])
def test_scalars_of_other_libraries_are_numbers(api: Api, value: Any) -> None:
    """One by one and among others."""
    with Client(api.url) as client:
        expected = client.predict({**LOAN, "amount": 12000}).probability
        assert client.predict({**LOAN, "amount": value, "grade": np.str_("C")}).probability == expected
        assert client.predict_many([{**LOAN, "amount": value}])[0].probability == expected


@pytest.mark.parametrize("value", [None, math.nan, np.float64("nan"), np.float32("nan"), pd.NA, pd.NaT, Decimal("NaN")])
def test_whatever_stands_for_a_missing_value_is_one(api: Api, value: Any) -> None:
    with Client(api.url) as client:
        expected = client.predict({**LOAN, "emp_length": None}).probability
        assert client.predict({**LOAN, "emp_length": value}).probability == expected


def test_a_value_that_json_lacks(api: Api) -> None:
    """The message names the field, where it can."""
    with Client(api.url) as client:
        with pytest.raises(ValueError, match="Infinity"):
            client.predict({**LOAN, "amount": math.inf})
        with pytest.raises(ValueError, match="amount is of type list"):
            client.predict({**LOAN, "amount": [1]})
        with pytest.raises(ValueError, match="amount is of type datetime"):
            client.predict_many([{**LOAN, "amount": datetime(2026, 1, 1, tzinfo=UTC)}])
    assert not api.seen


def test_more_rows_than_the_api_takes_go_in_several_requests(api: Api) -> None:
    """And a problem's place is that in what the caller gave."""
    loans = [{**LOAN, "amount": 1000 + i} for i in range(120)]
    with Client(api.url) as client:
        found = client.predict_many(loans)
        assert [one.probability for one in found] == [client.predict(loan).probability for loan in loans]
        loans[70]["int_rate"] = 7
        with pytest.raises(Refused) as refused:
            client.predict_many(loans)
        assert [p.pointer for p in refused.value.problems] == ["/records/70/int_rate"]
        frame = pd.DataFrame(loans)
        with pytest.raises(Refused) as refused:
            client.predict_frame(frame, progress=False)
        assert [p.pointer for p in refused.value.problems] == ["/70/int_rate"]


def test_a_netrc_does_not_replace_the_key(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it sent where there is no key."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password secret\n", "utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Client(api.url, key="abc") as client:
        client.predict(LOAN)
    with Client(api.url) as client:
        client.predict(LOAN)
    assert [environ.get("HTTP_AUTHORIZATION") for environ in api.seen] == ["Bearer abc", None]


@pytest.mark.parametrize("length", ["500", "14"], ids=["by its length", "by its JSON"])
def test_an_answer_that_breaks_off_is_asked_for_again(api: Api, length: str) -> None:
    """With the same idempotency key: it is the same prediction."""

    def cut(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", length)])
        return [b'{"prediction":']

    api.first = [cut]
    with Client(api.url) as client:
        assert 0 < client.predict(LOAN).probability < 1
    assert len({environ["HTTP_IDEMPOTENCY_KEY"] for environ in api.seen}) == 1
    assert len(api.seen) == 2


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_told_and_not_followed(api: Api, status: int) -> None:
    """Following it would make a GET of a POST."""
    api.first = [Response(status=status, headers={"Location": "https://elsewhere/predict"})]
    with Client(api.url) as client, pytest.raises(ApiError, match="redirects to https://elsewhere/predict"):
        client.predict(LOAN)
    assert len(api.seen) == 1


@pytest.mark.parametrize("url", ["127.0.0.1:5000", "ftp://127.0.0.1", "http://", "localhost"])
def test_what_is_no_address_is_an_api_error(url: str) -> None:
    with Client(url, attempts=2) as client, pytest.raises(ApiError):
        client.predict(LOAN)


def test_a_frame(api: Api, bundles: list[Made], capsys: pytest.CaptureFixture[str]) -> None:
    """In pieces, with missing values and an index of its own; as scikit-learn scores it."""
    frame = bundles[0].frame.head(120).set_index(np.arange(120) * 7)
    assert frame["emp_length"].isna().any()
    with Client(api.url) as client:
        found = client.predict_frame(frame, rows=50, progress=True)
    assert len(api.seen) == 3
    assert list(found.index) == list(frame.index)
    assert found["probability"].to_numpy() == pytest.approx(bundles[0].pipeline.predict_proba(frame)[:, 1], abs=1e-12)
    assert "120/120" in capsys.readouterr().err
    with Client(api.url) as client:
        assert client.predict_frame(frame.head(0)).empty


def test_a_frame_with_a_bad_row_says_which(api: Api, bundles: list[Made]) -> None:
    """The pointer counts from the frame's first row."""
    frame = bundles[0].frame.head(60).reset_index(drop=True)
    frame.loc[57, "int_rate"] = 3.0
    with Client(api.url) as client, pytest.raises(Refused) as refused:
        client.predict_frame(frame, rows=50, progress=False)
    assert [p.pointer for p in refused.value.problems] == ["/57/int_rate"]


def test_integers_and_text_stay_what_they_are(api: Api) -> None:
    """numpy's own types are understood."""
    frame = pd.DataFrame(
        {
            "amount": np.array([1000, 2000]),
            "int_rate": np.float32([0.5, 0.25]),
            "grade": ["A", "B"],
            "purpose": "car",
        }
    )
    with Client(api.url) as client:
        found = client.predict_frame(frame)
        one = client.predict({"amount": 2000, "int_rate": 0.25, "grade": "B", "purpose": "car"})
    assert found["probability"][1] == one.probability


ARROW, JSON = "application/vnd.apache.arrow.stream", "application/json"


def kinds(api: Api) -> list[str]:
    """The types of the bodies that were sent."""
    return [environ["CONTENT_TYPE"] for environ in api.seen]


@pytest.mark.parametrize("why", ["the API", "the client"])
def test_a_frame_gets_the_same_with_and_without_arrow(
    api: Api, bundles: list[Made], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """An API without pyarrow is asked once; a client without it never asks. Warnings and reasons are the same texts."""
    frame = bundles[0].frame.head(40).drop(columns="is_late", errors="ignore").reset_index(drop=True)
    frame["id"] = [f"loan {i}" for i in range(40)]
    frame.loc[3, "purpose"] = "rocket"
    frame["grade"] = frame["grade"].astype("category")
    with Client(api.url) as client:
        wanted = client.predict_frame(frame, rows=20)
    assert kinds(api) == [ARROW] * 2
    api.seen.clear()
    if why == "the API":
        monkeypatch.setattr(columns, "INSTALLED", False)
    else:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    with Client(api.url) as client:
        found = client.predict_frame(frame, rows=20)
    assert kinds(api) == ([ARROW] if why == "the API" else []) + [JSON] * 2
    assert wanted["warnings"][3].startswith("purpose: ")
    assert any(wanted["reasons"])
    left = ["prediction_id"]
    pd.testing.assert_frame_equal(found.drop(columns=left), wanted.drop(columns=left))


@pytest.mark.parametrize(
    "strange",
    [
        [Decimal("12000"), Decimal("5000")],
        [12000, "5000"],
        [True, False],
        [[1], [2]],
        [datetime(2020, 1, 1, tzinfo=UTC)] * 2,
    ],
)
def test_what_arrow_has_no_numbers_or_texts_for_goes_as_json(api: Api, strange: list[Any]) -> None:
    """So it is accepted, or refused, as in a record."""
    frame = pd.DataFrame({**{name: [value] * 2 for name, value in LOAN.items()}, "amount": strange})
    with Client(api.url) as client:
        try:
            found: Any = client.predict_frame(frame)["probability"].tolist()
        except (Refused, ValueError) as error:
            found = type(error)
        try:
            wanted: Any = [client.predict(record).probability for record in frame.to_dict("records")]
        except (Refused, ValueError) as error:
            wanted = type(error)
    assert found == wanted
    assert ARROW not in kinds(api)


def test_a_frame_of_empty_columns_and_no_rows_at_a_time(api: Api) -> None:
    with Client(api.url) as client:
        with pytest.raises(Refused):
            client.predict_frame(pd.DataFrame({"amount": [None, None]}))
        with pytest.raises(ValueError, match="at least 1"):
            client.predict_frame(pd.DataFrame({"amount": [1]}), rows=0)


def test_an_answer_that_is_no_table(api: Api) -> None:
    """Of another server, perhaps."""
    api.first = [Response("{}", mimetype=JSON)]
    frame = pd.DataFrame({name: [value] for name, value in LOAN.items()})
    with Client(api.url) as client, pytest.raises(ApiError, match="answered a table with application/json"):
        client.predict_frame(frame)
