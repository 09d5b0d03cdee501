"""What a model may not learn from: a category that only a handful of loans have."""

from __future__ import annotations

from typing import Any

from modelbundle.schema import RARE


def neutralise_rare(model: Any) -> None:
    """Give a category with fewer than :data:`RARE` training loans the score 0 of an average one, in place.

    ``model`` is a fitted explainable boosting machine. The training quarter has 13 loans with home ownership ANY, two
    of them late: that is no ground for a step of one unit of log-odds, and a step that rests on a handful of people says
    something about them.
    """
    for number, term in enumerate(model.term_features_):
        bins = model.bins_[term[0]][0]
        if len(term) > 1 or not isinstance(bins, dict):
            continue
        for position in bins.values():
            if model.bin_weights_[number][position] < RARE:
                model.term_scores_[number][position] = 0.0
                model.standard_deviations_[number][position] = 0.0
                model.bagged_scores_[number][:, position] = 0.0
