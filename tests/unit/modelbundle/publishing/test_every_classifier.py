"""Every classifier of the installed scikit-learn is published and served, or refused in one sentence."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils import all_estimators

from modelbundle import golden
from modelbundle.errors import BundleError, FormatError, PublishError
from modelbundle.format import bundle
from modelbundle.publishing.publish import publish

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(np.abs(RNG.normal(size=(90, 4))), columns=list("abcd"))
TWO = (FRAME["a"] > FRAME["a"].median()).astype(int).to_numpy()
THREE = np.digitize(FRAME["a"], [0.4, 1.0])
INNER: dict[str, Any] = {
    "estimator": LogisticRegression(),
    "estimators": [("l", LogisticRegression()), ("m", LogisticRegression(C=0.1))],
}
SEVERAL = {"ClassifierChain", "MultiOutputClassifier"}  # several outcomes at once
BINARY = {"FixedThresholdClassifier", "TunedThresholdClassifierCV"}
CASES = [
    pytest.param(kind, labels, id=f"{name}, {count}")
    for name, kind in sorted(all_estimators(type_filter="classifier"))
    for count, labels in (("two", TWO), ("three", THREE))
    if name not in SEVERAL and not (name in BINARY and count == "three")
]


def made(kind: Any) -> Any:
    """With another classifier where one is needed."""
    parameters = inspect.signature(kind).parameters.items()
    empty = (inspect.Parameter.empty, None)
    wanted = {name: INNER[name] for name, parameter in parameters if name in INNER and parameter.default in empty}
    if kind.__name__ in ("AdaBoostClassifier", "BaggingClassifier", "CalibratedClassifierCV"):
        wanted = {}
    return kind(**wanted)


@pytest.mark.parametrize(("kind", "labels"), CASES)
def test_it_is_published_or_refused_in_a_sentence(kind: Any, labels: Any, tmp_path: Path) -> None:
    """As a bundle and as a plain file; what is served says what ``predict_proba`` and ``predict`` say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = made(kind).fit(FRAME, labels)
        paths = [tmp_path / "m.bundle", tmp_path / "m.joblib"]
        joblib.dump(model, paths[1])
        try:
            publish(model, FRAME, labels, paths[0])
        except PublishError as refused:
            assert not hasattr(model, "predict_proba") or "classes" in str(refused), refused
            with pytest.raises(FormatError):
                bundle.read(paths[1])
            return
        expected = np.asarray(model.predict_proba(FRAME))
        said = model.predict(FRAME).tolist()
        for path in paths:
            served = bundle.read(path)
            golden.check(served)
            answers = served.answers([FRAME[column].to_numpy() for column in FRAME])
            assert np.array([a.predict_proba for a in answers]) == pytest.approx(expected, abs=1e-9)
            assert [a.prediction for a in answers] == said
            one = served.answer(FRAME.iloc[0].tolist())
            assert one.predict_proba == pytest.approx(expected[0].tolist(), abs=1e-9)


def test_bundles_of_the_first_format_are_read_for_ever() -> None:
    """The model that ships was written when each array was an entry."""
    path = Path(__file__).parents[4] / "models" / "late-payers.bundle"
    try:
        model = bundle.read(path)
    except BundleError as error:
        pytest.fail(str(error))
    assert model.manifest.data["format"] in ("modelbundle/1", "modelbundle/2")
    golden.check(model)
