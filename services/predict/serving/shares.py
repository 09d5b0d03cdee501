"""Which model answers a record while a challenger answers a share of them, and the challenger's part in a request.

The choice depends on the challenger's version and the record's key alone. So every replica makes the same choice, a record goes
to the same model each time, and another champion moves no record.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from modelbundle.errors import CannotScore
from modelbundle.model import Answer, Model
from modelbundle.scorers.base import plain, take
from modelbundle.validation.problems import Invalid, Problem
from modelbundle.validation.validator import Many, One
from services.predict.rollout.probation import records
from services.predict.serving.loaded_models import Models, NoModel, Serving

Asked = One | Many
Score = Callable[[Model, Asked, Sequence[int]], Sequence[Answer]]


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of a request that one model answered: their positions, what was asked, and the answers."""

    serving: Serving
    places: Sequence[int]
    asked: Asked
    answers: Sequence[Answer]


def falls(version: str, share: float, key: str) -> bool:
    """Whether the challenger ``version`` answers the record with this ``key``. ``share`` is in percent.

    The first 8 bytes of SHA-256(version, 0, key), as a fraction of 2**64, are compared with the share.
    """
    found = hashlib.sha256(f"{version}\0{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(found[:8]) / 2**64 < share / 100


def of_caller(caller: str | None, key: str) -> str:
    """``key`` as that of one caller: two callers that use the same key never mean the same. Without API keys, all are one."""
    return key if caller is None else f"{caller}\0{key}"


class Shares:
    """The challenger that answers now. ``models`` are those of the directory ``STATE_DIR/share``."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def now(self) -> Serving | None:
        """The challenger; None where the champion answers all records."""
        if not self.models.answering:  # what the worker's thread saw last: without a share, nothing is read here
            return None
        try:
            return self.models.current()
        except NoModel:
            return None


def chosen(challenger: Serving, asked: Asked, key: str, caller: str | None) -> list[int]:
    """The positions of the rows that the challenger answers. ``key`` is that of the rows without an ``id``; an ``id`` is the
    caller's own."""
    version, share = challenger.model.version, challenger.generation.share
    ids = [asked.id] if isinstance(asked, One) else asked.ids or [None] * asked.rows
    others = falls(version, share, key)
    return [
        i for i, own in enumerate(ids) if (others if own is None else falls(version, share, of_caller(caller, own)))
    ]


def answer(
    challenger: Serving, champion: Model, asked: Asked, places: Sequence[int], in_columns: bool, score: Score
) -> Part | None:
    """The challenger's answers to the rows that it accepts and scores; None where there are none.

    ``asked`` is valid for the champion. What the challenger does not answer counts in its trial, and is left to the champion.
    ``in_columns`` says that one row came as columns.
    """
    model, trial = challenger.model, challenger.trial
    wrong: dict[int, str] = {}
    problems: list[Problem] = []
    part: Part | None = None
    began = time.perf_counter()
    try:
        own, places, problems = _accepted(model, champion, asked, places, in_columns)
        while own is not None and part is None:
            try:
                part = Part(challenger, places, own, score(model, own, places))
            except CannotScore as error:
                wrong.update({places[i]: why for i, why in error.rows.items()})
                left = [i for i in range(own.rows) if i not in error.rows]
                places, own = [places[i] for i in left], subset(own, left) if left else None
    except Exception as error:  # whatever the challenger does, the champion answers
        wrong.update(dict.fromkeys(places, type(error).__name__))
    if trial is None:
        return part
    if wrong:
        trial.failed(champion, asked, wrong)
    elif problems:
        trial.refused(problems, lambda _: None)
    elif part is not None:
        trial.answered(model, part.asked, part.answers, time.perf_counter() - began)
    return part


def subset(asked: Asked, places: Sequence[int]) -> Asked:
    """The given rows of a request."""
    if isinstance(asked, One):
        return asked
    rows = np.asarray(places, dtype=np.intp)
    return Many(
        len(places),
        [plain(take(column, rows)) for column in asked.columns],
        [asked.ids[i] for i in places] if asked.ids else None,
        {i: asked.warnings[place] for i, place in enumerate(places) if place in asked.warnings},
        asked.pointer,
    )


def _accepted(
    model: Model, champion: Model, asked: Asked, places: Sequence[int], in_columns: bool
) -> tuple[Asked | None, Sequence[int], list[Problem]]:
    """The rows that fit the challenger's schema as its request, their positions, and the first problem of the others."""
    known = model.schema.index
    rows = [{n: v for n, v in row.items() if n in known} for row in records(champion, asked, places)]
    if isinstance(asked, One):
        try:
            one = model.validator.record(rows[0])
        except Invalid as invalid:
            return None, [], invalid.problems
        ends = "/0" if in_columns else ""
        return One(one.row, asked.id, [{**w, "pointer": w["pointer"] + ends} for w in one.warnings]), places, []
    problems: list[Problem] = []
    try:
        many = model.validator.records(rows, len(rows))
    except Invalid:
        left = []
        for i, row in enumerate(rows):
            try:
                model.validator.record(row)
                left.append(i)
            except Invalid as invalid:
                problems = problems or invalid.problems
        if not left:
            return None, [], problems
        places, rows = [places[i] for i in left], [rows[i] for i in left]
        many = model.validator.records(rows, len(rows))
    many.ids = [asked.ids[i] for i in places] if asked.ids else None
    many.pointer = asked.pointer
    for i, warnings in many.warnings.items():
        many.warnings[i] = [{**w, "pointer": _pointer(w["pointer"], asked, places[i])} for w in warnings]
    return many, places, problems


def _pointer(own: str, asked: Many, place: int) -> str:
    """The pointer ``/row/feature`` of a warning, as one into the request."""
    name = own.split("/", 2)[2]
    return f"/{name}/{place}" if asked.pointer is None else f"{asked.pointer}/{place}/{name}"
