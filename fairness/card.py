"""Figures by group on a model's card: the same bundle with them in its manifest, and so with a hash of its own."""

from __future__ import annotations

from pathlib import Path

from fairness.errors import FairnessError
from modelbundle import durable, golden
from modelbundle.errors import FormatError
from modelbundle.fairness import KEY, Fairness
from modelbundle.format import archive, bundle, manifest, values
from modelbundle.format.statement import read_private, sign_file

MAGIC = b"PK\x03\x04"


def write(result: Path, out: Path, parent: Path, *, key: Path | None = None) -> str:
    """Write the bundle ``parent`` with the figures of ``result`` as ``out``, whole or not at all; returns its SHA-256.

    Groups that could identify a person lose their names. Raises :class:`FairnessError` where the result is malformed or of
    another model; :class:`BundleError`, :class:`OSError`. ``out`` then stays as it was.
    """
    if key is not None:
        read_private(key)  # fail before anything is written
    content = parent.read_bytes()
    if not content.startswith(MAGIC):
        raise FairnessError(f"{parent} is not a bundle, so it has no card: publish the model first")
    model = bundle.load(content)
    try:
        found = Fairness.from_json(values.loads(result.name, result.read_bytes()), model.schema.names)
    except FormatError as error:
        raise FairnessError(f"{result} is no result of `make fairness`: {error}") from None
    if found.model != model.version:
        raise FairnessError(
            f"{result} is about the model {found.model[:12]}, not about {parent} ({model.version[:12]})"
        )
    entries = archive.unpack(content)
    data = values.loads(manifest.NAME, entries.pop(manifest.NAME))
    entries[manifest.NAME] = manifest.dump({**data, KEY: found.published().to_json()})
    made = archive.pack(entries)
    golden.check(bundle.load(made))
    durable.write(out, made)
    if key is not None:
        sign_file(out, key)
    return archive.digest(made)
