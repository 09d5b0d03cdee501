"""``GET /model-card``: what the model that answers is, how good it is, and what it does with each feature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, jsonify, request

from modelbundle import fairness
from modelbundle.errors import StatementError
from modelbundle.format.manifest import Manifest
from services.predict.api.responses import answered, current
from services.predict.pages import markdown, rendering
from services.predict.pages.bundle_documents import BundleDocuments
from services.predict.pages.charts import feature_curves
from services.predict.rollout.signature_policy import SignaturePolicy
from services.predict.rollout.state_dir import StateDir
from services.predict.serving.loaded_models import Models, Serving
from services.web.problem import Refused

DRAWN = frozenset({"performance", "risk bands", "bands", "curves"})  # sections of a card that the page draws itself
SANDBOX = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
)
KINDS = {
    "additive": "look-up tables, one per feature and pair",
    "trees": "flattened trees",
    "pipeline": "the scikit-learn object itself",
}
FIGURES = {
    "roc_auc": (
        "ROC-AUC",
        "how often a case of the positive kind scores above one that is not; 0.5 is chance, 1 is perfect",
    ),
    "average_precision": ("Average precision", "precision over all thresholds; chance is the base rate"),
    "ks": ("Kolmogorov-Smirnov distance", "how far apart the scores of both kinds lie at most; 0 to 1"),
    "lift_top_decile": (
        "Lift in the top decile",
        "how many times the base rate is found in the tenth with the highest scores",
    ),
    "log_loss": ("Log loss", "how surprised the probabilities are by what happened; lower is better"),
    "brier": ("Brier score", "mean squared error of the probabilities; lower is better"),
    "calibration_slope": ("Calibration slope", "1: probabilities are as spread as they should be; below 1 too extreme"),
    "calibration_intercept": ("Calibration intercept", "0: probabilities are right on the whole"),
    "expected_calibration_error": ("Expected calibration error", "mean gap between probability and rate"),
    "predicted_to_observed": ("Predicted to observed", "1: as many cases as the probabilities add up to"),
}
ORDER = {name: place for place, name in enumerate(FIGURES)}


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric with its interval, if it has one, and what it means."""

    title: str
    value: str
    interval: str
    meaning: str


def blueprint(models: Models, documents: BundleDocuments, store: StateDir, trust: SignaturePolicy | None) -> Blueprint:
    """The page and its files. ``trust`` is None where models need no signature."""
    views = Blueprint("model card", __name__)

    @views.get("/model-card")
    def show() -> Response:
        """The page."""
        serving = rendering.serving_now(models)
        if serving is None:
            return rendering.no_model("model-card")
        model = serving.model
        found = documents.of(model)
        sections = markdown.sections(found.card)
        return rendering.page(
            "model-card.html",
            "model-card",
            serving,
            card=[s for s in sections if s.level > 1 and s.heading.lower() not in _drawn(model.manifest)],
            has_card=bool(found.card),
            has_html=bool(found.card_html),
            drawings=feature_curves.draw(found.curves, model.schema),
            heats=feature_curves.heats(found.curves, model.schema),
            levels=feature_curves.LEVELS,
            metrics=list(figures(model.manifest.data.get("metrics"))),
            facts=dict(facts(model.manifest)),
            signature=signature(trust, model.version),
            previous=store.previous(),
            by_group=fairness,
        )

    @views.get("/model-card/card.md")
    def card() -> Response:
        """The card as its author wrote it."""
        serving = current(models)
        return _download(serving, documents.of(serving.model).card, "text/markdown", "md")

    @views.get("/model-card/card.html")
    def card_html() -> Response:
        """The same as one page with its plots. It came with the model: it is shown without any rights."""
        serving = current(models)
        return _download(serving, documents.of(serving.model).card_html, "text/html", "html")

    @views.get("/model-card/curves.json")
    def curves() -> Response:
        """The very numbers that are drawn."""
        serving = current(models)
        found = documents.of(serving.model).curves
        surfaces = [
            {
                "features": s.features,
                "rows": s.rows.names or s.rows.edges,
                "columns": s.columns.names or s.columns.edges,
                "terms": s.terms.tolist(),
            }
            for s in found.surfaces
        ]
        document = {"model_version": serving.model.version, "unit": "log-odds against the average row"}
        content = jsonify({**document, "curves": [curve.to_json() for curve in found.curves], "surfaces": surfaces})
        return answered(content, serving, request.environ)

    return views


def _download(serving: Serving, content: str, kind: str, ending: str) -> Response:
    if not content:
        raise Refused(404, "The model that answers now came without such a card.")
    request.environ["request.headers"] = SANDBOX
    response = Response(content, content_type=f"{kind}; charset=utf-8")
    name = f"{serving.model.manifest.name}-{serving.model.version[:12]}.{ending}"
    response.headers["Content-Disposition"] = f'{"inline" if ending == "html" else "attachment"}; filename="{name}"'
    return answered(response, serving, request.environ)


def _drawn(about: Manifest) -> frozenset[str]:
    return DRAWN if about.data.get("metrics") else frozenset()


def signature(trust: SignaturePolicy | None, version: str) -> str:
    """What is known of who made the model, in a sentence."""
    if trust is None:
        return "Not asked for: this service takes models without a signature."
    try:
        statement = trust.check(version)
    except (StatementError, OSError) as error:
        return f"Not valid now: {error}."
    return f"Signed with the key {statement.key[:16]}…, as number {statement.sequence}; checked just now."


def figures(metrics: object, group: str = "") -> Iterator[tuple[str, list[Figure], str]]:
    """(name, figures, how they were made) of each group of metrics in a manifest, whatever its author put there."""
    if not isinstance(metrics, Mapping):
        return
    known = sorted(metrics.items(), key=lambda item: ORDER.get(item[0], len(ORDER)))
    own = [_figure(name, value) for name, value in known if _is_figure(value)]
    method = metrics.get("method")
    inner = [found for name, value in metrics.items() for found in _inner(name, value)]
    if inner and not own and isinstance(method, str):
        inner = [(name, found, how or method) for name, found, how in inner]
        method = None
    if own:
        yield group, own, method if isinstance(method, str) else ""
    yield from inner


def _inner(name: str, value: object) -> list[tuple[str, list[Figure], str]]:
    grouped = isinstance(value, Mapping) and not _is_figure(value)
    return list(figures(value, name.replace("_", " ").capitalize())) if grouped else []


def _is_figure(value: object) -> bool:
    if isinstance(value, Mapping):
        return isinstance(value.get("value"), (int, float))
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _figure(name: str, value: Any) -> Figure:
    title, meaning = FIGURES.get(name, (name.replace("_", " ").capitalize(), ""))
    if not isinstance(value, Mapping):
        return Figure(title, f"{value:.4g}", "", meaning)
    ends = [value.get("low"), value.get("high")]
    interval = f"{ends[0]:.4g} to {ends[1]:.4g}" if all(isinstance(end, (int, float)) for end in ends) else ""
    return Figure(title, f"{value['value']:.4g}", interval, meaning)


def facts(about: Manifest) -> Iterator[tuple[str, str]]:
    """Where the model comes from, and what was proven of it."""
    for name, value in about.data.get("training", {}).items():
        if isinstance(value, (str, int, float)):
            yield name.replace("_", " ").capitalize(), f"{value:,}" if isinstance(value, int) else str(value)
    kind = about.scorer["kind"]
    yield "Scored by", KINDS.get(kind, kind)
    proof = about.scorer.get("proof", {})
    if isinstance(proof, Mapping) and isinstance(proof.get("rows"), int):
        made = f", {proof['adversarial']:,} of them made to find a difference" if proof.get("adversarial") else ""
        yield "Proof", f"compared with the scikit-learn pipeline on {proof['rows']:,} rows{made}"
        yield "Largest difference", f"{proof.get('max_difference', 0.0):.2g} of a probability"
    if about.runtime:
        yield "Made with", ", ".join(f"{package} {version}" for package, version in sorted(about.runtime.items()))
