"""How a pinned model, champion or challenger, comes into a store: fetched, its hash and statement verified, and rehearsed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Set

from modelbundle.errors import StatementError
from services.predict.rollout import state_machine
from services.predict.rollout.model_client import Source
from services.predict.rollout.rehearsal import RehearsalFailed, rehearse
from services.predict.rollout.signature_policy import Trust
from services.predict.rollout.state_dir import Store
from services.predict.rollout.state_machine import Outcome, Pin, Tried
from services.predict.settings import Settings


class Intake:
    """Brings models from ``source`` into ``store``."""

    def __init__(self, store: Store, settings: Settings, source: Source, trust: Trust | None) -> None:
        self.store = store
        self.settings = settings
        self.source = source
        self.trust = trust
        self.request_id = (
            ""  # of the download of what was fetched last, in the model service's log too; none: it was here
        )

    def fetch(self, pin: Pin, keep: Set[str]) -> None:
        """The pinned bytes, and the statement about them, into the store. Before a download, files other than ``keep`` go.

        Raises :class:`services.predict.rollout.model_client.SourceError` or :class:`OSError`; both are worth another try.
        """
        self.request_id = ""
        if not self._have(pin):
            self._download(pin, keep)
            self.request_id = self.source.request_id
        if self.trust:
            self.trust.keep(pin.sha256, self.source.statement(pin))

    def rehearse(self, pin: Pin) -> Tried:
        """Whether what was fetched may be loaded here: its statement, then a rehearsal, which is journalled first."""
        try:
            if self.trust:
                self.trust.admit(pin.sha256)  # before a byte of the model is parsed
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

    def _have(self, pin: Pin) -> bool:
        found = hashlib.sha256()
        try:
            with self.store.bundle(pin.sha256).open("rb") as file:
                while chunk := file.read(1 << 20):
                    found.update(chunk)
        except FileNotFoundError:
            return False
        return found.hexdigest() == pin.sha256

    def _download(self, pin: Pin, keep: Set[str]) -> None:
        """The bytes into a file that gets its name only once they were verified and are durable."""
        disk = self.store.disk
        self.store.prune(set(keep))
        temporary = self.store.bundles / f".{pin.sha256}.part"
        descriptor = disk.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            self.source.fetch(pin, lambda chunk: disk.write(descriptor, chunk), self.settings.fetch_seconds)
            disk.fsync(descriptor)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        disk.replace(temporary, self.store.bundle(pin.sha256))
        disk.sync_directory(self.store.bundles)
