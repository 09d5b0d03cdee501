"""Reason codes: the features that raise a row's score most, in sentences that the model's author wrote.

The method is the first one in the official interpretation of Regulation B (12 CFR 1002, Supplement I, paragraph 9(b)(2)-5):
the factors in which the applicant fell furthest below the average applicant. Contributions are exact, in log-odds relative to
the average row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from modelbundle.errors import FormatError
from modelbundle.format.values import optional, text
from modelbundle.publishing.annotations import FeatureWords
from modelbundle.schema import Feature, Schema
from modelbundle.scorers.base import AnyColumn, Coded, FloatArray

MOST = 4  # Regulation B, 9(b)(2)-1: more than four reasons are not likely to help
BETWEEN = " | "  # separates texts in one cell
REMEMBERED = 20_000  # joined texts in the cache
UNSAID = ": this value"  # after a title: of a value about which the author says nothing
BLOCK = 8192  # rows that are sorted at a time: their contributions stay in the processor's cache
MATERIAL = 0.01  # log-odds; a smaller contribution is not a reason


@dataclass(frozen=True, slots=True)
class Wording:
    """The sentences of one feature; ``center`` is its training median (None for a category)."""

    feature: str
    disclosable: bool
    center: float | None
    high: str
    low: str
    missing: str
    values: Mapping[str, str]

    def text(self, value: float | str | None) -> str:
        """The sentence for a value of this feature that raises the score."""
        if value is None:
            return self.missing
        if isinstance(value, str):
            return self.values.get(value, self.high)
        return self.low if self.center is not None and value < self.center else self.high

    def all_texts(self) -> list[str]:
        """All sentences: of a number high, low, missing; of a category one per value, missing, any other."""
        if self.center is not None:
            return [self.high, self.low, self.missing]
        return [*self.values.values(), self.missing, self.high]

    def texts(self, column: AnyColumn) -> NDArray[np.intp]:
        """:meth:`text` of every value of a column as positions in :meth:`all_texts`; NaN is missing."""
        if isinstance(column, Coded):
            return self.texts(column.values).take(column.codes)
        if self.center is not None:
            numbers = np.asarray(column, dtype=np.float64)
            return np.where(np.isnan(numbers), 2, numbers < self.center)
        place: dict[str | None, int] = {value: position for position, value in enumerate(self.values)}
        place[None] = len(self.values)
        other = len(self.values) + 1
        if isinstance(column, np.ndarray):  # numbers without a centre have no values of their own
            return np.where(np.isnan(column), len(self.values), other)
        return np.fromiter((place.get(value, other) for value in column), dtype=np.intp, count=len(column))


@dataclass(frozen=True, slots=True)
class ReasonColumns:
    """The reasons of ``total`` rows. Those at the positions ``rows`` may have some, the others have none.

    ``said``: positions in :attr:`Reasons.texts`, shape (len(rows), at most :data:`MOST`), -1 after a row's last reason;
    ``contributions`` in log-odds, of the same shape, the largest first.
    """

    words: Reasons
    total: int
    rows: NDArray[np.intp]
    said: NDArray[np.int64]
    contributions: FloatArray

    def counts(self) -> NDArray[np.intp]:
        """How many reasons each row has, shape (total,)."""
        found = np.zeros(self.total, dtype=np.intp)
        found[self.rows] = (self.said >= 0).sum(axis=1)
        return found

    def objects(self) -> list[list[dict[str, Any]]]:
        """The reasons of each row as :meth:`Reasons.select` has them."""
        features, texts, material = self.words.features, self.words.texts, self.said >= 0
        reasons = [
            {"feature": features[k], "text": texts[k], "contribution": value}
            for k, value in zip(self.said[material].tolist(), self.contributions[material].tolist(), strict=True)
        ]
        ends = self.counts().cumsum().tolist()
        return [reasons[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]

    def to_json(self) -> list[bytes]:
        """The JSON array of each row: the bytes that msgspec gives for :meth:`objects`."""
        found = [b"[]"] * self.total
        material = self.said >= 0
        if not material.any():
            return found
        said = self.said[material]
        later = np.broadcast_to(np.arange(material.shape[1]), material.shape)[material] > 0
        pieces = [b""] * (2 * len(said))
        pieces[0::2] = map(self.words.openings.__getitem__, (said + len(self.words.texts) * later).tolist())
        pieces[1::2] = msgspec.json.encode(self.contributions[material].tolist())[1:-1].split(b",")
        begin, join = 0, b"".join
        for row, end in zip(self.rows.tolist(), (2 * material.sum(axis=1).cumsum()).tolist(), strict=True):
            if begin < end:
                found[row] = join(pieces[begin:end]) + b"}]"
                begin = end
        return found


class Reasons:
    """Selects the reasons of a row and their sentences.

    ``features`` and ``texts`` have an entry per sentence; ``openings`` have the JSON of a reason up to its contribution:
    first of the reasons that begin a row's array, then of those that follow another.
    """

    def __init__(self, wordings: Sequence[Wording]) -> None:
        self.wordings = tuple(wordings)
        self._disclosable = tuple(i for i, w in enumerate(self.wordings) if w.disclosable)
        worded = [(self.wordings[i].feature, text) for i in self._disclosable for text in self.wordings[i].all_texts()]
        self.features, self.texts = [feature for feature, _ in worded], [text for _, text in worded]
        self.openings = [
            b'%b{"feature":%b,"text":%b,"contribution":'
            % (before, msgspec.json.encode(feature), msgspec.json.encode(text))
            for before in (b"[", b"},")
            for feature, text in worded
        ]
        counts = [len(self.wordings[i].all_texts()) for i in self._disclosable]
        self._first = [sum(counts[:k]) for k in range(len(counts))]
        self._owners = np.repeat(np.array(self._disclosable, dtype=np.intp), counts)
        self._told: dict[int, str] = {}

    def select(self, row: Sequence[float | str | None], contributions: Sequence[float]) -> list[dict[str, Any]]:
        """At most four ``{"feature", "text", "contribution"}``, the largest first, in log-odds; ties in schema order."""
        against = []
        for i in self._disclosable:
            if contributions[i] >= MATERIAL:
                against.append((-contributions[i], i))
        against.sort()
        reasons = []
        for shortfall, i in against[:MOST]:
            wording = self.wordings[i]
            reasons.append({"feature": wording.feature, "text": wording.text(row[i]), "contribution": -shortfall})
        return reasons

    def select_columns(
        self, columns: Sequence[AnyColumn], contributions: FloatArray, rows: NDArray[np.intp], total: int
    ) -> ReasonColumns:
        """:meth:`select` of some rows of ``total``, whose positions are ``rows``; the others have no reasons.

        ``columns`` and ``contributions``, shape (len(rows), features), are of these rows only.
        """
        said = self._strongest(columns, contributions)
        said = said[: int((said >= 0).any(axis=1).sum())]  # a place that no row has is left out
        largest = contributions[np.arange(len(rows)), self._owners[said]]
        return ReasonColumns(self, total, rows, said.T, largest.T)

    def keys(self, columns: Sequence[AnyColumn], contributions: FloatArray) -> NDArray[np.int64]:
        """The texts of :meth:`select` for n rows, each as one number, shape (n,); :meth:`told` gives the text."""
        keys = np.zeros(len(contributions), dtype=np.int64)
        for said in self._strongest(columns, contributions):
            keys *= len(self.texts) + 1
            keys += said + 1  # 0 stands for none
        return keys

    def _strongest(self, columns: Sequence[AnyColumn], contributions: FloatArray) -> NDArray[np.int64]:
        """The sentences of the at most :data:`MOST` largest material contributions of n rows, shape (places, n).

        A sentence is its position among all texts; -1 after a row's last reason. Equal contributions keep the schema's order.

        A positive float64 and its bits as an integer have the same order. The lowest bits of that integer make room for the
        sentence, so that a maximum and a minimum per place sort both at once. Rows in which that could matter are sorted again.
        """
        places = min(MOST, len(self._disclosable))
        room = np.int64((1 << len(self.texts).bit_length()) - 1)
        said = np.empty((places, len(contributions)), dtype=np.int64)
        sentences = [self._sentences(k, columns[i]) for k, i in enumerate(self._disclosable)]
        for begin in range(0, len(contributions), BLOCK) if places else ():
            rows = slice(begin, begin + BLOCK)
            found: list[NDArray[np.int64]] = []  # the largest first, and the largest of those that have no place
            for i, sentence in zip(self._disclosable, sentences, strict=True):
                terms = np.ascontiguousarray(contributions[rows, i])
                new = (terms.view(np.int64) | room) - sentence[rows]
                new *= terms >= MATERIAL
                for k, place in enumerate(found):
                    found[k] = np.maximum(place, new)
                    if k < places:
                        np.minimum(place, new, out=new)
                if len(found) <= places:
                    found.append(new)
            best = np.array(found)
            said[:, rows] = np.where(best[:places] > 0, room - (best[:places] & room), -1)
            near = ((best[:-1] | room) == (best[1:] | room)).any(axis=0, where=best[1:] > 0)
            if near.any():
                close = begin + np.flatnonzero(near)
                said[:, close] = self._sorted(contributions[close], np.stack([s[close] for s in sentences]), places)
        return said

    def _sorted(self, contributions: FloatArray, sentences: NDArray[np.int64], places: int) -> NDArray[np.int64]:
        """:meth:`_strongest` from exact comparisons; ``sentences`` has the shape (disclosable features, n)."""
        terms = contributions[:, list(self._disclosable)].T
        order = np.argsort(-terms, axis=0, kind="stable")[:places]
        material = np.take_along_axis(terms, order, axis=0) >= MATERIAL
        return np.where(material, np.take_along_axis(sentences, order, axis=0), -1)

    def _sentences(self, k: int, column: AnyColumn) -> NDArray[np.int64]:
        """The position among all texts of the sentence of the k-th disclosable feature, shape (n,)."""
        return self.wordings[self._disclosable[k]].texts(column) + self._first[k]

    def told(self, key: int) -> str:
        """The texts of a key of :meth:`keys`, joined, the largest contribution first."""
        if (found := self._told.get(key)) is not None:
            return found
        texts, rest = [], key
        while rest:
            rest, text = divmod(rest, len(self.texts) + 1)
            if text:
                texts.append(self.texts[text - 1])
        if len(self._told) >= REMEMBERED:
            self._told.clear()
        self._told[key] = found = BETWEEN.join(reversed(texts))
        return found

    def to_json(self) -> dict[str, Any]:
        """The manifest's ``reasons`` object."""
        return {
            w.feature: {
                "disclosable": w.disclosable,
                "center": w.center,
                "high": w.high,
                "low": w.low,
                "missing": w.missing,
                "values": dict(w.values),
            }
            for w in self.wordings
        }

    @classmethod
    def from_words(
        cls, schema: Schema, words: Mapping[str, FeatureWords], centers: Mapping[str, float | None]
    ) -> Reasons:
        """The author's sentences, with standard ones where the author gave none."""
        return cls([_wording(f.name, f.title, words.get(f.name, FeatureWords()), centers.get(f.name)) for f in schema])

    @classmethod
    def from_json(cls, data: object, schema: Schema) -> Reasons:
        """The reasons of a manifest, one entry per feature; raises :class:`FormatError`."""
        if not isinstance(data, dict) or set(data) != set(schema.names):
            raise FormatError("reasons", "must have one entry per feature")
        return cls([_parse(feature, data[feature.name]) for feature in schema])


def _wording(name: str, title: str, words: FeatureWords, center: float | None) -> Wording:
    return Wording(
        feature=name,
        disclosable=words.disclosable,
        center=center,
        high=words.high or (f"{title}: higher than usual" if center is not None else title + UNSAID),
        low=words.low or f"{title}: lower than usual",
        missing=words.missing or f"{title}: not given",
        values=dict(words.values),
    )


def _parse(feature: Feature, entry: object) -> Wording:
    name = feature.name
    if not isinstance(entry, dict) or not isinstance(entry.get("disclosable"), bool):
        raise FormatError("reasons", f"{name} needs disclosable (true or false)")
    center = optional("reasons", f"{name}: center", entry.get("center"))
    if center is not None and feature.kind == "category":
        raise FormatError("reasons", f"{name} is a category, which has no center")
    values = entry.get("values", {})
    if not isinstance(values, dict):
        raise FormatError("reasons", f"{name}: values must be an object")
    high, low, missing = (text("reasons", f"{name}: {key}", entry.get(key)) for key in ("high", "low", "missing"))
    own = {value: text("reasons", f"{name}: the text of a value", words) for value, words in values.items()}
    return Wording(name, entry["disclosable"], center, high, low, missing, own)
