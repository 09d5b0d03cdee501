"""What a run is to do: which inputs become which outputs, found out and checked before a row is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pyarrow import fs

from portfolio.errors import PortfolioError
from portfolio.files.locations import COMPRESSED, CSV, PARQUET, Place, kind_of
from portfolio.files.readers import Source, open_source

REJECTS = ".rejected.csv"


@dataclass(frozen=True)
class Target:
    """One output file: its name below the output (empty where the output is a file), its kind, and its inputs."""

    name: str
    kind: str
    sources: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """``sources`` in the order in which they are scored; each belongs to one of ``targets``, which are in the same order."""

    output: Place
    is_directory: bool
    sources: tuple[Source, ...]
    targets: tuple[Target, ...]

    @property
    def rejects(self) -> str:
        """The name of the file of rejected rows, beside the output."""
        return self.output.name + REJECTS


def make(source: str, output: str, kind: str | None) -> Plan:
    """The plan; ``kind`` is that of the files of an output directory. Raises :class:`PortfolioError`."""
    from_place, to = Place.of(source), Place.of(output)
    info = from_place.info()
    if info.type == fs.FileType.NotFound:
        raise PortfolioError(f"{source}: does not exist")
    many = info.type == fs.FileType.Directory
    sources = _directory(from_place) if many else (_single(from_place, info),)
    wanted = kind_of(to.name)
    if to.name.lower().endswith(COMPRESSED) or (wanted is None and not many):
        raise PortfolioError(f"{output}: must end in .parquet or .csv")
    is_directory = wanted is None
    if wanted is not None:
        targets: tuple[Target, ...] = (Target("", wanted, tuple(range(len(sources)))),)
    else:
        targets = _each(sources, kind)
    return Plan(to, is_directory, sources, targets)


def check_free(plan: Plan, force: bool) -> None:
    """Raise :class:`PortfolioError` where the output is there already and must not be replaced."""
    if plan.output.exists() and (plan.is_directory or not force):
        hint = "remove it first" if plan.is_directory else "pass --force to replace it"
        raise PortfolioError(f"{plan.output}: exists; {hint}")


def _single(place: Place, info: object) -> Source:
    kind = kind_of(place.name)
    if kind is None:
        raise PortfolioError(f"{place}: must end in .csv or .parquet")
    return open_source(place, place.name, kind, info)


def _directory(place: Place) -> tuple[Source, ...]:
    found = place.files()
    if not found:
        raise PortfolioError(f"{place}: has no .csv or .parquet files")
    return tuple(
        open_source(Place(f"{place}/{name}", place.system, info.path), name, kind_of(name) or CSV, info)
        for name, info in found
    )


def _each(sources: Sequence[Source], kind: str | None) -> tuple[Target, ...]:
    targets = []
    for i, source in enumerate(sources):
        own = kind or source.kind
        path = PurePosixPath(source.name)
        targets.append(Target(str(path.with_name(f"{bare(path.name)}.{own}")), own, (i,)))
    names = Counter(target.name for target in targets)
    if twice := [name for name, count in names.items() if count > 1]:
        raise PortfolioError(f"two inputs would both become {twice[0]}")
    return tuple(targets)


def bare(name: str) -> str:
    """A file's name without the ending that says its kind."""
    lower = name.lower()
    for ending in (*(f".{CSV}{c}" for c in COMPRESSED), f".{CSV}", f".{PARQUET}"):
        if lower.endswith(ending):
            return name[: -len(ending)]
    return name
