"""Fit the champion on the whole training quarter and publish it: ``python -m late_payers.champion [--out PATH]``."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from late_payers import data, evaluation, pipelines
from late_payers.code_version import code_version
from late_payers.features import COLUMNS, TARGET, WORDS, make_bands
from late_payers.folds import out_of_fold
from late_payers.model_card.narrative import LATE_PAYERS
from late_payers.model_card.render import Evidence, render
from late_payers.recipe import fit, slim, split
from modelbundle.format.outcome import Outcome
from modelbundle.publishing.annotations import Author
from modelbundle.publishing.publish import Published, publish
from modelbundle.statistics import Estimate

if TYPE_CHECKING:
    from learning.retrain import Retrained

NAME, TITLE, POSITIVE = "late-payers", "Late payers", "late next quarter"
ROUNDS = 200  # bootstrap samples behind every interval


def measure(features: pd.DataFrame, labels: NDArray[np.int64]) -> tuple[NDArray[np.float64], dict[str, Estimate]]:
    """Out-of-fold probabilities of the champion, shape (n,), and their metrics with 95 % intervals."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Missing values detected")
        probabilities = out_of_fold(pipelines.champion, features, labels).probabilities
    return probabilities, evaluation.bootstrap(labels, probabilities, rounds=ROUNDS)


def author(evidence: Evidence, extra: Mapping[str, Any]) -> Author:
    """The bundle's annotations of the champion; ``extra`` holds further metrics by name."""
    card, card_html = render(f"{TITLE}: model card", evidence, LATE_PAYERS)
    return Author(
        name=NAME,
        title=TITLE,
        positive=POSITIVE,
        features=WORDS,
        bands=evidence.bands,
        training=evidence.training,
        metrics={"cross_validation": evaluation.as_metrics(evidence.figures), **extra},
        card=card,
        card_html=card_html,
        outcome=Outcome(TARGET, (False, True)),
    )


def train(book: data.Book, path: Path) -> Published:
    """Cross-validate, fit on the whole training quarter, evaluate once on the following quarter if there is one, publish."""
    features, labels = split(book.training)
    probabilities, figures = measure(features, labels)
    print(f"cross-validated ROC-AUC {figures['roc_auc']}, calibration slope {figures['calibration_slope']}")
    pipeline = fit(features, labels)
    extra: dict[str, Any] = {
        "method": f"5 stratified folds, shuffled with seed 0; intervals: {ROUNDS} bootstrap samples, 95 %"
    }
    if book.test is not None:
        following = _following(pipeline, book.test, features)
        extra["following_quarter"] = following
        print(f"ROC-AUC on the quarter that follows {following['roc_auc']['value']:.4f}")
    training = {
        "data": book.description,
        "fingerprint": book.fingerprint,
        "period": "one quarter of loans",
        "late_rate": round(float(labels.mean()), 6),
        "code_version": code_version(),
    }
    bands = make_bands(probabilities, labels)
    evidence = Evidence(features, labels, probabilities, figures, bands, training, pipeline[-1])
    return publish(slim(pipeline), features, labels, path, author=author(evidence, extra))


def _following(pipeline: Pipeline, test: pd.DataFrame, reference: pd.DataFrame) -> dict[str, Any]:
    features, labels = split(test)
    probabilities = pipeline.predict_proba(features)[:, 1]
    stability = evaluation.score_stability(pipeline.predict_proba(reference)[:, 1], probabilities)
    return {
        **evaluation.as_metrics(evaluation.bootstrap(labels, probabilities, rounds=ROUNDS)),
        "rows": len(labels),
        "score_stability_index": round(stability, 6),
    }


class Recipe:
    """The champion's recipe for ``make retrain``, as :mod:`learning.recipes` describes one."""

    version = code_version()

    def __call__(self, features: pd.DataFrame, labels: NDArray[np.int64]) -> Pipeline:
        """The champion fitted on all loans."""
        return slim(fit(features[list(COLUMNS)], labels))

    def original(self, path: Path) -> tuple[pd.DataFrame, NDArray[np.int64]]:
        """The training quarter in a directory, as :func:`data.load` finds it, or in a CSV; raises :class:`data.DataError`."""
        if not path.is_dir():
            return split(data.read_table(path.read_bytes(), path.name))
        book = data.load(path)
        if book.source == "stand-in":
            raise data.DataError(f"no original loans in {path}: without ORIGINAL it is fitted on logged ones only")
        return split(book.training)

    def author(self, made: Retrained) -> Author:
        """The champion's texts and card, with figures on the newer loans. Bands whose order they deny are the parent's."""
        figures = evaluation.bootstrap(made.outcomes, made.probabilities, rounds=ROUNDS)
        try:
            bands = make_bands(made.probabilities, made.outcomes)
        except ValueError:
            bands = made.parent.bands
        training = {
            "data": f"original loans, and logged ones before {made.lineage['split']}",
            "late_rate": round(float(made.labels.mean()), 6),
            "code_version": self.version,
        }
        evidence = Evidence(
            *(made.newer, made.outcomes, made.probabilities, figures, bands, training, made.pipeline[-1]),
            method=f"Out of time: on loans that were logged later than those it was fitted on. "
            f"Intervals at 95 %, {ROUNDS} bootstrap samples.",
            how="out of time",
            loans=f"loans logged from {made.lineage['split']} on",
            promise="None of them was used for fitting.",
            first=[made.changes],
        )
        card, card_html = render(f"{TITLE}: model card", evidence, LATE_PAYERS)
        metrics = {"out_of_time": evaluation.as_metrics(figures)}
        return Author(NAME, TITLE, POSITIVE, WORDS, bands, training, metrics, card, card_html)


retrain = Recipe()


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m late_payers.champion", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("models/late-payers.bundle"), help="where the bundle goes")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the directory of the original loans")
    options = parser.parse_args(arguments)
    try:
        book = data.load(options.data)
    except data.DataError as error:
        parser.exit(1, f"{error}\n")
    published = train(book, options.out)
    print(f"{published.path} {published.sha256} ({published.path.stat().st_size / 1024:.0f} KiB)")


if __name__ == "__main__":
    main()
