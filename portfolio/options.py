"""What the user asked for, and the model that was meant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelbundle import golden
from modelbundle.errors import StatementError
from modelbundle.format import bundle, statement
from modelbundle.model import Model


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for; see ``python -m portfolio --help``."""

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


def load(options: Options) -> Model:
    """The model, verified as it was asked for, and found to reproduce its golden rows."""
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
