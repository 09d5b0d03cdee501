"""The prediction API's application factory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flask import Flask

from modelbundle import bundle, golden
from modelbundle.model import Model
from services import problem
from services.edge import Edge
from services.predict import (
    access,
    book,
    docs,
    health,
    metrics,
    mlflow,
    modelcard,
    monitorpage,
    oip,
    openapi,
    outcomes,
    pages,
    predictions,
    tryit,
    watch,
)
from services.predict.body import Bodies
from services.predict.models import Models
from services.predict.papers import Cabinet
from services.predict.recorder import Recorder
from services.predict.scoring import Predictor
from services.predict.settings import Settings
from services.predict.standing import Standing
from services.predict.store import Store
from services.predict.trust import Trust


def create_app(settings: Settings, store: Store | None = None) -> Flask:
    """An application that answers from ``settings.state_dir``. It follows nothing by itself: see :mod:`replica`.

    Raises :class:`services.predict.access.KeysError` or :class:`OSError` where ``settings.api_keys_file`` cannot be used.
    """
    app = Flask("services.predict", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    store = store or Store(settings.state_dir)
    models = Models(store, loader(store, settings))

    problem.init_app(app)
    access.init_app(app, access.Keys(Path(settings.api_keys_file)) if settings.api_keys_file else None)
    bodies = Bodies(settings.max_body_bytes, settings.body_seconds)
    outcomes.init_app(app, outcomes.Outcomes(settings, bodies))
    predictions.init_app(app, Predictor(models, bodies, settings.max_rows, settings.max_csv_rows))
    app.register_blueprint(oip.blueprint)
    app.register_blueprint(mlflow.blueprint)
    openapi.init_app(app, settings)
    docs.init_app(app)
    health.init_app(app, health.Health(store, models, Standing(settings)))
    pages.init_app(app)
    tryit.init_app(app)
    book.init_app(app)
    modelcard.init_app(app, Trust.of(settings, store))
    monitorpage.init_app(app)
    app.extensions["store"] = store
    app.extensions["models"] = models
    app.extensions["papers"] = Cabinet(store)
    watch.init_app(app, settings)
    app.extensions["observer"] = observer = metrics.init_app(app)
    app.extensions["predictor"].scored = observer.scored
    app.extensions["predictor"].warned = metrics.warned
    app.extensions["recorder"] = app.extensions["predictor"].record = Recorder(settings, metrics.unlogged.inc)
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
