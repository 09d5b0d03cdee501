"""Fit the champion on the whole training quarter and publish it: ``python -m late_payers.champion [--out PATH]``."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from late_payers import data, evaluation, pipelines
from late_payers.code_version import code_version
from late_payers.features import WORDS, make_bands
from late_payers.folds import out_of_fold
from late_payers.model_card.narrative import LATE_PAYERS
from late_payers.model_card.render import Evidence, render
from late_payers.recipe import fit, slim, split
from modelbundle.publishing.annotations import Author
from modelbundle.publishing.publish import Published, publish
from modelbundle.statistics import Estimate

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
