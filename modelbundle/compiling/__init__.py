"""From a fitted scikit-learn pipeline to a scorer. Used when publishing only; needs scikit-learn."""

from __future__ import annotations

from typing import Any

from modelbundle.compiling.encoding import NotCompilable, encoded_columns
from modelbundle.schema import Schema
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.pipeline import PipelineScorer


def compile_candidates(pipeline: Any, schema: Schema) -> list[Scorer | NotCompilable]:
    """What could serve ``pipeline``, the best first. Equality is not claimed here: see :mod:`modelbundle.compiling.proof`."""
    from sklearn.pipeline import Pipeline

    steps = [step for _, step in pipeline.steps] if isinstance(pipeline, Pipeline) else [pipeline]
    found: list[Scorer | NotCompilable] = []
    try:
        found.append(_additive(steps, schema))
    except NotCompilable as reason:
        found.append(reason)
    found.append(PipelineScorer.from_pipeline(pipeline, schema))
    return found


def _additive(steps: list[Any], schema: Schema) -> Scorer:
    model = steps[-1]
    if len(steps) > 2:
        raise NotCompilable("additive", "more than one step before the model is not understood")
    encoded = encoded_columns(steps[0] if len(steps) == 2 else "passthrough", schema.names)
    if type(model).__name__ == "ExplainableBoostingClassifier" and type(model).__module__.startswith("interpret."):
        from modelbundle.compiling.ebm import compile_ebm

        return compile_ebm(model, encoded, schema)
    raise NotCompilable("additive", f"{type(model).__name__} is not known to be additive")
