"""Which signed statements a replica accepts. Only in use where ``MODEL_PUBLIC_KEY_FILE`` is set."""

from __future__ import annotations

import json
from pathlib import Path

from modelbundle.errors import StatementError
from modelbundle.format import statement
from modelbundle.format.statement import CHAMPION, Statement
from services import private
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import Settings


class SignaturePolicy:
    """The public keys (read anew each time, so that they can be rotated), and the highest sequence that was accepted.

    The sequence is kept in ``DATA_DIR``, which outlives ``STATE_DIR``: a model service that was taken over cannot bring back an
    older model, however well it was signed then. Going back takes a new statement about the old model. Each role has statements
    and a sequence of its own: nothing that was signed to be scored silently can be brought to answer, nor more than the
    share that was signed, and neither raises the other's sequence.
    """

    def __init__(self, keys: Path, store: StateDir, ledger: Path, role: str = CHAMPION) -> None:
        self.keys = keys
        self.store = store
        self.ledger = ledger
        self.role = role

    @classmethod
    def of(cls, settings: Settings, store: StateDir, role: str = CHAMPION) -> SignaturePolicy | None:
        """What the settings ask for of models in ``role``; None where no keys are set."""
        if not settings.model_public_key_file:
            return None
        ledger = settings.data_dir / ("statement.json" if role == CHAMPION else f"{role}-statement.json")
        return cls(Path(settings.model_public_key_file), store, ledger, role)

    def check(self, sha256: str) -> Statement:
        """The statement kept for a model, verified now; raises :class:`StatementError`, or :class:`OSError`."""
        try:
            raw = self.store.statement(sha256).read_bytes()
        except FileNotFoundError:
            raise StatementError("the model is not signed, and MODEL_PUBLIC_KEY_FILE asks for a statement") from None
        return self._verify(raw, sha256)

    def admit(self, sha256: str, share: float = 0.0) -> None:
        """Raise :class:`StatementError` unless the model may become the current one, a challenger with this ``share``."""
        found = self.check(sha256)
        if share > found.share:
            said = f"a share of {found.share:g} %" if found.share else "no share"
            raise StatementError(
                f"the statement allows {said}, and the pin says {share:g} %: sign the model with the share"
            )
        highest, owner = self.highest()
        if found.sequence < highest or (found.sequence == highest and sha256 != owner):
            raise StatementError(
                f"the statement's sequence is {found.sequence}, and {highest} was accepted before: sign the model anew"
            )

    def accept(self, sha256: str) -> Statement:
        """Remember the sequence of a model that is about to become the current one, durably; returns the statement."""
        found = self.check(sha256)
        if found.sequence > self.highest()[0]:
            private.directory(self.ledger.parent)
            content = json.dumps({"sequence": found.sequence, "sha256": sha256, "key": found.key})
            self.store.disk.write_file(self.ledger, content.encode(), durable=True)
        return found

    def highest(self) -> tuple[int, str]:
        """The highest sequence that was accepted here, and of which model; 0 before the first."""
        try:
            data = json.loads(self.ledger.read_bytes())
            return int(data["sequence"]), str(data["sha256"])
        except FileNotFoundError:
            return 0, ""
        except (ValueError, KeyError, TypeError):
            raise StatementError(f"{self.ledger} is damaged: the highest sequence is not known") from None

    def keep(self, sha256: str, raw: bytes | None) -> None:
        """Keep the statement that came with a model, or that none did."""
        path = self.store.statement(sha256)
        if raw is None:
            self.store.disk.unlink(path)
        else:
            self.store.disk.write_file(path, raw, durable=True)

    def renew(self, sha256: str, raw: bytes | None) -> None:
        """Keep and accept a newer statement about the current model; one that is not acceptable changes nothing."""
        if raw is None:
            return
        try:
            found = self._verify(raw, sha256)
        except StatementError:
            return
        if found.sequence >= self.highest()[0]:
            self.keep(sha256, raw)
            self.accept(sha256)

    def _verify(self, raw: bytes, sha256: str) -> Statement:
        try:
            keys = statement.read_public(self.keys)
        except OSError as error:
            raise StatementError(f"{self.keys} cannot be read ({error.strerror})") from None
        try:
            return statement.verify(raw, sha256, keys, self.role)
        except StatementError as error:
            raise StatementError(f"the model's statement {error}") from None
