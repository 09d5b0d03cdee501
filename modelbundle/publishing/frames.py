"""The training frame, whatever it came as: pandas, Polars, NumPy, a mapping of columns."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from modelbundle.errors import PublishError
from modelbundle.publishing.compiling.preprocessing import UNKNOWN
from modelbundle.publishing.compiling.proof import frame_columns
from modelbundle.schema import Schema
from modelbundle.scorers.inputs import ARRAY, NAMED, NUMBERED, Inputs, type_of

if TYPE_CHECKING:
    import pandas as pd

    from modelbundle.publishing.annotations import FeatureWords


def read_frame(frame: Any, pipeline: Any) -> tuple[pd.DataFrame, str]:
    """The frame with texts as names, and the form in which the pipeline takes it; raises :class:`PublishError`.

    The columns of an array are called x0, x1 and so on, as scikit-learn calls them.
    """
    import pandas as pd

    form = ARRAY if _fitted_on_array(pipeline) else NAMED
    if hasattr(frame, "to_pandas") and not isinstance(frame, pd.DataFrame):
        frame = frame.to_pandas()
    elif isinstance(frame, np.ndarray):
        if frame.ndim != 2:
            raise PublishError("the array must have one row per case and one column per feature")
        form = ARRAY
        frame = pd.DataFrame(frame, columns=[f"x{k}" for k in range(frame.shape[1])]).infer_objects()
    elif isinstance(frame, Mapping):
        frame = pd.DataFrame(dict(frame))
    if not isinstance(frame, pd.DataFrame):
        raise PublishError(f"the training data must be a DataFrame or an array, not {type(frame).__name__}")
    if not len(frame) or not len(frame.columns):
        raise PublishError("the frame has no rows or no columns")
    names = [str(name) for name in frame.columns]
    if form == NAMED and not all(isinstance(name, str) for name in frame.columns):
        form = NUMBERED
    if len(set(names)) != len(names):
        raise PublishError("two columns of the frame have the same name")
    fitted = [str(name) for name in getattr(pipeline, "feature_names_in_", names)]
    if fitted not in (names, [name.replace(" ", "_") for name in names]):  # LightGBM writes its names without spaces
        raise PublishError("the frame must have the columns that the pipeline was fitted on, in the same order")
    expected = getattr(pipeline, "n_features_in_", len(names))
    if expected != len(names):
        raise PublishError(f"the pipeline was fitted on {expected} columns, the frame has {len(names)}")
    return frame.set_axis(names, axis=1).reset_index(drop=True), form


def _fitted_on_array(pipeline: Any) -> bool:
    """Whether a step of scikit-learn says that it was fitted without names. Other steps may use names without keeping them."""
    first = pipeline
    while type(first).__name__ == "Pipeline":
        first = first.steps[0][1]
    known = type(first).__module__.startswith("sklearn.") and type(first).__name__ != "FunctionTransformer"
    return known and hasattr(first, "n_features_in_") and not hasattr(first, "feature_names_in_")


def closed_features(pipeline: Any, inputs: Inputs, frame: pd.DataFrame) -> list[str]:
    """The categories for which the pipeline raises where the value is one that it has not seen."""
    columns = [column[:1] for column in frame_columns(inputs.schema, frame)]
    categories = [i for i, feature in enumerate(inputs.schema) if feature.kind == "category"]

    def takes(unknown: list[int]) -> bool:
        row: list[Any] = [[UNKNOWN] if i in unknown else column for i, column in enumerate(columns)]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pipeline.predict_proba(inputs.frame(row))
        except Exception:  # every step has an exception of its own
            return False
        return True

    if not categories or takes(categories) or not takes([]):
        return []
    return [inputs.schema.names[i] for i in categories if not takes([i])]


def describe(pipeline: Any, frame: pd.DataFrame, form: str, words: Mapping[str, FeatureWords]) -> Inputs:
    """The schema of a training frame, and how its columns become the pipeline's input; raises :class:`PublishError`."""
    schema = Schema.from_frame(frame, words)
    inputs = Inputs(schema, {name: t for name in schema.names if (t := type_of(frame[name]))}, form)
    return inputs.of(closed_features(pipeline, inputs, frame))
