"""Stages a pinned model, champion or challenger: fetches it, verifies its hash and its statement, and rehearses it."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable

from modelbundle.errors import StatementError
from services.predict.rollout import state_machine
from services.predict.rollout.model_client import ModelClient, ModelClientError
from services.predict.rollout.rehearsal import RehearsalFailed, rehearse
from services.predict.rollout.signature_policy import SignaturePolicy
from services.predict.rollout.state_dir import StateDir
from services.predict.rollout.state_machine import Outcome, PinnedVersion, Staged
from services.predict.settings import Settings


class Staging:
    """Brings models from the model service into ``store``."""

    def __init__(
        self, store: StateDir, settings: Settings, client: ModelClient, policy: SignaturePolicy | None
    ) -> None:
        self.store = store
        self.settings = settings
        self.client = client
        self.policy = policy
        self.request_id = (
            ""  # of the last model's download, as in the model service's log; empty: nothing was downloaded
        )

    def stage(self, pin: PinnedVersion, keep: set[str], enter: Callable[[str], None] | None = None) -> Staged:
        """Fetch, verify and rehearse a model. Before a download, files other than ``keep`` are removed.

        ``enter`` is told which part begins: ``fetching``, then ``rehearsing``. After a rehearsal that passed, its journal entry
        remains: the caller calls :meth:`StateDir.end_rehearsal`.
        """
        try:
            if enter:
                enter("fetching")
            self._fetch(pin, keep)
        except (ModelClientError, OSError) as error:
            return Staged(Outcome.RETRY, str(error), "fetch")
        try:
            if enter:
                enter("rehearsing")
            if self.policy:
                self.policy.admit(pin.sha256)  # before a byte of the model is parsed
            if self.store.journal_rehearsal(pin) > state_machine.MOST_REHEARSALS:
                raise RehearsalFailed(f"{state_machine.MOST_REHEARSALS} rehearsals of it began and none ended")
            rehearse(self.store.bundle(pin.sha256), pin.sha256, self.settings)
        except StatementError as error:
            return Staged(Outcome.REFUSED, str(error), "statement")
        except RehearsalFailed as failure:
            self.store.end_rehearsal()
            return Staged(Outcome.REFUSED, str(failure), failure.kind)
        except OSError as error:
            self.store.end_rehearsal()
            return Staged(Outcome.RETRY, str(error))
        return Staged(Outcome.DONE)

    def _fetch(self, pin: PinnedVersion, keep: set[str]) -> None:
        """Bring the bytes and their statement into the store. A file gets its name once it is verified and durable."""
        path, disk = self.store.bundle(pin.sha256), self.store.disk
        self.request_id = ""
        if not (path.exists() and _sha256(path) == pin.sha256):
            self.store.prune(keep)
            temporary = self.store.bundles / f".{pin.sha256}.part"
            descriptor = disk.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                self.client.fetch(pin, functools.partial(disk.write, descriptor), self.settings.fetch_seconds)
                disk.fsync(descriptor)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            finally:
                os.close(descriptor)
            disk.replace(temporary, path)
            disk.sync_directory(self.store.bundles)
            self.request_id = self.client.request_id
        if self.policy:
            self.policy.keep(pin.sha256, self.client.statement(pin))


def _sha256(path: os.PathLike[str]) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
