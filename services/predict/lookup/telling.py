"""One logged prediction as its page tells it: as it was answered, and as its model answers now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelbundle.model import Model
from modelbundle.validation.problems import unescape
from services.predict.lookup.kept_models import KeptModels, NotKept
from services.predict.pages import formatting
from services.predict.pages.charts import waterfall

WORDS = {
    "input": "the input",
    "probability": "the probability",
    "probabilities": "the probabilities",
    "band": "the band",
    "reasons": "the reasons",
}


@dataclass(frozen=True, slots=True)
class Input:
    """A value that was scored, exactly as the log has it."""

    title: str
    name: str
    value: str
    warning: str


@dataclass(frozen=True, slots=True)
class Difference:
    """What the log says and the model does not, or says otherwise."""

    what: str
    logged: str
    now: str


@dataclass(slots=True)
class Told:
    """A prediction: ``document`` is what the audit command prints. The rest is for the page; ``model`` is None where it is not
    to be had here, and ``verdict`` and ``story`` then too."""

    document: dict[str, Any]
    model: Model | None = None
    verdict: waterfall.Verdict | None = None
    story: waterfall.Story | None = None
    inputs: list[Input] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    @property
    def percent(self) -> str:
        """The probability that was answered."""
        probability = self.document["probability"]
        return formatting.percent(probability) if isinstance(probability, (int, float)) else str(probability)

    @property
    def reasons(self) -> list[tuple[str, str]] | None:
        """The reasons as they were told, with their contributions; None where the model has none."""
        logged = self.document["reasons"]
        if logged is None:
            return None
        listed = logged if isinstance(logged, list) else [logged]
        return [
            (_text(r.get("text")), _signed(r.get("contribution"))) if isinstance(r, dict) else (_text(r), "")
            for r in listed
        ]

    @property
    def challenges(self) -> list[tuple[str, str, str, str]]:
        """What challengers said: version, probability, its difference to the answer, and when."""
        own = self.document["probability"]
        return [
            (c["model_version"], formatting.percent(c["probability"]), _signed(c["probability"] - own), c["time"])
            for c in self.document["challenges"]
            if isinstance(own, float) and isinstance(c["probability"], float)
        ]


def tell(found: dict[str, Any], kept: KeptModels) -> Told:
    """All that is to be told of a row of :func:`services.predictionlog.audit.one`."""
    from services.predictionlog import audit

    try:
        model = kept.get(found["model_version"])
    except NotKept as error:
        told = Told({**found, "reproduced": None, "why_not": str(error)})
    else:
        again = audit.recompute(found, model)
        told = Told({**found, **again}, model)
        if "again" in again:
            row, answer = audit.answered(found, model)
            told.verdict, told.story = waterfall.verdict(model, answer), waterfall.story(model, row, answer)
        told.differences = [
            Difference(WORDS[name], _text(found[name]), _text(again.get("again", {}).get(name)))
            for name in again["differs"]
        ]
    told.inputs = list(_inputs(found, told.model))
    return told


def _inputs(found: Mapping[str, Any], model: Model | None) -> Iterator[Input]:
    if not isinstance(found["input"], dict):
        return
    titles = {feature.name: feature.title for feature in model.schema} if model else {}
    warnings = found["warnings"] if isinstance(found["warnings"], list) else []
    said = {  # by feature: a pointer begins with the record's place in its request
        unescape(str(w["pointer"]).rpartition("/")[2]): str(w["detail"])
        for w in warnings
        if isinstance(w, dict) and {"pointer", "detail"} <= w.keys()
    }
    for name, value in found["input"].items():
        yield Input(titles.get(name) or name, name, _value(value), said.get(name, ""))


def _value(value: Any) -> str:
    if value is None:
        return "not stated"
    if isinstance(value, float):
        return formatting.plain(value)
    return value if isinstance(value, str) else _text(value)


def _signed(value: Any) -> str:
    return formatting.signed(value) if isinstance(value, float) else _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else formatting.in_json(value)
