"""What turns validated values into scores; one module per kind."""

from __future__ import annotations

from modelbundle.scorers.additive import AdditiveScorer
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.pipeline import PipelineScorer

KINDS: dict[str, type[Scorer]] = {scorer.kind: scorer for scorer in (AdditiveScorer, PipelineScorer)}
