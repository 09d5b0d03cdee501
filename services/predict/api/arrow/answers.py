"""Answers as an Arrow IPC stream: a column per field of the JSON object, in the same order, one batch of records."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import UNSET

from modelbundle.explain.answers import Answer, Answers
from modelbundle.explain.reasons import ReasonColumns
from modelbundle.format.outcome import Label
from modelbundle.model import Model

if TYPE_CHECKING:
    import pyarrow as pa


def stream(answers: Sequence[Answer], model: Model, every_term: bool) -> bytes:
    """The answers of ``model``, some of them perhaps of a challenger, as bytes; ``every_term`` adds ``contributions``."""
    import pyarrow as pa

    columns = _of_columns(pa, answers) if isinstance(answers, Answers) else _of_objects(pa, answers)
    if every_term:
        columns["contributions"] = _contributions(pa, answers, model)
    batch = pa.record_batch([columns[name] for name in names(every_term)], names=names(every_term))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def names(every_term: bool) -> list[str]:
    """The columns of an answer."""
    first = ["prediction", "predict_proba", "probability", "band", "baseline", "reasons"]
    more = ["contributions"] if every_term else []
    return [*first, *more, "model_version", "prediction_id", "id", "warnings"]


def _of_columns(pa: Any, answers: Answers) -> dict[str, pa.Array]:
    """The answers of one model: no row of it becomes an object."""
    count = len(answers)
    return {
        "prediction": _labels(pa, answers.classes).take(pa.array(answers.predicted)),
        "predict_proba": _probabilities(pa, answers.matrix),
        "probability": pa.array(np.ascontiguousarray(answers.matrix[:, -1])),
        "band": pa.nulls(count, pa.string())
        if answers.bands is None
        else pa.array(list(answers.labels), pa.string()).take(pa.array(answers.bands)),
        "baseline": pa.repeat(pa.scalar(answers.baseline, pa.float64()), count),
        "reasons": _reasons(pa, answers.reasons, count),
        "model_version": pa.DictionaryArray.from_arrays(np.zeros(count, dtype=np.int32), [answers.version]),
        "prediction_id": pa.array(answers.prediction_ids, pa.string()),
        "id": pa.nulls(count, pa.string()) if answers.references is None else pa.array(answers.references, pa.string()),
        "warnings": _warnings(pa, [answers.warnings.get(i, ()) for i in range(count)] if answers.warnings else count),
    }


def _of_objects(pa: Any, answers: Sequence[Answer]) -> dict[str, pa.Array]:
    """The answers of one or two models."""
    told = pa.list_(_reason(pa))
    labels = _labels(pa, [answer.prediction for answer in answers])
    return {
        "prediction": labels,
        "predict_proba": _probabilities(pa, np.array([answer.predict_proba for answer in answers])),
        "probability": pa.array([answer.predict_proba[-1] for answer in answers]),
        "band": pa.array([answer.band for answer in answers], pa.string()),
        "baseline": pa.array([answer.baseline for answer in answers], pa.float64()),
        "reasons": pa.array([answer.reasons for answer in answers], told),
        "model_version": pa.array([answer.model_version for answer in answers]).dictionary_encode(),
        "prediction_id": pa.array([answer.prediction_id for answer in answers], pa.string()),
        "id": pa.array([answer.id for answer in answers], pa.string()),
        "warnings": _warnings(pa, [answer.warnings for answer in answers]),
    }


def _labels(pa: Any, labels: Sequence[Label]) -> pa.Array:
    """Classes as an array of their type, and as texts where they have several."""
    kinds = {*map(type, labels)}
    if kinds == {int, float}:
        return pa.array([*map(float, labels)])
    return pa.array(list(labels)) if len(kinds) == 1 else pa.array([*map(str, labels)])


def _probabilities(pa: Any, matrix: Any) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), matrix.shape[1])


def _reason(pa: Any) -> pa.DataType:
    return pa.struct([("feature", pa.string()), ("text", pa.string()), ("contribution", pa.float64())])


def _reasons(pa: Any, reasons: ReasonColumns | None, count: int) -> pa.Array:
    """The reasons of ``count`` rows, list<struct>."""
    if reasons is None:
        return pa.nulls(count, pa.list_(_reason(pa)))
    material = reasons.said >= 0
    said = pa.array(reasons.said[material])
    values = [
        pa.array(reasons.words.features, pa.string()).take(said),
        pa.array(reasons.words.texts, pa.string()).take(said),
        pa.array(reasons.contributions[material]),
    ]
    offsets = np.concatenate([[0], reasons.counts().cumsum()]).astype(np.int32)
    inner = pa.StructArray.from_arrays(values, fields=list(_reason(pa)))
    return pa.ListArray.from_arrays(pa.array(offsets), inner)


def _contributions(pa: Any, answers: Sequence[Answer], model: Model) -> pa.Array:
    """One number per feature, struct; missing where the model has no exact contributions, or lacks the feature."""
    if isinstance(answers, Answers):
        if answers.terms is None:
            return pa.nulls(len(answers), pa.struct([(name, pa.float64()) for name in answers.names]))
        terms = [pa.array(np.ascontiguousarray(own)) for own in answers.terms.T]
        return pa.StructArray.from_arrays(terms, names=list(answers.names))
    found = [None if answer.contributions is UNSET else answer.contributions for answer in answers]
    own = dict.fromkeys(chain(model.schema.names, *(terms for terms in found if terms)))
    return pa.array(found, pa.struct([(name, pa.float64()) for name in own]))


def _warnings(pa: Any, warnings: Sequence[Sequence[dict[str, str]]] | int) -> pa.Array:
    """The warnings of each row, list<struct>; of so many rows without any."""
    kind = pa.list_(pa.struct([("pointer", pa.string()), ("detail", pa.string())]))
    if isinstance(warnings, int):
        offsets = pa.array(np.zeros(warnings + 1, dtype=np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array([], kind.value_type))
    return pa.array([list(own) for own in warnings], kind)
