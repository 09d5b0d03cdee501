"""``/deployments``: which model was deployed when, by whom and why, what was refused, two kept models side by side, and how to
go back.

Who may look is decided as for ``/predictions``. These pages only read: no address here changes what is served.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request

from services.predict.lookup import criteria, deployment_log, deployment_telling, side_by_side
from services.predict.lookup.deployment_log import KINDS, Back, Record
from services.predict.lookup.kept_models import VERSION, KeptModels, NotKept
from services.predict.lookup.log import Log
from services.predict.lookup.views import JSON, METHODS, answer, as_json
from services.predict.pages import model_card, rendering
from services.predict.rollout.signature_policy import SignaturePolicy
from services.predict.rollout.state_dir import StateDir
from services.predict.serving.loaded_models import Models
from services.web.problem import Refused
from services.web.timestamps import iso

HISTORY, PAIR = "/deployments", "/deployments/compare"
NAME = "deployments"  # of the page
SIZE = 50
EMPTY = Record([], None, [])
KEY = "secrets/signing-key.pem"  # where the documentation puts it
KIND = "must be one of " + ", ".join(KINDS)
BEFORE = "must be what the page before gave as its next address"
TWO = "must be the version of a model that is kept here"
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")  # that needs no quotes in an env file


@dataclass(frozen=True, slots=True)
class Kept:
    """A model whose file is here. ``signature`` is checked now, and is empty for a challenger; ``trouble`` says why its manifest
    cannot be read."""

    version: str
    name: str
    role: str
    signature: str
    trouble: str = ""


class Deployments:
    """Answers. ``admit`` raises for whoever may not look."""

    def __init__(
        self,
        log: Log,
        kept: KeptModels,
        models: Models,
        store: StateDir,
        trust: SignaturePolicy | None,
        admit: Callable[[], None],
    ) -> None:
        self.log = log
        self.kept = kept
        self.models = models
        self.store = store
        self.trust = trust
        self.admit = admit

    def history(self) -> Response:
        """The page of events, with the models that are here and the way back."""
        self.admit()
        refused, record = None, EMPTY
        kinds, before = [*KINDS], None
        try:
            kinds, before = _asked()
            record = self._read(kinds, before)
        except Refused as error:
            if as_json():
                raise
            refused = error
        kind = kinds[0] if len(kinds) == 1 else ""
        following = urlencode({**({"kind": kind} if kind else {}), "before": record.end}) if record.end else None
        back = deployment_log.back(record.recent, self._pinned())
        if as_json():
            return _answer(record, following, back, self._kept())
        names = deployment_log.file_names(record.recent)
        return self._page(
            "deployments.html",
            refused.status if refused else 200,
            refused=refused,
            events=[deployment_telling.tell(event, names) for event in record.events],
            following=following,
            further=before is not None,
            kind=kind,
            kinds=KINDS,
            kept=self._kept(),
            names=names,
            back=back,
            commands=self.commands(back),
            since=iso(self.store.switched() / 1e9, "milliseconds") if self.store.current().number else "",
        )

    def pair(self) -> Response:
        """Two kept models side by side."""
        self.admit()
        try:
            chosen = self._chosen()
            manifests = [self._manifest(version) for version in chosen]
        except Refused as refused:
            if as_json():
                raise
            return self._page(
                "deployments-pair.html", refused.status, 1, refused=refused, kept=self._kept(), chosen=["", ""]
            )
        sections = side_by_side.sections(*manifests)
        if as_json():
            return answer({"models": chosen, "sections": [asdict(section) for section in sections]})
        return self._page(
            "deployments-pair.html",
            depth=1,
            refused=None,
            kept=self._kept(),
            chosen=chosen,
            manifests=manifests,
            sections=sections,
            command_text=self._compare(chosen),
        )

    def _read(self, kinds: list[str], before: int | None) -> Record:
        return self.log.read(lambda engine: deployment_log.read(engine, kinds, before, SIZE)) or EMPTY

    def commands(self, back: Back | None) -> list[tuple[str, str]]:
        """What to do to go back, and the command for it; each can be run as it is."""
        if back is None:
            return []
        found = [("With make", f"make rollback KEY={KEY}" if self.trust else "make rollback")]
        if back.file and back.target == "compose" and _FILE.fullmatch(back.file) and VERSION.fullmatch(back.version):
            found.append(
                (
                    "By hand, with compose: these lines in .env …",
                    f"MODEL_FILE_NAME={back.file}\nMODEL_SHA256={back.version}",
                )
            )
            found.append(("… and then", "docker-compose up -d model"))
        return found

    def _compare(self, chosen: list[str]) -> str:
        """The command that scores both on the same logged rows, where they are files in ``models/``."""
        try:
            names = deployment_log.file_names(self._read([], None).recent)
        except Refused:  # the page does without
            names = {}
        files = [shlex.quote(f"models/{names[version]}") if version in names else "" for version in chosen]
        return f"make compare BUNDLE={files[1]} WITH={files[0]}" if all(files) else ""

    def _chosen(self) -> list[str]:
        wrong = {name: "is not a parameter of this address: a, b" for name in request.args if name not in ("a", "b")}
        known = self.kept.versions()
        found = [request.args.get(name, "") for name in ("a", "b")]
        wrong |= {name: TWO for name, version in zip("ab", found, strict=True) if version not in known}
        if wrong:
            raise criteria.refused(wrong)
        return found

    def _manifest(self, version: str) -> Any:
        try:
            return self.kept.manifest(version)
        except NotKept as error:
            raise Refused(404, f"{version[:12]}: {error}.") from None

    def _kept(self) -> list[Kept]:
        return [self._one(version) for version in self.kept.versions()]

    def _one(self, version: str) -> Kept:
        role = {self.store.previous().sha256: "answered before"} | {self.store.current().sha256: "answers now"}
        champion = self.store.bundle(version).exists()
        signature = model_card.signature(self.trust, version) if champion else ""
        try:
            about = self.kept.manifest(version)
        except NotKept as error:
            return Kept(version, "", role.get(version, ""), signature, str(error))
        return Kept(version, about.name, role.get(version, ""), signature)

    def _pinned(self) -> str:
        """The model that the pin names, as the leader saw it last; else that which answers."""
        return str(self.store.status().get("wanted") or self.store.current().sha256)

    def _page(self, template: str, status: int = 200, depth: int = 0, **context: Any) -> Response:
        refused = context.get("refused")
        response = rendering.page(template, NAME, rendering.serving_now(self.models), status, depth, **context)
        if refused:
            response.headers.update(refused.headers)
        return response


def _answer(record: Record, following: str | None, back: Back | None, kept: list[Kept]) -> Response:
    return answer(
        {
            "events": [asdict(event) for event in record.events],
            "next": f"deployments.json?{following}" if following else None,
            "back": asdict(back) if back else None,
            "kept": [asdict(one) for one in kept],
        }
    )


def _asked() -> tuple[list[str], int | None]:
    """The kinds and the place that the address names; raises :class:`Refused` with 422."""
    wrong = {
        name: "is not a parameter of this address: before, kind"
        for name in request.args
        if name not in ("before", "kind")
    }
    wrong |= {name: criteria.REPEATED for name in ("before", "kind") if len(request.args.getlist(name)) > 1}
    before, kind = request.args.get("before", ""), request.args.get("kind", "")
    if before and not re.fullmatch(r"[1-9][0-9]{0,17}", before):
        wrong["before"] = BEFORE
    if kind and kind not in KINDS:
        wrong["kind"] = KIND
    if wrong:
        raise criteria.refused(wrong)
    return [kind] if kind else [*KINDS], int(before) if before else None


def blueprint(deployments: Deployments) -> Blueprint:
    """The views."""
    views = Blueprint("deployments", __name__)
    options: dict[str, Any] = {"methods": METHODS, "provide_automatic_options": False}
    for address, view in ((HISTORY, deployments.history), (PAIR, deployments.pair)):
        views.add_url_rule(address, view.__name__, view, **options)
        views.add_url_rule(address + JSON, f"{view.__name__} as JSON", view, **options)
    return views
