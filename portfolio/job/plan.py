"""Plans a run: which inputs become which outputs. The plan is checked before a row is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from pyarrow import fs

from portfolio.errors import PortfolioError
from portfolio.files.locations import COMPRESSED, CSV, PARQUET, Location, kind_of
from portfolio.files.readers import InputFile, open_source

REJECTS = ".rejected.csv"


@dataclass(frozen=True)
class OutputFile:
    """One output file: its name below the output (empty where the output is a file), its kind, and its inputs."""

    name: str
    kind: str
    sources: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """``sources`` are in the order of scoring. Each belongs to one of ``targets``, which have the same order."""

    output: Location
    is_directory: bool
    sources: tuple[InputFile, ...]
    targets: tuple[OutputFile, ...]

    @property
    def rejects(self) -> str:
        """The name of the file of rejected rows, in the directory of the output."""
        return self.output.name + REJECTS


def make(source: str, output: str, kind: str | None) -> Plan:
    """Make the plan; ``kind`` is the kind of the files in an output directory. Raises :class:`PortfolioError`."""
    sources, many = inputs(source)
    to = Location.of(output)
    wanted = kind_of(to.name)
    if to.name.lower().endswith(COMPRESSED) or (wanted is None and not many):
        raise PortfolioError(f"{output}: must end in .parquet or .csv")
    is_directory = wanted is None
    if wanted is not None:
        targets: tuple[OutputFile, ...] = (OutputFile("", wanted, tuple(range(len(sources)))),)
    else:
        targets = _each(sources, kind)
    return Plan(to, is_directory, sources, targets)


def inputs(source: str) -> tuple[tuple[InputFile, ...], bool]:
    """The files of a path or ``s3://…``, in order, and whether it is a directory. Raises :class:`PortfolioError`."""
    origin = Location.of(source)
    info = origin.info()
    if info.type == fs.FileType.NotFound:
        raise PortfolioError(f"{source}: does not exist")
    many = bool(info.type == fs.FileType.Directory)
    return (_directory(origin) if many else (_single(origin, info),)), many


def check_free(plan: Plan, force: bool) -> None:
    """Raise :class:`PortfolioError` if the output exists and must not be replaced."""
    if plan.output.exists() and (plan.is_directory or not force):
        hint = "remove it first" if plan.is_directory else "pass --force to replace it"
        raise PortfolioError(f"{plan.output}: exists; {hint}")


def _single(location: Location, info: object) -> InputFile:
    kind = kind_of(location.name)
    if kind is None:
        raise PortfolioError(f"{location}: must end in .csv or .parquet")
    return open_source(location, location.name, kind, info)


def _directory(location: Location) -> tuple[InputFile, ...]:
    found = location.files()
    if not found:
        raise PortfolioError(f"{location}: has no .csv or .parquet files")
    return tuple(
        open_source(Location(f"{location}/{name}", location.system, info.path), name, kind_of(name) or CSV, info)
        for name, info in found
    )


def _each(sources: Sequence[InputFile], kind: str | None) -> tuple[OutputFile, ...]:
    targets = []
    for i, source in enumerate(sources):
        own = kind or source.kind
        path = PurePosixPath(source.name)
        targets.append(OutputFile(str(path.with_name(f"{bare(path.name)}.{own}")), own, (i,)))
    names = Counter(target.name for target in targets)
    if twice := [name for name, count in names.items() if count > 1]:
        raise PortfolioError(f"two inputs would both become {twice[0]}")
    return tuple(targets)


def bare(name: str) -> str:
    """Return a file name without the ending that says its kind."""
    lower = name.lower()
    for ending in (*(f".{CSV}{c}" for c in COMPRESSED), f".{CSV}", f".{PARQUET}"):
        if lower.endswith(ending):
            return name[: -len(ending)]
    return name
