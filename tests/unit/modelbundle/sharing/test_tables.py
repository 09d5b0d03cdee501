"""One file of tables for all processes: made from the verified bundle, compared by each, and never trusted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelbundle import golden
from modelbundle.durable import Disk
from modelbundle.errors import FormatError, HashMismatch
from modelbundle.format import archive, bundle, manifest, values
from modelbundle.model import Model
from modelbundle.sharing.tables import LEAST, SharedTables
from tests.conftest import SHIPPED
from tests.unit.modelbundle.sharing.conftest import Stored


def same_answers(model: Model, path: Path) -> bool:
    """Whether a model gives the bits of the bundle, row by row and in columns."""
    golden.check(model)
    rows = golden.make(model.schema, 200)
    columns = golden.columns(model.schema, rows)
    expected = bundle.read(path).scorer.score_columns(columns).tolist()
    return expected == model.scorer.score_columns(columns).tolist() == [model.scorer.score_row(row) for row in rows]


def test_every_large_array_is_in_the_file_that_is_mapped(stored: Stored) -> None:
    """The file has the entry's bytes, nobody may write to it, and the scorer has no copy of any array over the nodes."""
    model = stored.share()
    assert stored.tables.read_bytes() == stored.entry
    assert stored.tables.stat().st_mode & 0o777 == 0o400
    assert model.tables is not None
    assert model.tables.shared
    mapped = np.frombuffer(model.tables.view, dtype=np.uint8)
    nodes = len(model.scorer.trees.values)  # type: ignore[attr-defined]
    held = [*vars(model.scorer).values(), *vars(model.scorer.trees).values()]  # type: ignore[attr-defined]
    large = [np.asarray(a) for a in held if isinstance(a, np.ndarray) and a.size >= nodes]
    large += [np.asarray(view) for view in model.scorer._views]  # type: ignore[attr-defined]
    assert len(large) >= 8
    assert all(np.shares_memory(array, mapped) for array in large)
    assert same_answers(model, stored.path)
    assert stored.told == []


def test_the_next_process_maps_the_file_that_is_there(stored: Stored) -> None:
    """It is made once."""
    first = stored.share()
    made = stored.tables.stat()
    second = stored.share()
    assert (stored.tables.stat().st_ino, stored.tables.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    assert same_answers(first, stored.path)
    assert same_answers(second, stored.path)


def _shorten(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-64])
    path.chmod(0o400)


def _change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o400)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


DAMAGES: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "short": _shorten,
    "changed": _change,
    "others may write to it": lambda path: path.chmod(0o644),
    "a link": _link,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_file_that_is_not_as_it_was_made_is_made_anew(stored: Stored, damage: Callable[[Path], None]) -> None:
    """And who had mapped the old one keeps it: it is replaced, not written to."""
    before = stored.share()
    inode = stored.tables.stat().st_ino
    damage(stored.tables)
    after = stored.share()
    assert stored.tables.lstat().st_ino != inode
    assert not stored.tables.is_symlink()
    assert stored.tables.read_bytes() == stored.entry
    assert same_answers(after, stored.path)
    assert same_answers(before, stored.path)
    assert stored.told == []


def test_removing_the_file_changes_nothing_for_those_who_have_it(stored: Stored) -> None:
    """The pages stay until the last process lets go."""
    model = stored.share()
    stored.tables.unlink()
    assert model.intact()
    assert same_answers(model, stored.path)


def test_bytes_that_were_written_over_are_noticed(stored: Stored) -> None:
    """Also where the file has its size and its rights."""
    model = stored.share()
    assert model.intact()
    stored.tables.chmod(0o600)
    with stored.tables.open("r+b") as file:
        file.seek(len(stored.entry) // 2)
        file.write(b"x")
    os.utime(stored.tables, ns=(0, 0))
    stored.tables.chmod(0o400)
    assert not model.intact()


@pytest.mark.parametrize("part", ["tables", "directory", "manifest"])
@pytest.mark.parametrize("made", [False, True], ids=["no file yet", "with its file"])
def test_a_bundle_that_was_changed_is_not_served(stored: Stored, part: str, made: bool) -> None:
    """Whatever part of it was changed, and whether or not its tables are there already, as they were."""
    if made:
        stored.share()
    content = bytearray(stored.path.read_bytes())
    at = {
        "tables": content.index(stored.entry) + 999,
        "directory": len(content) - 60,
        "manifest": content.index(b"golden"),
    }
    content[at[part]] ^= 1
    stored.path.write_bytes(content)
    with pytest.raises(HashMismatch):
        stored.share()
    assert stored.tables.exists() == made


def test_tables_with_another_hash_than_the_manifest_lists_are_no_file(stored: Stored) -> None:
    """The bundle's own hash fits: its publisher is wrong."""
    entries = archive.unpack(stored.path.read_bytes())
    data = values.loads(manifest.NAME, entries[manifest.NAME])
    data["files"][bundle.TABLES]["sha256"] = "0" * 64
    stored.path.write_bytes(archive.pack({**entries, manifest.NAME: manifest.dump(data)}))
    other = Stored(stored.path)
    with pytest.raises(FormatError, match="SHA-256"):
        other.share()
    assert list(stored.path.parent.iterdir()) == [stored.path]


class Failing(Disk):
    """A disk whose operation ``number`` fails, of those that make a file."""

    def __init__(self, number: int) -> None:
        self.left = number

    def _one(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    def open(self, path: Path, flags: int) -> int:
        self._one()
        return super().open(path, flags)

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        self._one()
        super().write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        self._one()
        super().fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        self._one()
        super().replace(source, target)


def test_where_the_disk_fails_the_tables_are_private_and_the_reason_is_told(stored: Stored) -> None:
    """Whichever operation fails: the model answers, and nothing is left on the disk."""
    number, told = 0, ["first"]
    while told:
        number += 1
        told = []
        disk = Failing(number)
        model = bundle.share(stored.path, stored.sha256, SharedTables(stored.tables, disk, told.append))
        assert model.tables is not None
        assert model.tables.shared == (not told)
        assert len(told) <= 1
        assert model.intact()
        assert same_answers(model, stored.path)
        if told:
            assert list(stored.path.parent.iterdir()) == [stored.path]
    assert number > 4


def test_small_tables_and_other_files_are_read_as_ever(tmp_path: Path, stored: Stored) -> None:
    """The shipped model has tables far below the least size; no file appears."""
    place = tmp_path / "small"
    place.mkdir()
    model = bundle.share(SHIPPED, archive.digest(SHIPPED.read_bytes()), SharedTables(place / "x.tables"))
    assert model.tables is None
    assert model.intact()
    golden.check(model)
    assert list(place.iterdir()) == []
    assert len(stored.entry) >= LEAST


def test_a_file_that_is_no_bundle_has_the_errors_of_read(tmp_path: Path) -> None:
    """Its hash is verified first."""
    path = tmp_path / "garbage"
    path.write_bytes(b"PK\x03\x04 and so on")
    shared: Any = SharedTables(tmp_path / "x.tables")
    with pytest.raises(HashMismatch):
        bundle.share(path, "0" * 64, shared)
    with pytest.raises(FormatError):
        bundle.share(path, archive.digest(path.read_bytes()), shared)
    with pytest.raises(FileNotFoundError):
        bundle.share(tmp_path / "missing", "0" * 64, shared)
