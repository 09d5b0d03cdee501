"""Loading a model file as a :class:`modelbundle.model.Model`.

A bundle with a compiled scorer is read as data only. A bundle without one and a plain scikit-learn file are unpickled, after
the SHA-256 of their bytes is verified.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelbundle.errors import FormatError, MustUnpickle
from modelbundle.explain.notice import Template
from modelbundle.explain.reasons import Reasons
from modelbundle.format import archive, arrays, manifest, reference, values
from modelbundle.format.unpickling import check_runtime, unpickle
from modelbundle.model import Model
from modelbundle.schema import Schema
from modelbundle.scorers import KINDS
from modelbundle.scorers.base import Scorer
from modelbundle.scorers.inputs import Inputs
from modelbundle.scorers.pipeline import PipelineScorer
from modelbundle.sharing import verified
from modelbundle.sharing.tables import LEAST, Content, SharedTables

PIPELINE = "pipeline.joblib"
SCORER = "scorer.json"
TABLES = "scorer.arrays"
ARRAYS = "scorer/"  # of bundles of format 1
INPUTS = "inputs.json"
REFERENCE = "reference.json"
CARD = "card.md"
CARD_HTML = "card.html"
NOTICE = "notice.txt"
CARDS = {CARD: 1 << 20, CARD_HTML: 32 << 20}  # most bytes: cards are for people
APART = (TABLES, PIPELINE, *CARDS)  # entries that :func:`share` keeps out of a process's own memory


def read(path: Path, version: str | None = None, *, allow_pickle: bool = True) -> Model:
    """:func:`load` of a file; raises :class:`OSError` too."""
    return load(path.read_bytes(), version, allow_pickle=allow_pickle, file_name=path.name)


def share(path: Path, version: str, tables: SharedTables, *, allow_pickle: bool = True) -> Model:
    """:func:`read`, for processes that answer from a model that was read whole before, in a rehearsal.

    Entries that answers do not need are verified with the file, and not kept. Large tables of a compiled scorer are in memory
    that processes share: see :mod:`modelbundle.sharing.tables`.
    """
    with path.open("rb") as file:
        places = archive.places(file, APART)
        if len(places.get(TABLES, ())) < LEAST:
            places.pop(TABLES, None)
        entries = verified.read(file, version, places) if places else {}
        about = manifest.parse(entries, {name: len(own) for name, own in places.items()}) if places else None
        if about is None or about.scorer["kind"] == PipelineScorer.kind:
            file.seek(0)
            return load(file.read(), version, allow_pickle=allow_pickle, file_name=path.name)
        if TABLES not in places:
            return _model(version, about, entries, allow_pickle)
        content = tables.content(file, places[TABLES], about.sha256(TABLES))
    return _model(version, about, {**entries, TABLES: content.view}, allow_pickle, content)


def load(data: bytes, version: str | None = None, *, allow_pickle: bool = True, file_name: str = "model") -> Model:
    """The model in ``data``: a bundle, or a plain scikit-learn pipeline dumped with joblib or pickle.

    ``version`` is the SHA-256 that ``data`` must have. It is checked first; without it, the version is computed. ``file_name``
    becomes the name of a plain pipeline, which has no manifest.

    Raises :class:`HashMismatch`, :class:`FormatError`, or :class:`RuntimeMismatch` where unpickling needs other versions than
    the installed ones. It does not check golden rows: see :func:`modelbundle.golden.check`.
    """
    if version is not None:
        archive.verify_digest(data, version)
    version = version or archive.digest(data)
    if not data.startswith(b"PK\x03\x04"):
        if not allow_pickle:
            raise MustUnpickle("file", "not a bundle, and unpickling is not allowed here")
        from modelbundle.format.pickled import load_plain

        return load_plain(data, version, file_name)
    entries = archive.unpack(data)
    return _model(version, manifest.parse(entries), entries, allow_pickle)


def _model(
    version: str,
    about: manifest.Manifest,
    entries: Mapping[str, Any],
    allow_pickle: bool,
    tables: Content | None = None,
) -> Model:
    _documents(entries, about.schema)
    scorer = _scorer(about, entries, allow_pickle)
    about = replace(about, schema=_closed(about.schema, scorer))
    return Model(version, about, scorer, Reasons.from_json(about.data.get("reasons"), about.schema), tables)


def entry(path: Path, about: manifest.Manifest, name: str) -> bytes | None:
    """The content of one entry of the bundle at ``path``; None for an entry that the manifest does not list.

    ``about`` is the manifest of the loaded model. Raises :class:`OSError`, and :class:`FormatError` where the content does not
    have the SHA-256 in the manifest.
    """
    listed = about.data.get("files", {}).get(name)
    if listed is None:
        return None
    try:
        with zipfile.ZipFile(path) as file:
            content = file.read(name)
    except (zipfile.BadZipFile, KeyError) as error:
        raise FormatError(name, f"cannot be read ({type(error).__name__})") from None
    if archive.digest(content) != listed["sha256"]:
        raise FormatError(name, "does not have the SHA-256 in the manifest")
    return content


def described(path: Path) -> manifest.Manifest:
    """The manifest of the bundle at ``path``, to tell people of the model: no other entry is read, and none is checked.

    Raises :class:`OSError`, and :class:`FormatError` for a file that has no manifest.
    """
    try:
        with zipfile.ZipFile(path) as file:
            listed = file.getinfo(manifest.NAME)
            if listed.file_size > manifest.MAX_MANIFEST_BYTES or listed.compress_type != zipfile.ZIP_STORED:
                raise FormatError(manifest.NAME, "missing or too large")
            return manifest.read(file.read(listed))
    except (zipfile.BadZipFile, KeyError, NotImplementedError, EOFError, RuntimeError, ValueError) as error:
        raise FormatError(manifest.NAME, f"cannot be read ({type(error).__name__})") from None


def _documents(entries: Mapping[str, bytes], schema: Schema) -> None:
    """Check the entries that predictions do not need: people and the monitor read them later."""
    if REFERENCE in entries:
        reference.parse(entries[REFERENCE], schema)
    for name, most in CARDS.items():
        content = entries.get(name, b"")
        try:
            content.decode()
        except UnicodeDecodeError:
            raise FormatError(name, "is not UTF-8") from None
        if len(content) > most:
            raise FormatError(name, f"has more than {most:,} bytes")
    if NOTICE in entries:
        Template.parse(entries[NOTICE], NOTICE)


def _closed(schema: Schema, scorer: Scorer) -> Schema:
    """The schema with what its closed features accept: the labels of the scorer's tables."""
    if isinstance(scorer, PipelineScorer) or not any(feature.closed for feature in schema):
        return schema
    return Schema(
        tuple(
            replace(feature, accepted=frozenset(scorer.labels(i))) if feature.closed else feature
            for i, feature in enumerate(schema)
        )
    )


def _scorer(about: manifest.Manifest, entries: Mapping[str, Any], allow_pickle: bool) -> Scorer:
    kind = KINDS.get(about.scorer["kind"])
    if kind is None:
        raise FormatError("scorer", "has a kind that this version does not support")
    if about.scorer["kind"] == "pipeline":
        if not allow_pickle:
            raise MustUnpickle("scorer", "the bundle has no compiled scorer, and unpickling is not allowed here")
        check_runtime(about.runtime)
        stored = Inputs.from_json(values.loads(INPUTS, entries[INPUTS]), about.schema) if INPUTS in entries else None
        return PipelineScorer(unpickle(entries.get(PIPELINE, b"")), about.schema, stored)
    header = values.loads(SCORER, entries.get(SCORER, b""))
    if TABLES in entries:
        tables = arrays.unpack(TABLES, entries[TABLES])
    else:
        tables = {
            name.removeprefix(ARRAYS).removesuffix(".npy"): arrays.read(name, raw)
            for name, raw in entries.items()
            if name.startswith(ARRAYS) and name.endswith(".npy")
        }
    scorer = kind.from_parts(header, tables, about.schema)
    if scorer.outputs != len(about.classes):
        raise FormatError("scorer", f"has {scorer.outputs} classes, the manifest {len(about.classes)}")
    return scorer
