"""CSV cells as values, and the problems of a CSV header: the same rules for the API and for portfolio files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import msgspec

from modelbundle.schema import Feature, Schema
from modelbundle.validation.problems import Problem, escape
from modelbundle.validation.validator import Validator

LONG = "begins on line {} and has more than {} characters; what comes after it is not read"
UNCLOSED = "begins on line {} and ends inside quotation marks: one of them is not closed"
SEPARATED = "the columns seem to be separated by {}; separate them by commas"
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
END = "\ue000\ue001 the end,\ue001\ue000"  # a line after the last one; where it is part of a cell, that cell is not closed
CLOSED = END.split(",")
TWICE = "appears in the header more than once"
TAKEN = "is a column that the answer adds"
_decode = msgspec.json.Decoder(list[float | None]).decode


class Unclosed(list[str]):
    """The cells of a row with which a text ends inside quotation marks; the row begins on ``line``, counted from 1."""

    def __init__(self, cells: Iterable[str], line: int) -> None:
        super().__init__(cells)
        self.line = line

    @property
    def detail(self) -> str:
        """What is wrong with it."""
        return UNCLOSED.format(self.line)


class TooLong(Unclosed):
    """A row of more than ``most`` characters: it has no cells."""

    def __init__(self, line: int, most: int) -> None:
        super().__init__([], line)
        self.most = most

    @property
    def detail(self) -> str:
        """What is wrong with it."""
        return LONG.format(self.line, self.most)


def bounded_rows(lines: Iterable[str], most: int) -> Iterator[tuple[int, list[str]]]:
    """:func:`rows` of at most ``most`` characters. The first that is longer is :class:`TooLong`, and the last."""
    characters, taken, begins = 0, 0, 1

    def counted() -> Iterator[str]:
        nonlocal characters, taken
        for text in lines:
            taken += 1
            characters += len(text)
            if characters > most:
                raise OverflowError
            yield text

    try:
        for line, row in rows(counted()):
            characters, begins = 0, taken + 1
            yield line, row
    except OverflowError:
        yield begins, TooLong(begins, most)


def rows(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """The rows of CSV with the line on which each begins, counted from 1; an empty line is an empty row.

    The last is :class:`Unclosed` where the text ends inside quotation marks, which may have taken in any number of rows.
    """
    reader = csv.reader(chain(lines, [END]))
    line = 1
    for row in reader:
        if row == CLOSED:
            return
        if row and row[-1].endswith(END):
            yield line, Unclosed([*row[:-1], row[-1].removesuffix(END)], line)
            return
        yield line, row
        line = reader.line_num + 1


def values(cells: Sequence[str], feature: Feature | None) -> list[Any]:
    """Cells as JSON values: an empty cell is None; text in a number's column is ``False``, which no rule accepts."""
    if feature is None or feature.kind == "category":
        return [cell or None for cell in cells]
    return _numbers(cells) or [number(cell) if cell else None for cell in cells]


def _numbers(cells: Sequence[str]) -> list[float | None]:
    """:func:`number` of each cell where all are numbers as JSON has them, or empty; else an empty list.

    msgspec reads a number in an eighth of the time that ``float`` takes, and to the same bits, but not the sign of ``-0``.
    """
    text = ",".join(cells)
    if "null" in text or ("-0" in text and any(cell.strip() == "-0" for cell in cells)):
        return []
    if "" in cells:
        text = ",".join([cell or "null" for cell in cells])
    try:
        found = _decode(f"[{text}]")
    except (msgspec.MsgspecError, ValueError):
        return []
    return found if len(found) == len(cells) else []  # a cell may have a comma


def number(cell: str) -> float | bool:
    """The finite number in a cell, as Python reads it; ``False`` for any other text."""
    try:
        found = float(cell)
    except ValueError:
        return False
    return found if math.isfinite(found) and "_" not in cell and cell.isascii() else False


def label(value: Any) -> str:
    """A class as a cell: booleans as in JSON."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def answer_names(names: Iterable[str], schema: Schema) -> tuple[str, ...]:
    """The names of columns that the answer adds: those that the model's features have already are called ``model_…``."""
    return tuple(f"model_{name}" if name in schema.index else name for name in names)


def header_problems(
    header: Sequence[str], validator: Validator, added: Sequence[str] = (), others: bool = True
) -> list[Problem]:
    """The problems of a table's header. The answer adds the columns ``added``, so the header must not have them.

    ``others`` allows columns that the schema does not have, except one that resembles a missing column of the schema.
    """
    if len(header) == 1 and len(validator.schema) > 1:
        for mark, name in SEPARATORS.items():
            if mark in header[0]:
                return [Problem("", SEPARATED.format(name))]
    seen = dict.fromkeys(header)
    problems = [Problem(pointer(name), TWICE) for name in seen if header.count(name) > 1]
    problems += [Problem(pointer(name), TAKEN) for name in seen if name in added]
    absent = [f"`{name}`" for name in validator.schema.names if name not in seen]
    for problem in map(validator.hinted, validator.names(seen)):
        if not others or problem.detail.startswith("missing") or any(name in problem.detail for name in absent):
            problems.append(problem)
    return problems


def pointer(name: str) -> str:
    """The JSON pointer of a column."""
    return f"/{escape(name[:256])}"
