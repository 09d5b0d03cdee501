"""CSV that is read and written in columns is what the csv module reads and writes, cell by cell."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from modelbundle.format import bundle
from modelbundle.publishing.compiling.proof import frame_columns
from modelbundle.schema import Feature
from modelbundle.validation import csv_cells
from modelbundle.validation.problems import unescape
from services.predict.api import csv_answers, csv_table
from services.predict.api.csv_table import Table
from tests.conftest import Made

ODD = [
    "",
    " ",
    "a",
    "a,b",
    'q"',
    '"',
    "\r",
    "\n",
    "a\r\nb",
    "\u2028",
    "\x0b",
    "é\U0001f600",
    "'",
    ";",
    "\t",
    "\x00",
    "sep=",
]
AMOUNT = Feature("amount", "number", required=False)


def written(rows: Sequence[Sequence[Any]]) -> bytes:
    """As the csv module writes it."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


@pytest.mark.parametrize("seed", range(10))
def test_rows_are_written_as_the_csv_module_writes_them(seed: int) -> None:
    """Whatever is in their cells, and where a row has more or fewer cells than the header."""
    draw = random.Random(seed)
    for _ in range(200):
        width = draw.randint(1, 3)
        odd = ODD if draw.random() < 0.5 else ["1", "a", " ", ""]
        rows = [[draw.choice(odd) for _ in range(draw.choice([width, width, 4]))] for _ in range(draw.randint(1, 4))]
        texts = [draw.choice(odd) for _ in rows]
        expected = [[*row[:width], *[""] * (width - len(row)), text, ""] for row, text in zip(rows, texts, strict=True)]
        found = csv_answers.encode(rows, width, [f"{csv_answers.quoted(text)}," for text in texts])
        assert found == written(expected), (seed, rows)


@pytest.mark.parametrize("every_term", [False, True])
def test_answers_in_columns_are_the_cells_of_each_answer(bundles: list[Made], every_term: bool) -> None:
    """Probabilities to the bit, also small ones; sentences that need quotation marks; missing bands; warnings."""
    model = bundle.read(bundles[0].path)
    columns = frame_columns(model.schema, bundles[0].frame.head(200)[list(model.schema.names)])
    warnings = {3: [{"pointer": "/a~1b/3", "detail": 'odd, "very"'}, {"pointer": "/c", "detail": "x"}], 5: []}
    ids = [f"p{i}" for i in range(200)]
    answers = model.answer_columns(columns, every_term, ids, None, warnings)
    answers.matrix[:5, -1] = [0.0, 1e-4, 9.999e-5, 5e-324, 1.0]
    answers.matrix[5:60, -1] = 10.0 ** -np.arange(55)
    words = answers.reasons.words if answers.reasons is not None else None
    for sentence in (None, 'none, "or" all', "two\nlines"):
        if sentence is not None:
            assert words is not None
            words.texts[:] = [sentence, *words.texts[1:-1], sentence]
        answers.__dict__.pop("objects", None)
        expected = [
            [
                csv_cells.label(own.prediction),
                own.predict_proba[-1],
                own.band,
                " | ".join(reason["text"] for reason in own.reasons or ()),
                " | ".join(f"{unescape(w['pointer'].split('/')[1])}: {w['detail']}" for w in own.warnings),
                "",
                own.prediction_id,
                own.model_version,
                *([msgspec.json.encode(own.contributions).decode()] if every_term else []),
            ]
            for own in answers.objects
        ]
        assert any(row[3] for row in expected)
        found = "\r\n".join(csv_answers.texts(answers, every_term)) + "\r\n"
        assert found.encode() == written(expected)


@pytest.mark.parametrize("seed", range(10))
def test_lines_without_quotation_marks_are_split_as_the_csv_module_splits_them(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends them, empty ones too; in portions of any size."""
    draw = random.Random(seed)
    monkeypatch.setattr(csv_table, "CHUNK_CHARACTERS", 40)
    pieces = [",", ",", "\n", "\n", "\r\n", "\r", *(own for own in ODD if '"' not in own)]
    for _ in range(300):
        body = ("a,b\n" + "".join(draw.choices(pieces, k=draw.randint(0, 60)))).encode()
        fast, slow = Table(body), Table(body)
        assert fast._plain
        slow._plain = False
        size = draw.randint(1, 9)
        chunks = list(fast.chunks(size))
        assert all(0 < len(chunk) <= size for chunk in chunks)
        assert [row for chunk in chunks for row in chunk] == [row for chunk in slow.chunks(size) for row in chunk], body


@pytest.mark.parametrize(("change", "plain"), [("", True), ('"', False), ("x" * 40, False)])
def test_what_may_not_be_lines_is_left_to_the_csv_module(
    change: str, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quotation mark anywhere, or a line that may be too long."""
    monkeypatch.setattr(csv_table, "LONGEST_ROW", 20)
    assert csv_table._is_plain(f"a,b\n{'1,2' * 2}\n{change}\n3,4\n".encode()) == plain


NUMBERS = [
    *(
        "0",
        "-0",
        "-0.0",
        "+1",
        "1.",
        ".5",
        "01",
        "1e5",
        "1E-5",
        "-1.5e+3",
        "1_0",
        "0x1",
        "nan",
        "inf",
        "-inf",
        "Infinity",
    ),
    *(
        "1e400",
        "-1e400",
        "1e-400",
        "5e-324",
        "null",
        "true",
        "1,2",
        "[1]",
        "1;2",
        "9007199254740993",
        "18446744073709551616",
    ),
    *(
        "0.1e1",
        "-",
        "--",
        "e5",
        "1e",
        "1e+",
        "\u0661",
        "\uff11",
        "1.7976931348623159e308",
        "123456789012345678901234567890",
    ),
]


@pytest.mark.parametrize("seed", range(10))
def test_numbers_that_are_read_together_have_the_bits_of_each_alone(seed: int) -> None:
    """And what is no number is not one together with others."""
    draw = random.Random(seed)
    for _ in range(1000):
        cells = [
            repr(draw.uniform(-1e3, 1e3)),
            str(draw.randint(-(10**25), 10**25)),
            repr(draw.random() * 10 ** draw.randint(-320, 300)),
        ]
        if draw.random() < 0.7:
            cells.append(draw.choice([*NUMBERS, "", " ", " 1", "1 ", " -0", "-0\t", "\n1"]))
        draw.shuffle(cells)
        expected = [csv_cells.number(cell) if cell else None for cell in cells]
        assert list(map(repr, csv_cells.values(cells, AMOUNT))) == list(map(repr, expected)), cells
