"""Which scorer a pipeline gets: the fastest that is proven equal to it, in probabilities and in what it predicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelbundle.errors import PublishError
from modelbundle.format.decision import Decision, of_estimator
from modelbundle.publishing.compiling import compile_candidates
from modelbundle.publishing.compiling.encoding import NotCompilable
from modelbundle.publishing.compiling.proof import DecisionDiffers, Proof, ProofFailed, frame_columns, prove
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.inputs import Inputs

if TYPE_CHECKING:
    import pandas as pd


BY_PREDICT = Decision(by_predict=True)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A proven scorer, how its prediction follows from its probabilities, and the kinds that were refused, with the reason."""

    scorer: Scorer
    decision: Decision
    proof: Proof
    refused: list[dict[str, str]]


def choose(pipeline: Any, inputs: Inputs, frame: pd.DataFrame) -> Chosen:
    """The fastest proven scorer for a pipeline and its training frame; raises :class:`PublishError` where there is none."""
    refused: list[dict[str, str]] = []
    decision = of_estimator(pipeline) or Decision()
    for candidate in compile_candidates(pipeline, inputs):
        if isinstance(candidate, NotCompilable):
            refused.append({"kind": candidate.kind, "reason": candidate.reason})
            continue
        rules = [decision] if candidate.kind != "pipeline" else [decision, BY_PREDICT]
        if decision.by_predict and candidate.kind != "pipeline":
            refused.append({"kind": candidate.kind, "reason": "only the pipeline's predict knows what it predicts"})
            continue
        for rule in rules:
            try:
                if candidate.has_contributions:
                    candidate.fit_averages(frame_columns(inputs.schema, frame))
                return Chosen(candidate, rule, prove(pipeline, candidate, frame, inputs, rule), refused)
            except DecisionDiffers as failure:
                refused.append({"kind": candidate.kind, "reason": str(failure)})
            except ProofFailed as failure:
                refused.append({"kind": candidate.kind, "reason": str(failure)})
                break
            except Exception as error:  # the pipeline may run any code
                reason = f"the pipeline refuses a row ({type(error).__name__}: {first_line(error)})"
                refused.append({"kind": candidate.kind, "reason": reason})
                break
    raise PublishError("no scorer could be made: " + "; ".join(f"{r['kind']}: {r['reason']}" for r in refused))


def first_line(error: Exception) -> str:
    """The first line of an exception's text, at most 200 characters."""
    return next(iter(str(error).splitlines()), "")[:200]
