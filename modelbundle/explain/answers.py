"""The answers of a model to many rows, kept as columns: as objects where somebody asks for objects, and as JSON without them.

Most of an answer's JSON is text that repeats: names, sentences, the version. It is joined from pieces that are encoded once, and
has the bytes that msgspec gives for the same :class:`Answer` objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any, overload

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from modelbundle.explain.reasons import ReasonColumns
from modelbundle.format.outcome import Label
from modelbundle.scorers.base import FloatArray

Reason = dict[str, Any]
Warnings = Sequence[dict[str, str]]
NO_WARNINGS: Warnings = ()
_encode = msgspec.json.encode


class Answer(msgspec.Struct, frozen=True, gc=False):
    """The answer to one row. Its fields, in order, are those of the JSON object that the API sends.

    ``predict_proba`` has one probability per class. ``baseline`` and ``reasons`` are None where the scorer has no exact
    contributions; ``reasons`` is empty where the row scores at most the baseline. ``contributions`` is there only on request:
    one number per feature, which add up with ``baseline`` to the log-odds. ``id`` is the caller's own reference.
    """

    prediction: Label
    predict_proba: list[float]
    band: str | None
    baseline: float | None
    reasons: list[Reason] | None
    contributions: dict[str, float] | UnsetType | None
    model_version: str
    prediction_id: str
    id: str | None
    warnings: Warnings


@dataclass(frozen=True)
class Answers(Sequence[Answer]):
    """The answers to n rows, in order.

    ``predicted``: positions in ``classes``, shape (n,). ``matrix``: probabilities, shape (n, classes). ``bands``: positions in
    ``labels``, shape (n,); None where the model has no bands. ``reasons`` is None where the scorer has no exact contributions.
    ``terms``: contributions, shape (n, features), of ``names``; ``every_term`` says whether they were asked for. ``references``
    is None where no row has an ``id``; ``warnings`` maps a row's position to its own.
    """

    classes: Sequence[Label]
    labels: Sequence[str]
    names: Sequence[str]
    version: str
    baseline: float | None
    predicted: NDArray[np.intp]
    matrix: FloatArray
    bands: NDArray[np.intp] | None
    reasons: ReasonColumns | None
    terms: FloatArray | None
    every_term: bool
    prediction_ids: Sequence[str]
    references: Sequence[str | None] | None
    warnings: dict[int, Any]

    def __len__(self) -> int:
        return len(self.predicted)

    @overload
    def __getitem__(self, place: int) -> Answer: ...
    @overload
    def __getitem__(self, place: slice) -> list[Answer]: ...
    def __getitem__(self, place: int | slice) -> Answer | list[Answer]:
        return self.objects[place]

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.objects)

    def band_labels(self) -> list[str | None]:
        """The band of each row."""
        if self.bands is None:
            return [None] * len(self)
        return list(map(self.labels.__getitem__, self.bands.tolist()))

    @cached_property
    def objects(self) -> list[Answer]:
        """One object per row."""
        terms: Iterator[dict[str, float] | UnsetType | None] = repeat(None if self.every_term else UNSET)
        if self.every_term and self.terms is not None:
            terms = (dict(zip(self.names, own, strict=True)) for own in self.terms.tolist())
        return list(
            map(
                Answer,
                map(self.classes.__getitem__, self.predicted.tolist()),
                self.matrix.tolist(),
                self.band_labels(),
                repeat(self.baseline),
                repeat(None) if self.reasons is None else self.reasons.objects(),
                terms,
                repeat(self.version),
                self.prediction_ids,
                repeat(None) if self.references is None else self.references,
                map(self.warnings.get, range(len(self)), repeat(NO_WARNINGS)),
            )
        )

    def to_json(self) -> bytes:
        """The answers as a JSON array: the same bytes as those of :attr:`objects`."""
        if self.every_term:
            return _encode(self.objects)
        columns = [
            _picked([b'{"prediction":%b,"predict_proba":[' % _encode(own) for own in self.classes], self.predicted),
            *self._probabilities(),
            self._after_probabilities(),
            *([] if self.reasons is None else [self.reasons.to_json()]),
            [b',"model_version":%b,"prediction_id":"' % _encode(self.version)] * len(self),
            [own.encode() for own in self.prediction_ids],
            self._ends(),
        ]
        pieces: list[bytes] = [b""] * (len(columns) * len(self))
        for k, column in enumerate(columns):
            pieces[k :: len(columns)] = column
        pieces[-1] = pieces[-1][:-1]  # no comma after the last
        return b"[%b]" % b"".join(pieces)

    def _probabilities(self) -> Iterator[list[bytes]]:
        """The numbers of each class, and what is between them."""
        classes = self.matrix.shape[1]
        numbers = _encode(self.matrix.reshape(-1).tolist())[1:-1].split(b",")
        for k in range(classes):
            if k:
                yield [b","] * len(self)
            yield numbers[k::classes]

    def _after_probabilities(self) -> list[bytes]:
        piece = b'],"band":%%b,"baseline":%b,"reasons":%b' % (
            _encode(self.baseline),
            b"null" if self.reasons is None else b"",
        )
        if self.bands is None:
            return [piece % b"null"] * len(self)
        return _picked([piece % _encode(label) for label in self.labels], self.bands)

    def _ends(self) -> list[bytes]:
        if self.references is None:
            ends = [b'","id":null,"warnings":[]},'] * len(self)
        else:
            ends = [b'","id":%b,"warnings":[]},' % _encode(own) for own in self.references]
        for i, own in self.warnings.items():
            ends[i] = b"%b%b}," % (ends[i][:-4], _encode(own))
        return ends


def _picked(pieces: Sequence[bytes], places: NDArray[np.intp]) -> list[bytes]:
    return list(map(pieces.__getitem__, places.tolist()))
