"""The models of logged predictions that this replica still has: those that are loaded, and files in ``STATE_DIR``.

A model that is only a file is read as data, never unpickled, and one such model is kept.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path

from modelbundle.errors import BundleError
from modelbundle.format import bundle
from modelbundle.format.manifest import Manifest
from modelbundle.model import Model
from services.predict.rollout.state_dir import StateDir
from services.predict.serving.loaded_models import Models

VERSION = re.compile(r"[0-9a-f]{64}")
GONE = "this replica does not keep the model's file any more"
UNUSABLE = "the model's file is not read here"


class NotKept(LookupError):
    """A model that is not to be had here; the message says why."""


class KeptModels:
    """Finds models by version. ``slots`` are the store and the loaded models of the champion and of a challenger's share.

    ``others`` are more folders of model files: that of the challenger's process.
    """

    def __init__(self, slots: Sequence[tuple[StateDir, Models]], others: Sequence[Path] = ()) -> None:
        self._slots = slots
        self._folders = (*(store.bundles for store, _ in slots), *others)
        self._lock = threading.Lock()
        self._read: Model | None = None

    def get(self, version: str) -> Model:
        """The model; raises :class:`NotKept`."""
        for _, models in self._slots:
            if model := models.get(version):
                return model
        with self._lock:
            if self._read is None or self._read.version != version:
                self._read = None  # before the next: two of them are never in memory
                self._read = self._from_file(version)
            return self._read

    def document(self, model: Model, name: str) -> str:
        """An entry of the model's bundle as text; empty where there is none."""
        try:
            return (bundle.entry(self._path(model.version), model.manifest, name) or b"").decode("utf-8", "replace")
        except (NotKept, BundleError, OSError):
            return ""

    def versions(self) -> list[str]:
        """All of them, that of the newest file first."""
        found: dict[str, float] = {}
        for folder in self._folders:
            with contextlib.suppress(OSError):  # there is no challenger, or files go meanwhile
                found |= {e.name: e.stat().st_mtime for e in os.scandir(folder) if VERSION.fullmatch(e.name)}
        return sorted(found, key=lambda version: (-found[version], version))

    def manifest(self, version: str) -> Manifest:
        """The manifest alone: a file's other entries are not read. Raises :class:`NotKept`."""
        for _, models in self._slots:
            if model := models.get(version):
                return model.manifest
        path = self._path(version)
        try:
            return bundle.described(path)
        except BundleError as error:
            raise NotKept(f"{UNUSABLE} ({error})") from None
        except OSError as error:
            raise NotKept(f"{UNUSABLE} ({type(error).__name__})") from None

    def _from_file(self, version: str) -> Model:
        try:
            return bundle.read(self._path(version), version, allow_pickle=False)
        except BundleError as error:
            raise NotKept(f"{UNUSABLE} ({error})") from None
        except OSError as error:
            raise NotKept(f"{UNUSABLE} ({type(error).__name__})") from None

    def _path(self, version: str) -> Path:
        if VERSION.fullmatch(version):  # a row that was changed by hand names no other file
            for folder in self._folders:
                if (path := folder / version).is_file():
                    return path
        raise NotKept(GONE)
