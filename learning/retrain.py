"""``make retrain``: a recipe on the original rows and the logged ones, judged out of time against the current model.

The recipe is fitted on the original rows and the older outcomes. The newer outcomes judge it and the current model, its parent.
What was judged is what is published; it is not fitted again on all rows, so the figures are the model's own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from late_payers.model_card.markup import Section, to_html, to_markdown
from learning import carrying, dataset, outcomes, recipes
from learning.outcomes import Floats, Interval, Judgement, Outcomes, OutcomesError, judge
from learning.recipes import Recipe, RecipeError
from modelbundle import statistics
from modelbundle.format import bundle
from modelbundle.format.statement import read_private
from modelbundle.model import Model
from modelbundle.publishing.annotations import Author
from modelbundle.publishing.publish import publish
from modelbundle.scorers.base import AnyColumn, Coded, take
from modelbundle.validation.column_validator import misfits

if TYPE_CHECKING:
    import pandas as pd


class RetrainingError(OutcomesError):
    """No candidate is published; the message says why."""


@dataclass(frozen=True, slots=True)
class Retrained:
    """What a recipe's ``author`` gets.

    ``features`` (n rows) and ``labels`` (n,) are what ``pipeline`` was fitted on. ``newer`` (m rows), ``outcomes`` (m,)
    and the candidate's ``probabilities`` (m,) are what judged it. ``parent`` has the annotations of the current model, its bands
    measured on the newer outcomes; ``changes`` is the card's section of what changed.
    """

    pipeline: Any
    features: pd.DataFrame
    labels: Any
    newer: pd.DataFrame
    outcomes: statistics.Labels
    probabilities: Floats
    parent: Author
    lineage: Mapping[str, Any]
    changes: Section


@dataclass(frozen=True, slots=True)
class Candidate:
    """The new bundle and both judgements on the newer outcomes."""

    path: Path
    sha256: str
    before: Judgement
    after: Judgement
    lineage: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the recipe was fitted on, and what came of it; ``rows`` are the original and the logged ones."""

    pipeline: Any
    features: pd.DataFrame
    labels: Any
    rows: tuple[int, int]


def retrain(
    recipe: Recipe, parent: Path, data: Path, out: Path, *, original: Path | None = None, key: Path | None = None
) -> Candidate:
    """Fit ``recipe`` on the original rows and the older outcomes of the dataset ``data``; publish it as ``out`` if it is better.

    Raises :class:`RetrainingError`, also where the newer outcomes are not more likely than under ``parent``; the other
    :class:`OutcomesError`, :class:`BundleError`, :class:`DatasetError` and :class:`OSError`. ``out`` then stays as it was.
    """
    if key is not None:
        read_private(key)  # fail before the long work
    model = bundle.read(parent)
    if len(model.classes) != 2:
        raise RetrainingError("only models of two classes are retrained: an outcome is true or false")
    dataset.describe(data)
    found = outcomes.read(model, data)
    older, newer = found.halves()
    frame = _frame(model, found)
    made = _fit(recipe, model, frame[older], found.labels[older], original)
    carried = carrying.carried(model.manifest)
    with tempfile.TemporaryDirectory() as folder:
        first = publish(made.pipeline, made.features, made.labels, Path(folder) / out.name, author=carried)
        served = bundle.read(first.path)
    if served.classes != model.classes:
        raise RecipeError(f"the recipe {recipe.name} gave a model of the classes {served.classes}, not {model.classes}")
    judged = _accepted(served, model, found, newer)
    labels = found.labels[judged]
    columns = [take(column, judged) for column in found.columns]
    last = served.last_class(_columns(served, model, columns))
    before, after, gain = _compare(labels, model.last_class(columns), last)
    lineage = {
        "how": "retrained",
        "parent": model.version,
        "recipe": {"name": recipe.name, "version": recipe.version},
        "rows": {"original": made.rows[0], "logged": made.rows[1], "judged": len(judged)},
        **_origin(data, found, newer),
        "before": asdict(before),
        "after": asdict(after),
        "gain": list(gain),
    }
    changed = carrying.changes(lineage, before, after, _sizes(model, served, columns))
    carried = replace(carried, bands=carrying.bands(carried.bands, labels, last))
    facts = Retrained(
        made.pipeline, made.features, made.labels, frame.iloc[judged], labels, last, carried, lineage, changed
    )
    published = publish(made.pipeline, made.features, made.labels, out, author=_author(recipe, facts), key=key)
    return Candidate(published.path, published.sha256, before, after, lineage)


def _origin(data: Path, found: Outcomes, newer: slice) -> dict[str, Any]:
    """The dataset, and its first, its first judged and its last time."""
    about = dataset.describe(data)
    times = {"since": found.times[0], "split": found.times[newer.start], "until": found.times[-1]}
    return {"dataset": about["fingerprint"], "query": about["query"], **times}


def _frame(model: Model, found: Outcomes) -> pd.DataFrame:
    """The outcomes' features as a frame: numbers as float64, texts as objects, NaN where missing."""
    import pandas as pd

    made = {}
    for feature, column in zip(model.schema, found.columns, strict=True):
        plain = column.plain() if isinstance(column, Coded) else column
        if feature.kind == "number":
            made[feature.name] = pd.Series(plain, dtype="float64")
        else:
            made[feature.name] = pd.Series([np.nan if v is None else v for v in plain], dtype="object")
    return pd.DataFrame(made)


def _fit(recipe: Recipe, model: Model, older: pd.DataFrame, labels: statistics.Labels, original: Path | None) -> Fitted:
    import pandas as pd

    count = 0
    if original is not None:
        first, known = recipes.original(recipe, original, model.classes)
        if unlogged := [str(name) for name in first.columns if name not in model.schema.index]:
            raise RetrainingError(
                f"the original rows have columns that the parent does not take: {', '.join(unlogged)}"
            )
        for name in first.columns:
            number = pd.api.types.is_numeric_dtype(first[name])
            if number != pd.api.types.is_numeric_dtype(older[name]) and first[name].notna().any():
                kinds = ("numbers", "texts") if number else ("texts", "numbers")
                raise RetrainingError(
                    f"the column {name} has {kinds[0]} in the original rows and {kinds[1]} in the log"
                )
        count = len(first)
        texts = {name: "object" for name in first.columns if not pd.api.types.is_numeric_dtype(older[name])}
        older = pd.concat([first.astype(texts), older[list(first.columns)]], ignore_index=True)
        labels = np.concatenate([known, labels])
    older = older.reset_index(drop=True)
    classes = np.array(model.classes)[labels]
    pipeline = recipe.call("", older.copy(), classes.copy())
    if not hasattr(pipeline, "predict_proba") or not hasattr(pipeline, "classes_"):
        kind = type(pipeline).__name__
        raise RecipeError(f"the recipe {recipe.name} must return a fitted classifier with predict_proba, not {kind}")
    return Fitted(pipeline, older, classes, (count, len(older) - count))


def _columns(served: Model, model: Model, columns: Sequence[AnyColumn]) -> list[AnyColumn]:
    """The parent's columns in the order of the candidate's schema."""
    return [columns[model.schema.index[name]] for name in served.schema.names]


def _accepted(served: Model, model: Model, found: Outcomes, newer: slice) -> Any:
    """The positions of the newer rows to which both models give a probability."""
    place = np.arange(len(found.labels))[newer]
    columns = [take(column, place) for column in _columns(served, model, found.columns)]
    good = np.ones(len(place), dtype=bool)
    for feature, column in zip(served.schema, columns, strict=True):
        if (wrong := misfits(feature, column)) is not None:
            good &= ~wrong
    place, refused = place[good], len(place) - int(good.sum())
    scored = [take(column, place) for column in found.columns]
    good = np.isfinite(served.last_class(_columns(served, model, scored))) & np.isfinite(model.last_class(scored))
    refused += int((~good).sum())
    accepted = place[good]
    if not len(accepted) > refused:
        raise RetrainingError(f"one of the models refuses {refused:,} of the {len(accepted) + refused:,} newer rows")
    if len(set(found.labels[accepted].tolist())) < 2:
        raise RetrainingError("the newer rows that the candidate accepts have outcomes of one kind only")
    return accepted


def _compare(labels: statistics.Labels, parent: Floats, candidate: Floats) -> tuple[Judgement, Judgement, Interval]:
    """Both judgements, and by how much the log loss of a row is lower, with a 95 % interval of paired rows."""
    before, after = judge(labels, parent), judge(labels, candidate)
    if not after.log_loss < before.log_loss:
        raise RetrainingError(
            f"it does not help on the newer outcomes: log loss {after.log_loss:.5f}, the parent's {before.log_loss:.5f}"
        )
    sign = np.where(labels == 1, -1.0, 1.0)
    losses = [np.logaddexp(0.0, sign * statistics.log_odds(p)) for p in (parent, candidate)]
    gains = losses[0] - losses[1]
    mean, reach = float(gains.mean()), statistics.Z * float(gains.std(ddof=1) / np.sqrt(len(gains)))
    return before, after, (mean, mean - reach, mean + reach)


def _sizes(model: Model, served: Model, columns: Sequence[AnyColumn]) -> dict[str, tuple[float, float]]:
    """Each feature's mean absolute contribution in both models, where both have them in log-odds."""
    if not all(m.scorer.has_contributions and m.scorer.link == "logit" for m in (model, served)):
        return {}
    found = []
    for m, given in ((model, columns), (served, _columns(served, model, columns))):
        terms = m.scorer.contributions_columns(given)
        found.append(dict(zip(m.schema.names, np.abs(terms).mean(axis=0).tolist(), strict=True)))
    return {name: (found[0][name], size) for name, size in found[1].items()}


def _author(recipe: Recipe, made: Retrained) -> Author:
    """The annotations: the recipe's, or the parent's with a short card."""
    if recipe.has("author"):
        author = recipe.call("author", made)
        if not isinstance(author, Author):
            raise RecipeError(f"the recipe {recipe.name}.author must return an Author, not {type(author).__name__}")
        return replace(author, lineage=made.lineage)
    title = f"{made.parent.title}: model card"
    training = {"data": f"original rows and logged ones to {made.lineage['split']}", "recipe": made.lineage["recipe"]}
    return replace(
        made.parent,
        training=training,
        metrics={"out_of_time": made.lineage["after"]},
        card=to_markdown(title, [made.changes]),
        card_html=to_html(title, [made.changes]),
        lineage=made.lineage,
    )
