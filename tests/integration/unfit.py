"""Good bundles that do not fit the traffic, each in its own way."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin

from modelbundle.publishing.annotations import Author
from modelbundle.publishing.publish import Published, publish
from tests.conftest import BANDS, WORDS, make_book, make_logistic

ODD = 12_345.0  # an amount that no loan of the book has
SECONDS = 0.05  # that the slow model sleeps in each call


STUCK = ("hangs while it is loaded", "dies while it is loaded", "hangs while it scores", "dies while it scores")


def served() -> bool:
    """Whether this process is called gunicorn: neither a rehearsal nor a test is."""
    return "gunicorn" in sys.orig_argv


class Odd(ClassifierMixin, BaseEstimator):
    """A fitted classifier that does something else with loans of the amount :data:`ODD`, or with all."""

    def __init__(self, inner: Any, what: str) -> None:
        self.inner = inner
        self.what = what

    def fit(self, frame: pd.DataFrame, labels: Any) -> Odd:
        """Fit the classifier inside."""
        self.inner.fit(frame, labels)
        self.classes_ = self.inner.classes_[::-1] if self.what == "order" else self.inner.classes_
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.what == "hangs while it is loaded" and served():
            time.sleep(3600)
        if self.what == "dies while it is loaded" and served():
            os.abort()

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        """Probabilities, unless it does something else."""
        found = self.inner.predict_proba(frame)
        odd = (frame["amount"] == ODD).to_numpy()
        if self.what == "order":
            return found[:, ::-1]
        if self.what == "slow":
            time.sleep(SECONDS)
        if self.what == "hangs while it scores" and odd.any() and served():
            time.sleep(3600)
        if self.what == "dies while it scores" and odd.any() and served():
            os.abort()
        if self.what == "raises" and odd.any():
            raise ZeroDivisionError
        return np.where(odd[:, None], np.nan, found) if self.what == "nan" else found


def make(what: str, folder: Path) -> Published:
    """A bundle that is unfit in a way: see the names below."""
    frame, labels = make_book()
    words, pipeline = dict(WORDS), make_logistic()
    match what:
        case "required":
            frame = frame.assign(city="Rome")
        case "kind":
            frame = frame.assign(purpose=frame["purpose"].map({"boat": 0.0, "car": 1.0, "house": 2.0}))
            pipeline.set_params(encode__transformers=[("all", "passthrough", ["amount", "int_rate", "purpose"])])
        case "bounds":
            frame["int_rate"] = frame["int_rate"].clip(upper=0.2)
            words["int_rate"] = replace(words["int_rate"], maximum=0.2)
        case "inverted":
            labels = 1 - labels
        case "percent":
            frame["int_rate"] *= 100
            words["int_rate"] = replace(words["int_rate"], maximum=100)
        case "order" | "raises" | "nan" | "slow":
            pipeline = Odd(pipeline, what)
        case _ if what in STUCK:
            pipeline, what = Odd(pipeline, what), what.replace(" ", "-")
    author = Author(what, what.title(), "late", words, BANDS)
    return publish(pipeline.fit(frame, labels), frame, labels, folder / f"{what}.bundle", author=author)
