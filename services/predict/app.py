"""The prediction API's application factory."""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask, g, request

from modelbundle import bundle, golden
from modelbundle.model import Model
from services import problem
from services.predict import health, metrics, predictions
from services.predict.edge import Edge
from services.predict.models import Models
from services.predict.settings import Settings
from services.predict.store import Store


def create_app(settings: Settings, store: Store | None = None) -> Flask:
    """An application that answers from ``settings.state_dir``. It follows nothing by itself: see :mod:`replica`."""
    app = Flask("services.predict")
    app.json.sort_keys = False  # type: ignore[attr-defined]
    store = store or Store(settings.state_dir)
    models = Models(store, loader(store, settings))
    problem.init_app(app)
    predictions.init_app(app, settings, models)
    health.init_app(app, health.Health(store, models))
    app.extensions["store"] = store
    app.extensions["models"] = models
    observer = metrics.init_app(app)
    app.extensions["predictor"].scored = observer.scored
    app.extensions["edge"] = app.wsgi_app = Edge(app.wsgi_app, observer)  # type: ignore[method-assign]

    @app.before_request
    def name_the_request() -> None:
        g.request_id = request.environ.get("request.id")

    return app


def loader(store: Store, settings: Settings) -> Callable[[str], Model]:
    """A function that loads a model of the store by its SHA-256, verifies it again and checks its golden rows."""

    def load(sha256: str) -> Model:
        model = bundle.read(store.bundle(sha256), sha256, allow_pickle=settings.allow_pickle)
        golden.check(model)
        return model

    return load
