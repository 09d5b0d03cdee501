"""How a pinned model, champion or challenger, comes into a store: fetched, its hash and statement verified, and rehearsed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Set

from modelbundle.errors import StatementError
from services.predict.rollout import state_machine
from services.predict.rollout.model_client import ModelClient
from services.predict.rollout.rehearsal import RehearsalFailed, rehearse
from services.predict.rollout.signature_policy import SignaturePolicy
from services.predict.rollout.state_dir import StateDir
from services.predict.rollout.state_machine import Outcome, PinnedVersion, Tried
from services.predict.settings import Settings


class Staging:
    """Brings models from ``source`` into ``store``."""

    def __init__(
        self, store: StateDir, settings: Settings, client: ModelClient, policy: SignaturePolicy | None
    ) -> None:
        self.store = store
        self.settings = settings
        self.client = client
        self.policy = policy
        self.request_id = (
            ""  # of the download of what was fetched last, in the model service's log too; none: it was here
        )

    def fetch(self, pin: PinnedVersion, keep: Set[str]) -> None:
        """The pinned bytes, and the statement about them, into the store. Before a download, files other than ``keep`` go.

        Raises :class:`services.predict.rollout.model_client.ModelClientError` or :class:`OSError`; both are worth another try.
        """
        self.request_id = ""
        if not self._have(pin):
            self._download(pin, keep)
            self.request_id = self.client.request_id
        if self.policy:
            self.policy.keep(pin.sha256, self.client.statement(pin))

    def rehearse(self, pin: PinnedVersion) -> Tried:
        """Whether what was fetched may be loaded here: its statement, then a rehearsal, which is journalled first."""
        try:
            if self.policy:
                self.policy.admit(pin.sha256)  # before a byte of the model is parsed
        except StatementError as error:
            return Tried(Outcome.REFUSED, str(error), "statement")
        begun = self.store.journal_rehearsal(pin)
        if begun > state_machine.MOST_REHEARSALS:
            self.store.end_rehearsal()
            return Tried(Outcome.REFUSED, f"{state_machine.MOST_REHEARSALS} rehearsals of it began and none ended")
        try:
            rehearse(self.store.bundle(pin.sha256), pin.sha256, self.settings)
        except RehearsalFailed as failure:
            self.store.end_rehearsal()
            return Tried(Outcome.REFUSED, str(failure), failure.kind)
        except OSError as error:
            self.store.end_rehearsal()
            return Tried(Outcome.RETRY, str(error))
        return Tried(Outcome.DONE)

    def _have(self, pin: PinnedVersion) -> bool:
        found = hashlib.sha256()
        try:
            with self.store.bundle(pin.sha256).open("rb") as file:
                while chunk := file.read(1 << 20):
                    found.update(chunk)
        except FileNotFoundError:
            return False
        return found.hexdigest() == pin.sha256

    def _download(self, pin: PinnedVersion, keep: Set[str]) -> None:
        """The bytes into a file that gets its name only once they were verified and are durable."""
        disk = self.store.disk
        self.store.prune(set(keep))
        temporary = self.store.bundles / f".{pin.sha256}.part"
        descriptor = disk.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            self.client.fetch(pin, lambda chunk: disk.write(descriptor, chunk), self.settings.fetch_seconds)
            disk.fsync(descriptor)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        disk.replace(temporary, self.store.bundle(pin.sha256))
        disk.sync_directory(self.store.bundles)
