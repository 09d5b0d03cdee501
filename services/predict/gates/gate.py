"""Runs the gates: the current model, a candidate and the last logged rows give a verdict."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelbundle.format.allowance import CONTRACT, SCORES
from modelbundle.model import Model
from modelbundle.scorers.base import Column
from services.predict.gates import contract, scores
from services.predict.gates.replay import Fit, Row, chosen, fit, score

NO_ROWS = "no rows are logged that the current model answers"
MOST_NAMED = 20  # features in the figures


@dataclass(frozen=True, slots=True)
class Rules:
    """The gates that are ``lifted``, which warn and do not refuse; the factor of ``MOST_RATE_CHANGE``; and the time in seconds
    that each model may score."""

    lifted: tuple[str, ...] = ()
    most_change: float = 2.0
    seconds: float = 10.0


@dataclass(slots=True)
class Verdict:
    """``kind`` and ``reason`` of a refusal, empty where the candidate passes; ``warnings``; and ``facts``, as JSON."""

    kind: str = ""
    reason: str = ""
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def find(self, gate: str, said: str, lifted: bool) -> None:
        """Warn of a finding where the gate is lifted; else refuse, unless an earlier finding does."""
        if lifted:
            self.warnings.append(f"{gate}: {said}")
        elif not self.kind:
            self.kind, self.reason = gate, said

    def evidence(self) -> dict[str, Any]:
        """The figures and the warnings, for events and ``/readyz``."""
        return {**self.facts, **({"warnings": self.warnings} if self.warnings else {})}


def judge(current: Model, candidate: Model, rows: Sequence[Row], trouble: str, rules: Rules) -> Verdict:
    """Whether ``candidate`` may answer what ``current`` answers.

    ``rows`` are the last inputs of the log, ``trouble`` says why there are none or not all. A row that the current model scores
    and the candidate cannot is a refusal whatever is lifted.
    """
    began = time.monotonic()
    before = fit(current, rows)
    accepted = [row for row, fits in zip(rows, before.rows.tolist(), strict=True) if fits]
    verdict = Verdict(facts={"rows": len(accepted), "not_compared": trouble or (None if accepted else NO_ROWS)})
    after = fit(candidate, accepted)
    _contract(verdict, current, candidate, after, rules)
    if after.columns and current.classes == candidate.classes:
        places = np.flatnonzero(after.rows)
        _scores(verdict, current, candidate, chosen(before.columns, places), after.columns, rules)
    verdict.facts["seconds"] = round(time.monotonic() - began, 3)
    return verdict


def _contract(verdict: Verdict, current: Model, candidate: Model, fits: Fit, rules: Rules) -> None:
    lifted, rows, refused = CONTRACT in rules.lifted, len(fits.rows), int((~fits.rows).sum())
    found = contract.differences(current, candidate)
    if not rows:
        found += contract.other_ranges(current, candidate)
        if found:
            said = f"{contract.listed(found)}; not compared with rows: {verdict.facts['not_compared']}"
            verdict.find(CONTRACT, said, lifted)
        return
    by_feature: dict[str, int] = {}
    for (name, _), count in fits.problems.most_common(MOST_NAMED):
        by_feature[name] = by_feature.get(name, 0) + count
    verdict.facts.update(refused=refused, refused_by=by_feature)
    if found or refused:
        verdict.find(CONTRACT, "; ".join([*filter(None, [contract.listed(found)]), contract.refused(fits)]), lifted)
    for said in contract.outside(current, candidate, fits.columns):
        verdict.find(CONTRACT, said, lifted)


def _scores(
    verdict: Verdict,
    current: Model,
    candidate: Model,
    own: Sequence[Column],
    other: Sequence[Column],
    rules: Rules,
) -> None:
    """Score the same rows with both models: ``own`` are the current model's columns, ``other`` the candidate's."""
    before, after = score(current, own, rules.seconds), score(candidate, other, rules.seconds)
    answered = before.tried & ~before.failed & after.tried
    failed, compared = answered & after.failed, answered & ~after.failed
    verdict.facts["scored"] = int(compared.sum())
    if failed.any():
        verdict.find(SCORES, scores.unanswered(int(failed.sum()), int(answered.sum()), after.error), False)
    if not compared.any():
        return
    pair = before.probabilities[compared], after.probabilities[compared]
    verdict.facts.update(scores.figures(current, candidate, *pair))
    if found := scores.findings(current.classes, *pair, rules.most_change):
        verdict.find(SCORES, contract.listed(found), SCORES in rules.lifted)
