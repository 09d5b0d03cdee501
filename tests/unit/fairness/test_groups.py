"""The file of groups is read whole and exactly, or refused with the row that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fairness import groups
from fairness.errors import FairnessError
from fairness.groups import Groups
from modelbundle.model import Model
from portfolio.errors import PortfolioError

Write = Callable[..., Groups]


def test_ids_and_groups(write: Write) -> None:
    """Text as it is written; a group without its outer spaces; empty cells are missing; columns that are not asked for go."""
    found = write('id,"re,gion",other', "007,north,1", '"a ""b""", south ,2', "x,,3", "y,  ,4", column="re,gion")
    assert found.of == {"007": "north", 'a "b"': "south", "x": None, "y": None}
    assert found.rows == {"007": 1, 'a "b"': 2, "x": 3, "y": 4}
    assert found.column == "re,gion"


@pytest.mark.parametrize(
    ("lines", "more", "said"),
    [
        (["id,segment", "a,N", "b,S", "a,N"], {}, r"row 3 has the id 'a' of row 1 again"),
        (["id,segment", "a,N", ",S"], {}, r"row 2 has no id in 'id'"),
        (["id,segment", "a,N", "b"], {}, r"row 2 has 1 cells where the header has 2"),
        (["id,segment", "a,N", "b,S,x"], {}, r"row 2 has 3 cells where the header has 2"),
        (["id,segment", "a,N", 'b,"S'], {}, r"row 2 ends inside quotation marks"),
        (["id,segment", "a,N", "b," + "S" * 65], {}, r"row 2 has a group of more than 64 characters"),
        (["id,segment", "a,N", "b,S\x00T"], {}, r"row 2 has a control character in 'segment'"),
        (["id,seg\x07ment", "a,N"], {}, r"needs another name"),
        (["id,segment", "a,N", "b" * 65 + ",S"], {}, r"row 2 has an id of more than 64 characters"),
        (["id,segment", *(f"r{k},g{k}" for k in range(51))], {}, r"'segment' has 51 values; groups are at most 50"),
        (["id,segment"], {}, "has no rows"),
        (["id;segment", "a;N"], {}, "separate columns by commas"),
        (["key,segment", "a,N"], {}, r"has no column 'id' of ids; its columns are 'key', 'segment'"),
        (["id,a,b", "1,2,3"], {}, "say which column has the groups"),
        (["id", "1"], {}, "say which column has the groups"),
        (["id,a", "1,2"], {"column": "b"}, r"has no column 'b' of groups"),
        (["id,a", "1,2"], {"column": "id"}, r"has no column 'id' of groups"),
        (["id,a,a", "1,2,3"], {"column": "a"}, r"has the column 'a' more than once"),
        (["id,purpose", "a,N"], {}, r"'purpose' is the name of the model's feature 'purpose'"),
        (["id,Int Rate", "a,N"], {}, r"'Int Rate' is the name of the model's feature 'int_rate'"),
        (["id,EMP-LENGTH", "a,N"], {}, r"is the name of the model's feature 'emp_length'"),
        (["id,is late", "a,N"], {}, r"'is late' is the name of the outcome"),
    ],
)
def test_what_is_wrong_is_named(write: Write, lines: list[str], more: dict[str, str], said: str) -> None:
    with pytest.raises(FairnessError, match=said):
        write(*lines, **more)


def test_bytes_that_are_no_text_are_named(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "g.csv"
    path.write_bytes(b"id,segment\na,N\nb,\xff\n")
    with pytest.raises(FairnessError, match="row 2 segment: must be valid UTF-8"):
        groups.read(str(path), None, "id", model.schema, "is_late")


@pytest.mark.parametrize(
    ("name", "said"), [("no.csv", "does not exist"), ("g.txt", "must end in"), (".", "must be one .csv")]
)
def test_no_file(tmp_path: Path, model: Model, name: str, said: str) -> None:
    (tmp_path / "g.txt").write_text("id,segment\n", "utf-8")
    (tmp_path / "a.csv").write_text("id,segment\n", "utf-8")
    with pytest.raises((FairnessError, PortfolioError), match=said):
        groups.read(str(tmp_path / name), None, "id", model.schema, "is_late")


@pytest.mark.parametrize(
    ("ids", "own", "first"),
    [
        ([7, 8, 9], ["N", None, "S"], "7"),
        ([7.0, 8.0, 9.0], [1, 2, 2], "7"),
        (["a", "b", "c"], [1.0, float("nan"), 2.0], "a"),
        (["a", "b", "c"], pd.Categorical(["N", None, "S"]), "a"),
        (["a", "b", "c"], [True, False, True], "a"),
    ],
)
def test_parquet(tmp_path: Path, model: Model, ids: Any, own: Any, first: str) -> None:
    """Numbers are ids and groups as they are written; whole ones have no point, also where pandas made them float."""
    path = tmp_path / "g.parquet"
    pd.DataFrame({"id": ids, "segment": own}).to_parquet(path)
    found = groups.read(str(path), None, "id", model.schema, "is_late")
    assert next(iter(found.of)) == first
    missing = pd.isna(pd.Series(own)).tolist()
    assert [group is None for group in found.of.values()] == missing
    assert "1.0" not in found.of.values()


def test_lists_are_no_groups(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "g.parquet"
    pd.DataFrame({"id": ["a"], "segment": [["N", "S"]]}).to_parquet(path)
    with pytest.raises(PortfolioError, match="'segment' must be text or numbers"):
        groups.read(str(path), None, "id", model.schema, "is_late")
