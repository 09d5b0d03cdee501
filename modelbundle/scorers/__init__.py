"""Scorers: from validated values to scores. One module per kind; none imports scikit-learn or pandas at the top."""

from __future__ import annotations

from modelbundle.scorers.additive import AdditiveScorer
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.combined import CombinedScorer
from modelbundle.scorers.pipeline import PipelineScorer
from modelbundle.scorers.trees import TreesScorer

KINDS: dict[str, type[Scorer]] = {
    scorer.kind: scorer for scorer in (AdditiveScorer, TreesScorer, CombinedScorer, PipelineScorer)
}
