"""``make models``: the published models, the pins, the model of each replica, and the model that a rollback goes back to."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelbundle.errors import BundleError
from modelbundle.format import archive, manifest
from modelbundle.format.statement import SUFFIX
from services.deployment.history import History
from services.deployment.promotion import said
from services.deployment.target import Target
from services.web.timestamps import iso


@dataclass(frozen=True, slots=True)
class Listed:
    """One model file. ``roc_auc`` is cross-validated, from the manifest; ``accepted`` is when the model last began to answer."""

    file: str
    sha256: str
    written: str
    name: str | None
    roc_auc: float | None
    signed: bool
    pinned: bool
    serving: bool
    previous: bool
    challenger: bool
    accepted: str | None


def models(directory: Path, target: Target | None, history: History) -> dict[str, Any]:
    """Return one JSON object: ``target``, ``replicas`` by name, and ``models``, the newest first."""
    pin = target.pin() if target else None
    challenger = target.challenger() if target else None
    replicas = target.replicas() if target else {}
    previous = history.previous(target.name, pin) if target else None
    serving = {facts.get("model_version") for facts in replicas.values()}
    entries = history.accepted(target.name) if target else []
    accepted = {e["sha256"]: e.get("notBefore") or e["time"] for e in entries if e["action"] != "found"}
    listed = []
    for path in sorted(directory.iterdir() if directory.is_dir() else ()):
        if not path.is_file() or path.suffix in (SUFFIX, ".md", ".yaml") or path.name.startswith("."):
            continue
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        name, roc_auc = _about(content)
        listed.append(
            Listed(
                file=path.name,
                sha256=sha256,
                written=iso(path.stat().st_mtime, "seconds"),
                name=name,
                roc_auc=roc_auc,
                signed=path.with_name(path.name + SUFFIX).exists(),
                pinned=pin is not None and (pin.file, pin.sha256) == (path.name, sha256),
                serving=sha256 in serving,
                challenger=challenger is not None and (challenger.file, challenger.sha256) == (path.name, sha256),
                previous=previous is not None and (previous.file, previous.sha256) == (path.name, sha256),
                accepted=accepted.get(sha256),
            )
        )
    listed.sort(key=lambda model: model.written, reverse=True)
    return {"target": target.name if target else None, "replicas": replicas, "models": [asdict(m) for m in listed]}


def _about(content: bytes) -> tuple[str | None, float | None]:
    """Return a bundle's name and cross-validated ROC-AUC, without unpickling."""
    try:
        about = manifest.parse(archive.unpack(content))
    except BundleError:
        return None, None
    figures = about.data.get("metrics", {}).get("cross_validation", {})
    value = figures.get("roc_auc", {}).get("value") if isinstance(figures, dict) else None
    return about.name, value if isinstance(value, float) else None


def lines(facts: dict[str, Any]) -> list[str]:
    """Return the models as a table, with a line per replica."""
    rows = [("", "file", "SHA-256", "written", "ROC-AUC", "signed", "answered last since")]
    for model in facts["models"]:
        marks = [mark for mark in ("pinned", "serving", "challenger", "previous") if model[mark]]
        roc_auc = f"{model['roc_auc']:.4f}" if model["roc_auc"] is not None else "-"
        signed = "yes" if model["signed"] else "no"
        accepted = (model["accepted"] or "-")[:19]
        rows.append(
            (" ".join(marks), model["file"], model["sha256"][:12], model["written"][:19], roc_auc, signed, accepted)
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    found = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for name, replica in facts["replicas"].items():
        version = (replica.get("model_version") or "nothing")[:12]
        state = "confirmed" if replica.get("confirmed") else replica.get("trouble") or "not confirmed"
        found.append(f"replica {name}: answers with {version}, generation {replica.get('generation', '-')}, {state}")
        if due := replica.get("scheduled"):
            state = "prepared" if due["prepared"] else "staged" if due["staged"] else "not staged yet"
            found.append(
                f"replica {name}: will answer with {due['model_version'][:12]} at {due['not_before']}, {state}"
            )
        if other := replica.get("challenger"):
            found.append(f"replica {name}: {_challenger_line(other)}")
    return found


def _challenger_line(facts: dict[str, Any]) -> str:
    """Return one line about the challenger."""
    line = f"challenger {(facts['model_version'] or 'not known yet')[:12]}, {facts['state']}"
    if facts["why_not"]:
        line += f" ({facts['why_not']})"
    if facts.get("share"):
        line += f", answers {facts['share']:g} %" if facts["answers"] else f", does not answer its {facts['share']:g} %"
    if facts.get("share_why_not"):
        line += f" ({facts['share_why_not']})"
    if facts.get("scored"):
        line += f", {facts['scored']} rows, mean difference {facts['mean_difference']:.4f}"
        if facts["same_band"] is not None:
            line += f", same band {facts['same_band']:.1%}"
    if found := facts.get("evidence"):
        line += f", {said(found)}"
    if left := (facts.get("misfits") or 0) + (facts.get("dropped") or 0):
        line += f", {left} rows left out"
    return line
