"""The documents for people in the current model's bundle: its card, its curves, and the distributions of the training rows.

Predictions need none of them, so they are not kept with the loaded model. They are read from the verified file in the store when
somebody asks, checked against the manifest again, and kept for one model at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelbundle.errors import FormatError
from modelbundle.explain.curves import Curves, curves
from modelbundle.format import bundle, reference
from modelbundle.model import Model
from services.predict.rollout.state_dir import StateDir
from services.web import json_logging


@dataclass(frozen=True, slots=True)
class Documents:
    """``card`` and ``card_html`` are empty where the bundle has none, as is ``reference``; see
    :mod:`modelbundle.explain.curves`.
    """

    card: str
    card_html: str
    reference: dict[str, Any]
    curves: Curves


NOTHING = Documents("", "", {}, Curves())


class BundleDocuments:
    """Reads the documents of models in ``store``."""

    def __init__(self, store: StateDir) -> None:
        self._store = store
        self._kept: tuple[str, Documents] = ("", NOTHING)

    def of(self, model: Model) -> Documents:
        """The documents of a model that is current, or was just now; empty ones where a swap has already removed its file."""
        version, found = self._kept
        if version == model.version:
            return found
        try:
            found = self._read(model)
        except OSError:
            return NOTHING
        self._kept = (model.version, found)
        return found

    def _read(self, model: Model) -> Documents:
        card, card_html, described = (
            self._entry(model, name) for name in (bundle.CARD, bundle.CARD_HTML, bundle.REFERENCE)
        )
        spread: dict[str, Any] = {}
        if described:
            try:
                spread = reference.parse(described, model.schema)
            except FormatError as error:
                _complain(model, error)
        return Documents(
            card.decode("utf-8", "replace"), card_html.decode("utf-8", "replace"), spread, curves(model, spread)
        )

    def _entry(self, model: Model, name: str) -> bytes:
        try:
            return bundle.entry(self._store.bundle(model.version), model.manifest, name) or b""
        except FormatError as error:
            _complain(model, error)
            return b""


def _complain(model: Model, error: FormatError) -> None:
    json_logging.emit("bundle documents", "warning", model_version=model.version, trouble=str(error))
