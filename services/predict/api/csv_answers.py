"""Answers as CSV: the cells that are added to a row, as the text that they have in its line.

The text is what :mod:`csv` writes. Its writer looks at every character of every cell, which takes longer than scoring. Here each
sentence, label and name is looked at once, and numbers and ids never.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from modelbundle.explain.answers import Answer, Answers
from modelbundle.explain.reasons import BETWEEN, ReasonColumns
from modelbundle.scorers.base import FloatArray
from modelbundle.validation import csv_cells
from modelbundle.validation.problems import unescape

ADDED = ("prediction", "probability", "band", "reasons", "warnings", "error", "prediction_id", "model_version")
SMALL = 1e-4  # numbers from 0 to 1 that are smaller have an exponent
_SPECIAL = (",", '"', "\r", "\n")


def texts(answers: Sequence[Answer], every_term: bool) -> list[str]:
    """The added cells of each row; with ``every_term`` its contributions, too."""
    if every_term or not isinstance(answers, Answers):
        return [_of_object(answer, every_term) for answer in answers]
    end = quoted(answers.version)
    labels = [quoted(csv_cells.label(own)) for own in answers.classes]
    bands = [quoted(own) for own in answers.labels]
    count = len(answers)
    said = {place: quoted(_warnings(own)) for place, own in answers.warnings.items()}
    return [
        f"{labels[label]},{probability},{band},{reasons},{warnings},,{own},{end}"
        for label, probability, band, reasons, warnings, own in zip(
            answers.predicted.tolist(),
            _numbers(answers.matrix[:, -1]),
            [""] * count if answers.bands is None else map(bands.__getitem__, answers.bands.tolist()),
            [""] * count if answers.reasons is None else _reasons(answers.reasons),
            [said.get(i, "") for i in range(count)] if said else [""] * count,
            answers.prediction_ids,
            strict=True,
        )
    ]


def refused(why: str, every_term: bool) -> str:
    """The added cells of a row that has no answer."""
    return f",,,,,{quoted(why)},,{',' if every_term else ''}"


def encode(rows: Sequence[Sequence[str]], width: int, added: Iterable[str]) -> bytes:
    """The rows that were sent, each cut or filled to ``width`` cells, with the texts of their added cells."""
    sent = [",".join(row) for row in rows]
    plain = {*map(len, rows)} == {width} and not _is_special("\r\n".join(sent), len(rows) * (width - 1), len(rows) - 1)
    if not plain:
        sent = [",".join(map(quoted, [*row[:width], *[""] * (width - len(row))])) for row in rows]
    return "".join([f"{first},{rest}\r\n" for first, rest in zip(sent, added, strict=True)]).encode()


def quoted(cell: str) -> str:
    """A cell as it is written: in quotation marks where it has to be."""
    return cell if not any(mark in cell for mark in _SPECIAL) else '"' + cell.replace('"', '""') + '"'


def _is_special(text: str, commas: int, ends: int) -> bool:
    """Whether joined rows have other marks than the commas and the ends of line between cells and rows."""
    return '"' in text or text.count(",") != commas or text.count("\r") != ends or text.count("\n") != ends


def _numbers(probabilities: FloatArray) -> list[str]:
    """``repr`` of each, which is JSON where neither has an exponent."""
    found = msgspec.json.encode(probabilities.tolist()).decode()[1:-1].split(",")
    for place in np.flatnonzero(probabilities < SMALL).tolist():
        found[place] = repr(float(probabilities[place]))
    return found


def _reasons(reasons: ReasonColumns) -> list[str]:
    """The cell of each row."""
    found = [""] * reasons.total
    used = np.unique(reasons.said).tolist()
    sentences = reasons.words.texts
    plain = not any(mark in sentences[k] for k in used if k >= 0 for mark in _SPECIAL)
    counts = (reasons.said >= 0).sum(axis=1).tolist()
    for place, said, count in zip(reasons.rows.tolist(), reasons.said.tolist(), counts, strict=True):
        text = BETWEEN.join([sentences[k] for k in said[:count]])
        found[place] = text if plain else quoted(text)
    return found


def _of_object(answer: Answer, every_term: bool) -> str:
    cells: list[Any] = [
        csv_cells.label(answer.prediction),
        repr(answer.predict_proba[-1]),
        answer.band or "",
        BETWEEN.join(reason["text"] for reason in answer.reasons or ()),
        _warnings(answer.warnings),
        "",
        answer.prediction_id,
        answer.model_version,
    ]
    if every_term:
        terms = answer.contributions
        cells.append("" if terms is UNSET else msgspec.json.encode(terms).decode())
    return ",".join(map(quoted, cells))


def _warnings(warnings: Sequence[dict[str, str]]) -> str:
    """The warnings of a row in one cell."""
    return BETWEEN.join(f"{unescape(own['pointer'].split('/')[1])}: {own['detail']}" for own in warnings)
