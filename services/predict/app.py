"""The prediction API's application factory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flask import Flask

from modelbundle import golden
from modelbundle.format import bundle
from modelbundle.model import Model
from services.predict.api import api_keys, health, outcomes, predict
from services.predict.api.request_body import Bodies
from services.predict.challenger.status import Standing
from services.predict.metrics import counters, exporter
from services.predict.openapi import description, swagger_ui
from services.predict.pages import batch, model_card, monitor, monitor_page, rendering, try_it
from services.predict.pages.bundle_documents import Cabinet
from services.predict.protocols import mlflow, oip
from services.predict.rollout.signature_policy import Trust
from services.predict.rollout.state_dir import Store
from services.predict.serving.loaded_models import Models
from services.predict.serving.prediction_log import Recorder
from services.predict.serving.predictor import Predictor
from services.predict.settings import Settings
from services.web import problem
from services.web.middleware import Edge


def create_app(settings: Settings, store: Store | None = None) -> Flask:
    """An application that answers from ``settings.state_dir``. It follows nothing by itself: see :mod:`replica`.

    Raises :class:`services.predict.api.api_keys.KeysError` or :class:`OSError` where ``settings.api_keys_file`` cannot be used.
    """
    app = Flask("services.predict", static_folder=None, template_folder="pages/templates")
    app.json.sort_keys = False  # type: ignore[attr-defined]
    store = store or Store(settings.state_dir)
    models = Models(store, loader(store, settings))

    problem.init_app(app)
    api_keys.init_app(app, api_keys.Keys(Path(settings.api_keys_file)) if settings.api_keys_file else None)
    bodies = Bodies(settings.max_body_bytes, settings.body_seconds)
    outcomes.init_app(app, outcomes.Outcomes(settings, bodies))
    predict.init_app(app, Predictor(models, bodies, settings.max_rows, settings.max_csv_rows))
    app.register_blueprint(oip.blueprint)
    app.register_blueprint(mlflow.blueprint)
    description.init_app(app, settings)
    swagger_ui.init_app(app)
    health.init_app(app, health.Health(store, models, Standing(settings)))
    rendering.init_app(app)
    try_it.init_app(app)
    batch.init_app(app)
    model_card.init_app(app, Trust.of(settings, store))
    monitor_page.init_app(app)
    app.extensions["store"] = store
    app.extensions["models"] = models
    app.extensions["papers"] = Cabinet(store)
    monitor.init_app(app, settings)
    app.extensions["observer"] = observer = exporter.init_app(app)
    app.extensions["predictor"].scored = observer.scored
    app.extensions["predictor"].warned = exporter.warned
    app.extensions["recorder"] = app.extensions["predictor"].record = Recorder(settings, counters.unlogged.inc)
    app.extensions["edge"] = app.wsgi_app = Edge(app.wsgi_app, observer)  # type: ignore[method-assign]

    return app


def loader(store: Store, settings: Settings) -> Callable[[str], Model]:
    """A function that loads a model of the store by its SHA-256, verifies it and its statement again and checks its golden
    rows."""
    trust = Trust.of(settings, store)

    def load(sha256: str) -> Model:
        if trust:
            trust.check(sha256)
        model = bundle.read(store.bundle(sha256), sha256, allow_pickle=settings.allow_pickle)
        golden.check(model)
        return model

    return load
