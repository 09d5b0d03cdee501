"""The options of a run, their command line, and the model that they name."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

from modelbundle import golden
from modelbundle.errors import StatementError
from modelbundle.format import bundle, statement
from modelbundle.model import Model


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a run; see ``python -m portfolio --help``."""

    source: str
    output: str
    model: Path
    sha256: str | None = None
    signed: Path | None = None
    kind: str | None = None
    with_reasons: bool = True
    allow_pickle: bool = False
    workers: int = 0
    work: Path | None = None
    force: bool = False
    fresh: bool = False
    progress: bool = False

    @classmethod
    def from_arguments(cls, asked: argparse.Namespace) -> Options:
        """Take the options of the same names; the others belong to the command."""
        return cls(**{field.name: getattr(asked, field.name) for field in fields(cls) if hasattr(asked, field.name)})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that ``portfolio`` and ``portfolio.spark`` have in common."""
    add = parser.add_argument
    add("--model", type=Path, default=Path("models/late-payers.bundle"), help="the bundle")
    add("--sha256", help="the hash that the bundle must have")
    add("--signed", type=Path, metavar="KEY.pem", help="the bundle must be signed by one of these keys")
    add(
        "--no-reasons",
        dest="with_reasons",
        action="store_false",
        help="leave the column of reasons empty, which is faster",
    )
    add("--force", action="store_true", help="replace OUT")
    add("--strict", action="store_true", help="exit with 3 if rows were rejected")
    add("--json", action="store_true", help="print the summary as one JSON object")


def load(options: Options) -> Model:
    """Load the model, verify it as the options say, and check its golden rows."""
    model = bundle.read(options.model, options.sha256, allow_pickle=options.allow_pickle)
    if options.signed is not None:
        signature = options.model.with_name(options.model.name + statement.SUFFIX)
        keys = statement.read_public(options.signed)
        try:
            statement.verify(signature.read_bytes(), model.version, keys)
        except FileNotFoundError:
            raise StatementError("the model is not signed: there is no statement beside it") from None
        except StatementError as error:
            raise StatementError(f"the model's statement {error}") from None
    golden.check(model)
    return model
