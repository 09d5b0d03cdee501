"""Which scorer a pipeline gets: the fastest that is proven equal to it, in probabilities and in what it predicts."""

from __future__ import annotations

import io
import pickle
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelbundle.errors import PublishError
from modelbundle.format.decision import Decision, of_estimator
from modelbundle.format.unpickling import installed
from modelbundle.publishing.compiling import compile_candidates
from modelbundle.publishing.compiling.encoding import NotCompilable
from modelbundle.publishing.compiling.proof import DecisionDiffers, Proof, ProofFailed, frame_columns, prove
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.inputs import Inputs

if TYPE_CHECKING:
    import pandas as pd


BESIDES = frozenset({"sklearn", "numpy", "scipy", "pandas", "joblib"})
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
    known = of_estimator(pipeline)
    decision = known or Decision()
    for candidate in compile_candidates(pipeline, inputs):
        if isinstance(candidate, NotCompilable):
            refused.append({"kind": candidate.kind, "reason": candidate.reason})
            continue
        rules = [decision]
        if candidate.kind == "pipeline":
            rules = [decision, BY_PREDICT] if known or not hasattr(pipeline, "predict") else [BY_PREDICT]
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


class _Modules(pickle.Pickler):
    """Collects the modules of the classes and functions of what it pickles."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.found: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        """See :meth:`pickle.Pickler.reducer_override`."""
        self.found.add((obj if isinstance(obj, (type, types.FunctionType)) else type(obj)).__module__)
        return NotImplemented


def needed_packages(pipeline: Any, scorer: Scorer) -> list[str]:
    """The packages besides scikit-learn's own that serving needs: none where the scorer is compiled.

    Raises :class:`PublishError` for a pipeline that cannot be pickled, or that no other process can load.
    """
    modules = _Modules()
    try:
        modules.dump(pipeline)
    except Exception as error:  # a lambda, a lock, an open file: each has an exception of its own
        raise PublishError(f"the pipeline cannot be pickled ({type(error).__name__}): {first_line(error)}") from None
    if scorer.kind != "pipeline":
        return []
    if "__main__" in modules.found:
        raise PublishError(
            "the pipeline uses a function or class of the script that fits it: put it into a module that is installed"
            " where the model is served"
        )
    tops = {module.partition(".")[0] for module in modules.found} - BESIDES
    return sorted(top for top in tops if installed(top) is not None)


def first_line(error: Exception) -> str:
    """The first line of an exception's text, at most 200 characters."""
    return next(iter(str(error).splitlines()), "")[:200]
