"""Makes the letter for one recorded prediction.

The reasons are those that were told at the time, and the letter is refused unless the model, asked again, gives the same ones:
a notice states the principal reasons that were really used (12 CFR 1002, Supplement I, paragraph 9(b)(2)-3 and -4).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from modelbundle.errors import BundleError, FormatError
from modelbundle.explain import notice
from modelbundle.explain.notice import Notice, Template
from modelbundle.explain.reasons import UNSAID
from modelbundle.format import bundle
from modelbundle.model import Model
from services.predictionlog import audit

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
LONGEST = 2_000  # characters of a field


class NoNotice(Exception):
    """Why there is no letter."""


@dataclass(frozen=True, slots=True)
class Creditor:
    """Who took the action, as the letter says it.

    ``agency`` is the federal agency that administers compliance, with its address (appendix A to part 1002).
    """

    name: str
    address: str
    agency: str
    phone: str = ""

    @classmethod
    def read(cls, path: Path) -> Creditor:
        """The creditor of a TOML file with these keys; raises :class:`NoNotice`."""
        try:
            found = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise NoNotice(f"{path} cannot be read ({error.strerror}): it names the creditor") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise NoNotice(f"{path} is not TOML: {error}") from None
        for name in ("name", "address", "agency"):
            if not found.get(name):
                raise NoNotice(f"{path} must say {name} of the creditor")
        for name, value in found.items():
            if name not in cls.__slots__:
                raise NoNotice(f"{path}: {name} is nothing that a letter says of the creditor")
            if not isinstance(value, str) or len(value) > LONGEST:
                raise NoNotice(f"{path}: {name} must be text of at most {LONGEST:,} characters")
        return cls(**{name: value.strip() for name, value in found.items()})


class Letters:
    """Makes letters. ``places`` are where bundles are kept; ``template`` is the lender's own, where it has one.

    Raises :class:`NoNotice` for a template that cannot be used.
    """

    def __init__(self, places: Iterable[Path], creditor: Creditor, template: Path | None = None) -> None:
        self.places = tuple(places)
        self.creditor = creditor
        self._models: dict[str, tuple[Path, Model, Template]] = {}
        try:
            self._template = template and Template.parse(template.read_bytes(), str(template))
        except (FormatError, OSError) as error:
            raise NoNotice(str(error)) from None

    def compose(self, found: dict[str, Any], action: str, day: date, recipient: str = "") -> Notice:
        """The letter for a prediction that :func:`services.predictionlog.audit.find` has found.

        ``action`` says what was done, in a sentence; ``recipient`` is the borrower's name and address. Raises
        :class:`NoNotice`.
        """
        path, model, template = self._model(found["model_version"])
        texts = _reasons(found, path, model)
        fields = {
            "creditor_name": self.creditor.name,
            "creditor_address": self.creditor.address,
            "creditor_phone": self.creditor.phone,
            "agency": self.creditor.agency,
            "action": action.strip(),
            "recipient": recipient.strip(),
            "date": f"{MONTHS[day.month - 1]} {day.day}, {day.year}",
            "reference": found["prediction_id"],
        }
        for name, value in fields.items():
            if len(value) > LONGEST or not value.replace("\n", "").isprintable():
                raise NoNotice(f"the {name} must be printable text of at most {LONGEST:,} characters")
        if not fields["action"]:
            raise NoNotice("the letter must say what was done (the action)")
        return template.fill(fields, texts)

    def _model(self, version: str) -> tuple[Path, Model, Template]:
        if version not in self._models:
            try:
                path = audit.locate(version, self.places)
                model = bundle.read(path, version)
                own = self._template or Template.parse(
                    bundle.entry(path, model.manifest, bundle.NOTICE) or notice.DEFAULT, bundle.NOTICE
                )
            except (audit.NotFound, BundleError, OSError) as error:
                raise NoNotice(str(error)) from None
            self._models = {version: (path, model, own)}  # a list of letters is mostly about one model
        return self._models[version]


def _reasons(found: dict[str, Any], path: Path, model: Model) -> list[str]:
    told = found["reasons"]
    if told is None:
        raise NoNotice("the model gives no reasons: a notice needs a model with an additive scorer")
    if not told:
        raise NoNotice("no reason was told: nothing about this loan is riskier than the average")
    if not audit.reproduce(found, path, model)["reproduced"]:
        raise NoNotice("the model does not give the recorded answer again: the record was changed")
    hidden = {wording.feature for wording in model.reasons.wordings if not wording.disclosable}
    if any(reason["feature"] in hidden for reason in told):
        raise NoNotice("a recorded reason is one that must not be disclosed")
    for reason in told:
        if reason["text"].endswith(UNSAID):
            raise NoNotice(
                f"the model's author gave no sentence for {reason['feature']}, and a notice must be specific"
            )
    return [reason["text"] for reason in told]
