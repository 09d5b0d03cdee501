"""Rows that fit, and for which the model gives no probability: an error of their own, on every way in, and no 500."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures

from modelbundle.publishing.publish import publish
from services.predict.app import create_app
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings
from tests.conftest import Made
from tests.unit.services.conftest import make_current

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(RNG.normal(size=(200, 3)), columns=["a", "b", "c"])
LABELS = (FRAME["a"] > 0).astype(int)
GOOD, HUGE = {"a": 0.5, "b": 0.1, "c": 0.2}, {"a": 1e155, "b": 1e155, "c": 0.2}


def asked(estimator: Any, store: StateDir, settings: Settings, frame: Any = FRAME, labels: Any = LABELS) -> FlaskClient:
    """A client of an API that answers with this classifier."""
    path = Path(settings.state_dir).parent / "m.bundle"
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Made(publish(estimator.fit(frame, labels), frame, labels, path), estimator, frame)
    make_current(store, made)
    store.settle()
    return create_app(settings, store).flask.test_client()


@pytest.fixture(params=["raises", "nan"])
def client(request: pytest.FixtureRequest, store: StateDir, settings: Settings) -> FlaskClient:
    """One whose steps raise for huge numbers, and one that answers NaN for them."""
    if request.param == "raises":
        return asked(make_pipeline(PolynomialFeatures(3), FunctionTransformer(), LogisticRegression()), store, settings)
    return asked(GaussianNB(), store, settings)


def test_a_record_a_list_records_and_columns(client: FlaskClient) -> None:
    """422, and where the row is in what was sent; a request without such rows is answered."""
    columns = {name: [GOOD[name], HUGE[name]] for name in GOOD}
    for document, pointer, word in (
        (HUGE, "", "this row"),
        ([GOOD, HUGE], "/1", "this row"),
        ({"records": [GOOD, HUGE]}, "/records/1", "this row"),
        (columns, "", "row 1: "),
    ):
        answer = client.post("/predict", json=document)
        assert answer.status_code == 422
        (error,) = answer.get_json()["errors"]
        assert error["pointer"] == pointer
        assert word in error["detail"]
        assert "gives no probability" in error["detail"]
    assert client.post("/predict", json=[GOOD, GOOD]).status_code == 200


def test_csv_has_the_error_on_the_row_and_the_others_are_scored(client: FlaskClient) -> None:
    """The answer does not end in the middle."""
    rows = [GOOD if i % 7 else HUGE for i in range(50)]
    text = "a,b,c\n" + "".join(f"{row['a']},{row['b']},{row['c']}\n" for row in rows)
    answer = client.post("/predict", data=text, content_type="text/csv")
    assert answer.status_code == 200
    header, *lines = [line.split(",") for line in answer.get_data(as_text=True).splitlines()]
    found = [dict(zip(header, line, strict=True)) for line in lines]
    assert [bool(row["error"]) for row in found] == [row is HUGE for row in rows]
    assert len({row["probability"] for row in found if not row["error"]}) == 1


def test_other_protocols_and_the_page(client: FlaskClient) -> None:
    """Each in its own words, none with a 500."""
    name = client.get("/model").get_json()["name"]
    inputs = [{"name": k, "shape": [2], "datatype": "FP64", "data": [GOOD[k], HUGE[k]]} for k in GOOD]
    assert client.post(f"/v2/models/{name}/infer", json={"inputs": inputs}).status_code == 400
    assert client.post("/invocations", json={"dataframe_records": [GOOD, HUGE]}).status_code == 400
    page = client.post("/", data={f"f.{k}": str(v) for k, v in HUGE.items()})
    assert page.status_code == 422
    assert "There is no answer for this case" in page.get_data(as_text=True)


CLASSES: list[tuple[str, Any, Any, Any]] = [
    ("three", LogisticRegression(max_iter=1000), *load_iris(return_X_y=True, as_frame=True)),
    ("three, as floats", RandomForestClassifier(5), load_iris(as_frame=True).data, load_iris().target.astype(float)),
    ("ten", HistGradientBoostingClassifier(max_iter=2), *load_digits(return_X_y=True, as_frame=True)),
    ("texts", LogisticRegression(), FRAME, np.where(LABELS == 1, "yes", "no")),
    ("booleans", LogisticRegression(), FRAME, LABELS == 1),
]  # fmt: skip
PAGES = ("/", "/batch", "/batch/model.json", "/batch/template.csv", "/model-card", "/monitor", "/monitor.json", "/openapi.json",
         "/docs", "/model", "/v2", "/metrics", "/readyz")  # fmt: skip


@pytest.mark.parametrize(("_", "estimator", "frame", "labels"), CLASSES, ids=[name for name, *_ in CLASSES])
def test_every_page_and_protocol_with_any_classes(
    _: str, estimator: Any, frame: Any, labels: Any, store: StateDir, settings: Settings
) -> None:
    """Three and ten, texts, booleans, floats, and features that are always the same."""
    client = asked(estimator, store, settings, frame, labels)
    for path in PAGES:
        assert client.get(path).status_code in (200, 302, 308, 404 if path == "/monitor.json" else 200), path
    record = dict(zip(frame.columns, frame.iloc[0].tolist(), strict=True))
    said = np.asarray(estimator.predict(frame[:1])).tolist()[0]
    answer = client.post("/predict", json=record).get_json()
    assert (answer["prediction"], type(answer["prediction"])) == (said, type(said))
    assert answer["predict_proba"] == pytest.approx(estimator.predict_proba(frame[:1])[0].tolist(), abs=1e-12)
    assert client.post("/", data={f"f.{k}": str(v) for k, v in record.items()}).status_code == 200
    text = ",".join(record) + "\n" + ",".join(map(str, record.values())) + "\n"
    line = client.post("/predict", data=text, content_type="text/csv").get_data(as_text=True).splitlines()[1]
    assert line.split(",")[len(record)] == (str(said).lower() if isinstance(said, bool) else str(said))
