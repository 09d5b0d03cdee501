"""Deploys and rolls back: sets the pin, and waits until the API answers with it, or restores the old pin and says why."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelbundle import golden
from modelbundle.errors import BundleError, MustUnpickle
from modelbundle.format import bundle
from modelbundle.format.statement import CHAMPION, SUFFIXES, sign_file
from modelbundle.publishing import provenance
from services import sandbox
from services.deployment.history import History
from services.deployment.target import DeploymentError, ModelFile, Target, ask
from services.model.pin import Pin, PinError

WAIT = 90.0
CHECK = 120.0  # seconds that a model which is unpickled may take to load
NAMES = "a file name must be letters, digits, `.`, `_` and `-`, 200 at most, and must begin with a letter or a digit"


def prepare(path: Path, models: Path, *, allow_pickle: bool = True) -> ModelFile:
    """Check a model file as a replica does, copy it into ``models`` and return it; raises :class:`DeploymentError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DeploymentError(f"{path}: {error.strerror}") from None
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        Pin.make(path.name, sha256)
    except PinError:
        raise DeploymentError(f"{path.name} cannot be pinned: {NAMES}") from None
    try:
        golden.check(bundle.load(content, sha256, allow_pickle=False, file_name=path.name))
    except MustUnpickle as error:
        trouble = _unpickled(path, sha256) if allow_pickle else str(error)
        if trouble:
            raise DeploymentError(f"{path.name} is not a model that can be served: {trouble}") from None
    except BundleError as error:
        raise DeploymentError(f"{path.name} is not a model that can be served: {error}") from None
    target = models / path.name
    if target.resolve() != path.resolve():
        if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() != sha256:
            raise DeploymentError(f"{target} exists with other content: give the file a new name")
        shutil.copyfile(path, target)
        for suffix in (*SUFFIXES.values(), provenance.SUFFIX):
            signature = path.with_name(path.name + suffix)
            if signature.is_file():
                shutil.copyfile(signature, target.with_name(signature.name))
    return ModelFile(path.name, sha256)


def _unpickled(path: Path, sha256: str) -> str:
    """Unpickle a model in a process of its own, without the secrets of this one; returns why it is not served, empty if it is."""
    with tempfile.TemporaryDirectory(prefix="check-", ignore_cleanup_errors=True) as home:
        file = str(path.absolute())
        check = ["modelbundle", "check", file, "--sha256", sha256, "--allow-pickle", "--json"]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "services.sandbox", file, *check],
                env=sandbox.environment(Path(home)),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=CHECK,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"it was not loaded within {CHECK:g} s"
    if done.returncode == 0:
        return ""
    last = (done.stderr.strip().splitlines() or [""])[-1]
    try:
        return str(json.loads(last)["error"])
    except (ValueError, KeyError, TypeError):
        return f"loading it ended the process (exit {done.returncode})"


def sign(pin: ModelFile, models: Path, key: Path, role: str = CHAMPION) -> None:
    """Sign the pinned file anew: it is wanted now, in ``role``. Raises :class:`DeploymentError`."""
    path = models / pin.file
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() != pin.sha256:
            raise DeploymentError(f"{path} is no longer the file that was accepted: it is not signed")
        sign_file(path, key, role=role, allow=pin.allow, share=pin.share, not_before=pin.not_before)
    except OSError as error:
        raise DeploymentError(f"{error.filename}: {error.strerror}") from None
    except BundleError as error:
        raise DeploymentError(str(error)) from None


def change(
    target: Target, pin: ModelFile, history: History, action: str, why: str, say: Callable[[str], None]
) -> float:
    """Make ``pin`` the answering model and return how many seconds it took. A challenger that is promoted stops being one.

    For a pin with an instant that is when the replica has staged its model, and will switch to it then.

    If the replica refuses it, or does not answer with it in time, the old pins are restored, and :class:`DeploymentError`
    says why. In the place of a model that the replicas took back, that is the one before.
    """
    before, challenger = target.pin(), target.challenger()
    began = time.monotonic()
    already = ask(target.url, "/readyz")
    if before is not None and taken_back(already, before):
        before = history.previous(target.name, None) or before
    try:
        target.set_pins(pin, None if challenger and challenger.sha256 == pin.sha256 else challenger)
        reason = _wait(target, pin, already)
    except DeploymentError as error:
        reason = str(error)
    took = time.monotonic() - began
    facts = ask(target.url, "/readyz")
    refusal = facts.get("refusal") or {}
    own = refusal.get("evidence") if refusal.get("model_version") == pin.sha256 else None
    for line in compared(facts.get("gates") if reason is None else own):
        say(line)
    if reason is None:
        log(target, history.add(target.name, action, pin, "accepted", seconds=round(took, 3), why=why), say)
        return took
    log(target, history.add(target.name, action, pin, "refused", reason=reason, why=why), say)
    if before is not None and not before.same_model(pin):
        say(f"restoring {before.file}")
        target.set_pins(before, challenger)
    raise DeploymentError(f"{pin.file} was not taken: {reason}")


def taken_back(facts: dict[str, Any], pin: ModelFile | None) -> bool:
    """Whether the replicas took the pinned model back, by what ``/readyz`` says."""
    refusal = facts.get("refusal") or {}
    condemned = refusal.get("kind") == "probation" and refusal.get("model_version") != facts.get("model_version")
    return condemned and pin is not None and refusal.get("model_version") == pin.sha256


def due(facts: dict[str, Any], pin: ModelFile) -> dict[str, Any] | None:
    """What ``/readyz`` says of a pin whose model is staged and waits for its instant; None where it does not."""
    found: dict[str, Any] = facts.get("scheduled") or {}
    return found if found.get("staged") and found.get("model_version") == pin.sha256 == facts.get("wanted") else None


def compared(gates: dict[str, Any] | None) -> list[str]:
    """What the replica's gates found about a model on the last logged rows, as lines: refused, mean probability, bands."""
    if not gates:
        return []
    lines = [f"not compared: {gates['not_compared']}"] if gates.get("not_compared") else []
    if gates.get("rows"):
        lines.append(f"of the last {gates['rows']:,} logged rows, {gates['refused']:,} would be refused")
    if "mean" in gates:
        before, after = gates["mean"]
        lines.append(f"mean probability {after:.4g}, before {before:.4g}")
    if gates.get("other_band") is not None:
        lines.append(f"{gates['other_band']:.2%} of these rows are in another band")
    return lines + [f"allowed, {warning}" for warning in gates.get("warnings", [])]


def log(target: Target, entry: dict[str, Any], say: Callable[[str], None]) -> None:
    """Add the entry to the prediction log too. The deployment does not fail if that fails."""
    try:
        target.log(entry)
    except (DeploymentError, OSError) as error:
        say(f"it stands in the history, but not in the prediction log: {error}")


def _wait(target: Target, pin: ModelFile, already: dict[str, Any]) -> str | None:
    """Return None when the API answers with the pin and has confirmed it after ``already``, otherwise why it does not.

    It is also enough that the API has staged a pin with an instant.
    """
    deadline = time.monotonic() + WAIT
    facts: dict[str, Any] = {}
    while time.monotonic() < deadline:
        facts = ask(target.url, "/readyz")
        answers = facts.get("model_version") == pin.sha256 == facts.get("wanted") and facts.get("confirmed")
        if answers and facts["checked"] != already.get("checked"):  # compared for equality: the clocks may differ
            return None
        if pin.not_before and due(facts, pin):
            return None
        refusal = facts.get("refusal")
        if refusal and refusal != already.get("refusal") and refusal["model_version"] == pin.sha256:
            return f"{refusal.get('kind') or 'refused'}: {refusal['reason']}"
        if trouble := target.model_trouble():
            return trouble
        time.sleep(0.05)
    return f"no answer with it within {WAIT:g} s: {facts.get('trouble') or facts.get('why_not') or 'the API is silent'}"
