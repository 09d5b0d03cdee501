"""The client, against an API in this process that fails as told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import numpy as np
import pandas as pd
import pytest
from flask import Flask, Response

from late_payers import client as module
from late_payers.client import ApiError, Client, Refused, Unavailable
from services.predict.app import create_app
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from tests.conftest import LOAN, Made
from tests.unit.services.conftest import make_current


class Api:
    """An application that answers what is in ``first``, and then what the real one does."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.first: list[Response] = []
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


def test_a_value_that_json_lacks(api: Api) -> None:
    with Client(api.url) as client, pytest.raises(ValueError, match="NaN"):
        client.predict({**LOAN, "amount": float("nan")})
    assert not api.seen


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
