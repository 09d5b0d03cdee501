"""What turns validated values into scores; one module per kind. Imports neither scikit-learn nor pandas."""

from __future__ import annotations

from modelbundle.scorers.additive import AdditiveScorer
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.pipeline import PipelineScorer
from modelbundle.scorers.trees import TreesScorer

KINDS: dict[str, type[Scorer]] = {scorer.kind: scorer for scorer in (AdditiveScorer, TreesScorer, PipelineScorer)}
