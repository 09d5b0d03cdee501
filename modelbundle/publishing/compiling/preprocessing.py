"""Reads fitted scikit-learn preprocessing into encoded columns.

Numbers are followed symbolically through filling and scaling. Once a column has finitely many values, the fitted step itself
transforms each of them, so options such as ``drop``, ``min_frequency`` or ``encoded_missing_value`` have their exact effect.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from modelbundle.publishing.compiling.encoding import Encoded, Labels, NotSupported, Number, Steps
from modelbundle.scorers.base import FloatArray
from modelbundle.scorers.bins import CategoryBins
from modelbundle.scorers.inputs import Inputs

UNKNOWN = "\x00 a label that no training frame has \x00"


def raw_columns(inputs: Inputs) -> list[Encoded]:
    """The columns of the frame before the first step."""
    columns: list[Encoded] = []
    for i, feature in enumerate(inputs.schema):
        values = inputs.types.get(feature.name, {}).get("values")
        if feature.kind == "number":
            columns.append(Number(i))
        else:
            columns.append(Labels(i, codes=None if values is None else tuple(values)))
    return columns


def encode(
    step: Any, columns: Sequence[Encoded], names: Sequence[str] | None
) -> tuple[list[Encoded], list[str] | None]:
    """The columns that a fitted ``step`` makes of ``columns``, and their names if they have any.

    Raises :class:`NotSupported` for steps, options or values that it cannot reproduce exactly.
    """
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return list(columns), None if names is None else list(names)
    if isinstance(step, str):
        return [], []
    kind = type(step)
    if kind.__module__.partition(".")[0] != "sklearn" or kind.__name__ not in STEPS:
        raise NotSupported(f"the step {kind.__name__} is not supported")
    found = STEPS[kind.__name__](step, list(columns), names)
    return found, _names(step, names, len(found))


def _names(step: Any, names: Sequence[str] | None, count: int) -> list[str] | None:
    try:
        found = [str(name) for name in step.get_feature_names_out(names)]
    except (AttributeError, ValueError, TypeError):
        return None
    return found if len(found) == count else None


def _pipeline(step: Any, columns: list[Encoded], names: Sequence[str] | None) -> list[Encoded]:
    for _, inner in step.steps:
        columns, names = encode(inner, columns, names)
    return columns


def _column_transformer(step: Any, columns: list[Encoded], names: Sequence[str] | None) -> list[Encoded]:
    found: list[Encoded] = []
    if step.transformer_weights:
        raise NotSupported("a ColumnTransformer with weights is not supported")
    for _, inner, chosen in step.transformers_:
        places = _places(chosen, names, len(columns))
        inner_names = None if names is None else [names[k] for k in places]
        found += encode(inner, [columns[k] for k in places], inner_names)[0]
    return found


def _places(chosen: Any, names: Sequence[str] | None, count: int) -> list[int]:
    """The positions of the columns that a ColumnTransformer selects by name, number, slice or mask."""
    if isinstance(chosen, slice):
        if isinstance(chosen.start, str) or isinstance(chosen.stop, str):
            raise NotSupported("columns selected by a slice of names are not supported")
        return list(range(count)[chosen])
    listed = list(np.atleast_1d(np.asarray(chosen, dtype=object)))
    if listed and all(isinstance(c, (bool, np.bool_)) for c in listed):
        return [k for k, c in enumerate(listed) if c]
    places = []
    for c in listed:
        if isinstance(c, str):
            if names is None or c not in names:
                raise NotSupported("columns are selected by unknown names")
            places.append(list(names).index(c))
        else:
            places.append(range(count)[int(c)])
    return places


def _identity(step: Any, columns: list[Encoded], names: Sequence[str] | None) -> list[Encoded]:
    del names
    if step.func is not None:
        raise NotSupported("a FunctionTransformer with a custom function is not supported")
    return columns


def _imputer(step: Any, columns: list[Encoded], names: Sequence[str] | None) -> list[Encoded]:
    del names
    if not (step.missing_values is None or step.missing_values != step.missing_values):
        raise NotSupported("a SimpleImputer that fills other values than missing ones is not supported")
    found: list[Encoded] = []
    for column, statistic in zip(columns, step.statistics_, strict=True):
        if isinstance(column, Labels):
            if not isinstance(statistic, str):
                raise NotSupported("a category is filled with something that is not a string")
            found.append(column if column.fill is not None else Labels(column.feature, statistic))
        elif not isinstance(statistic, str) and statistic is not None and statistic == statistic:
            found.append(column.then("fill", statistic))
        elif isinstance(statistic, str) or step.keep_empty_features:
            raise NotSupported("a number is filled with something that is not a number")
    if step.add_indicator:
        found += [_missing_mark(columns[k]) for k in step.indicator_.features_]
    return found


def _missing_mark(column: Encoded) -> Encoded:
    if isinstance(column, Labels):
        return Steps(column.feature, CategoryBins(()), np.array([column.fill is None, 0.0], dtype=np.float64))
    steps = column.steps(np.empty(0)) if isinstance(column, Number) else column
    return Steps(steps.feature, steps.bins, np.isnan(steps.values).astype(np.float64))


def _scaler(*operations: tuple[str, str]) -> Callable[[Any, list[Encoded], Sequence[str] | None], list[Encoded]]:
    """Reads a step that applies ufuncs with one operand per column, from attributes that may be None."""

    def encode_all(step: Any, columns: list[Encoded], names: Sequence[str] | None) -> list[Encoded]:
        del names
        if any(isinstance(column, Labels) for column in columns):
            raise NotSupported("a category is scaled")
        found = list(columns)
        for operation, attribute in operations:
            operands = getattr(step, attribute)
            if operands is not None and (attribute != "mean_" or step.with_mean):
                found = [
                    column.then(operation, operand)  # type: ignore[union-attr]
                    for column, operand in zip(found, operands, strict=True)
                ]
        if getattr(step, "clip", False):
            low, high = step.feature_range
            found = [c.then("maximum", low).then("minimum", high) for c in found]  # type: ignore[union-attr]
        return found

    return encode_all


def _monotone(method: str) -> Callable[[Any, list[Encoded], Sequence[str] | None], list[Encoded]]:
    """Reads a step whose result for a column rises with the column: trees and bins need no more than where it crosses a value."""

    def encode_all(step: Any, columns: list[Encoded], names: Sequence[str] | None) -> list[Encoded]:
        del names
        if any(isinstance(column, Labels) for column in columns):
            raise NotSupported("a category is transformed as a number")
        return [
            column.then(method, _Column(step, k, len(columns)))  # type: ignore[union-attr]
            for k, column in enumerate(columns)
        ]

    return encode_all


class _Column:
    """What a fitted step makes of one of its columns."""

    def __init__(self, step: Any, place: int, count: int) -> None:
        self.step = step
        self.place = place
        self.count = count

    def __call__(self, values: FloatArray) -> FloatArray:
        import pandas as pd

        x: Any = np.zeros((len(values), self.count))
        x[:, self.place] = values
        if (names := getattr(self.step, "feature_names_in_", None)) is not None:
            x = pd.DataFrame(x, columns=names)
        return np.asarray(self.step.transform(x), dtype=np.float64)[:, self.place]


def _encoder(step: Any, columns: list[Encoded], names: Sequence[str] | None) -> list[Encoded]:
    del names
    closed = step.handle_unknown == "error"
    if closed and not all(isinstance(column, Labels) for column in columns):
        raise NotSupported(f"the {type(step).__name__} does not accept unknown numbers (handle_unknown)")
    points = [
        np.array([float(c) for c in categories if not isinstance(c, str) and c is not None and c == c])
        for categories in step.categories_
    ]
    widths = step._n_features_outs if type(step).__name__ == "OneHotEncoder" else [1] * len(columns)
    return _tabulate(step, columns, points, widths, step.categories_, closed)


def _target_encoder(step: Any, columns: list[Encoded], names: Sequence[str] | None) -> list[Encoded]:
    del names
    if not all(isinstance(column, Labels) for column in columns):
        raise NotSupported("a number is encoded by its target")
    widths = [len(step.classes_) if step.target_type_ == "multiclass" else 1] * len(columns)
    return _tabulate(step, columns, [np.empty(0)] * len(columns), widths, step.categories_)


def _binner(step: Any, columns: list[Encoded], names: Sequence[str] | None) -> list[Encoded]:
    del names
    if any(isinstance(column, Labels) for column in columns):
        raise NotSupported("a category is cut into bins")
    points = [np.asarray(edges, dtype=np.float64)[1:-1] for edges in step.bin_edges_]
    widths = [1] * len(columns) if step.encode == "ordinal" else [int(n) for n in step.n_bins_]
    return _tabulate(step, columns, points, widths, None)


def _tabulate(
    step: Any,
    columns: list[Encoded],
    points: Sequence[FloatArray],
    widths: Sequence[int],
    categories: Any,
    closed: bool = False,
) -> list[Encoded]:
    """Transform every value of every column with the step; ``points`` are the values where a number's result may change.

    A ``closed`` step raises for values that it does not know. No valid row has such a value, so any result stands for it.
    """
    finite = [c.steps(p) if isinstance(c, Number) else c for c, p in zip(columns, points, strict=True)]
    known = [None] * len(finite) if categories is None else categories
    inputs = [_values(column, k) for column, k in zip(finite, known, strict=True)]
    tried = [_known(values, k) for values, k in zip(inputs, known, strict=True)] if closed else inputs
    longest = max(map(len, tried))
    padded = [[*values, *[values[0]] * (longest - len(values))] for values in tried]
    table = _transform(step, padded)
    if table.shape != (longest, sum(widths)):
        raise NotSupported(f"the {type(step).__name__} makes an unexpected number of columns")
    found: list[Encoded] = []
    start = 0
    for column, values, width in zip(finite, inputs, widths, strict=True):
        bins = CategoryBins(tuple(values[:-2])) if isinstance(column, Labels) else column.bins
        found += [Steps(column.feature, bins, table[: len(values), k].copy()) for k in range(start, start + width)]
        start += width
    return found


def _values(column: Labels | Steps, categories: Any) -> list[Any]:
    if isinstance(column, Steps):
        values = column.values
        if categories is None:  # a binner refuses missing values; a column that has none needs no result for them
            values = np.where(np.isnan(values), values[0], values)
        return [float(v) for v in values]
    labels = sorted({str(c) for c in (*categories, column.fill) if isinstance(c, str)})
    missing = column.fill if column.fill is not None else (None if any(c is None for c in categories) else np.nan)
    return [*labels, missing, UNKNOWN]


def _known(values: list[Any], categories: Any) -> list[Any]:
    """The labels, the missing value and the unknown label of a column, where the step knows only its ``categories``."""
    *labels, missing, _ = values
    has_missing = any(c is None or c != c for c in categories) or missing in labels
    return [*labels, missing if has_missing else labels[0], labels[0]]


def _transform(step: Any, values: Sequence[list[Any]]) -> FloatArray:
    import pandas as pd

    names = list(getattr(step, "feature_names_in_", range(len(values))))
    columns = {
        name: pd.Series(column, dtype=object if any(isinstance(v, str) or v is None for v in column) else np.float64)
        for name, column in zip(names, values, strict=True)
    }
    frame = pd.DataFrame(columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about unknown categories, which are intended
        try:
            made = step.transform(frame if hasattr(step, "feature_names_in_") else frame.to_numpy())
        except (ValueError, TypeError) as error:
            raise NotSupported(f"the {type(step).__name__} refuses a value that may arrive: {error}") from None
    made = made.toarray() if hasattr(made, "toarray") else made
    return np.asarray(made, dtype=np.float64)


STEPS: dict[str, Callable[[Any, list[Encoded], Sequence[str] | None], list[Encoded]]] = {
    "Pipeline": _pipeline,
    "ColumnTransformer": _column_transformer,
    "FunctionTransformer": _identity,
    "SimpleImputer": _imputer,
    "StandardScaler": _scaler(("subtract", "mean_"), ("divide", "scale_")),
    "RobustScaler": _scaler(("subtract", "center_"), ("divide", "scale_")),
    "MaxAbsScaler": _scaler(("divide", "scale_")),
    "MinMaxScaler": _scaler(("multiply", "scale_"), ("add", "min_")),
    "OneHotEncoder": _encoder,
    "OrdinalEncoder": _encoder,
    "KBinsDiscretizer": _binner,
    "TargetEncoder": _target_encoder,
    "PowerTransformer": _monotone("call"),
    "QuantileTransformer": _monotone("call"),
}
