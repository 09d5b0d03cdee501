"""A bundle whose tables are large enough to be shared."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelbundle.format import archive, bundle
from modelbundle.model import Model
from modelbundle.sharing.tables import SharedTables


@dataclass
class Stored:
    """A bundle in a directory, and where its tables are shared."""

    path: Path

    def __post_init__(self) -> None:
        self.sha256 = archive.digest(self.path.read_bytes())
        self.tables = self.path.parent / f"{self.sha256}.tables"
        self.entry = archive.unpack(self.path.read_bytes())[bundle.TABLES]
        self.told: list[str] = []

    def share(self) -> Model:
        """The model, with shared tables."""
        return bundle.share(self.path, self.sha256, SharedTables(self.tables, told=self.told.append))


@pytest.fixture
def stored(forest: Path, tmp_path: Path) -> Stored:
    """A copy of it, for one test."""
    return Stored(Path(shutil.copy(forest, tmp_path / "forest.bundle")))
