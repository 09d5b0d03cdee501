"""Stages a pinned model, champion or challenger: fetches it, verifies its hash and its statement, and rehearses it."""

from __future__ import annotations

import functools
import hashlib
import math
import os
from collections.abc import Callable
from typing import Any

from modelbundle.errors import StatementError
from modelbundle.format.allowance import GATES, SCORES
from services.predict.gates.gate import Verdict
from services.predict.rollout import state_machine
from services.predict.rollout.model_client import ModelClient, ModelClientError
from services.predict.rollout.protocol import Outcome, PinnedVersion, Staged
from services.predict.rollout.rehearsal import RehearsalFailed, rehearse
from services.predict.rollout.signature_policy import SignaturePolicy
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings


class Staging:
    """Brings models from the model service into ``store``.

    They are compared with the current model of ``champion``, by default the same store. The scores gate only warns of ``silent``
    models: they do not answer. A challenger that is to answer needs a statement of its share where models must be signed.
    """

    def __init__(
        self,
        store: StateDir,
        settings: Settings,
        client: ModelClient,
        policy: SignaturePolicy | None,
        champion: StateDir | None = None,
        silent: bool = False,
    ) -> None:
        self.store = store
        self.champion = champion or store
        self.silent = silent
        self.settings = settings
        self.client = client
        self.policy = policy
        self.request_id = ""  # of the last model's download, as in the model service's log; empty: none was needed
        self.evidence: dict[str, Any] = {}  # what the gates found about the last model

    def stage(
        self,
        pin: PinnedVersion,
        keep: set[str],
        enter: Callable[[str], None] | None = None,
        seconds: float = math.inf,
    ) -> Staged:
        """Fetch, verify and rehearse a model. Before a download, files other than ``keep`` are removed.

        The download takes at most ``seconds``, and what the settings say.

        ``enter`` is told which part begins: ``fetching``, then ``rehearsing``. After a rehearsal that passed, its journal entry
        remains: the caller calls :meth:`StateDir.end_rehearsal`.
        """
        self.evidence = {}
        try:
            if enter:
                enter("fetching")
            self._fetch(pin, keep, min(seconds, self.settings.fetch_seconds))
        except (ModelClientError, OSError) as error:
            return Staged(Outcome.RETRY, str(error), "fetch")
        try:
            if enter:
                enter("rehearsing")
            if self.policy:
                self.policy.admit(pin.sha256, 0.0 if self.silent else pin.share)  # before a byte of the model is parsed
            if self.store.journal_rehearsal(pin) > state_machine.MOST_REHEARSALS:
                raise RehearsalFailed(f"{state_machine.MOST_REHEARSALS} rehearsals of it began and none ended")
            self.evidence = self._rehearse(pin).evidence()
            not_before = self.policy.check(pin.sha256).not_before if self.policy else 0.0
        except StatementError as error:
            return Staged(Outcome.REFUSED, str(error), "statement")
        except RehearsalFailed as failure:
            self.store.end_rehearsal()
            self.evidence = failure.verdict.evidence()
            return Staged(Outcome.REFUSED, str(failure), failure.verdict.kind)
        except OSError as error:
            self.store.end_rehearsal()
            return Staged(Outcome.RETRY, str(error))
        return Staged(Outcome.DONE, not_before=not_before)

    def allowed(self, pin: PinnedVersion) -> tuple[str, ...]:
        """The gates that are lifted for a pin: where models must be signed, those that its statement lifts.

        Raises :class:`StatementError`, and :class:`OSError` where the disk does.
        """
        return self.policy.check(pin.sha256).allow if self.policy else pin.allow

    def _rehearse(self, pin: PinnedVersion) -> Verdict:
        """Rehearse a model, with the gates. A model that answered before is only warned of; see :meth:`StateDir.answered`."""
        lifted, no_rows, current = set(self.allowed(pin)), "", self.champion.current()
        if self.silent:
            lifted.add(SCORES)
        if self.store.answered(pin.sha256):
            lifted, no_rows = set(GATES), "it answered here before"
        return rehearse(
            (pin.sha256, self.store.bundle(pin.sha256)),
            self.settings,
            (current.sha256, self.champion.bundle(current.sha256)) if current.number else None,
            tuple(gate for gate in GATES if gate in lifted),
            no_rows,
        )

    def _fetch(self, pin: PinnedVersion, keep: set[str], seconds: float) -> None:
        """Bring the bytes and their statement into the store. A file gets its name once it is verified and durable."""
        path, disk = self.store.bundle(pin.sha256), self.store.disk
        self.request_id = ""
        if not (path.exists() and _sha256(path) == pin.sha256):
            self.store.prune(keep)
            temporary = self.store.bundles / f".{pin.sha256}.part"
            descriptor = disk.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                self.client.fetch(pin, functools.partial(disk.write, descriptor), seconds)
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
