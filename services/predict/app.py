"""The prediction API's application factory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from flask import Flask

from modelbundle import golden
from modelbundle.format import bundle
from modelbundle.format.statement import CHALLENGER, CHAMPION
from modelbundle.model import Model
from modelbundle.sharing.tables import SharedTables
from services.monitoring import process
from services.monitoring.summary import SummaryFile
from services.predict.api import api_keys, health, outcomes, predict
from services.predict.api.request_body import BodyReader
from services.predict.challenger import status as challenger_status
from services.predict.challenger.status import ChallengerStatus
from services.predict.lookup import deployment_views
from services.predict.lookup import views as lookup
from services.predict.lookup.kept_models import KeptModels
from services.predict.lookup.log import Log
from services.predict.metrics import counters, exporter
from services.predict.metrics.gauges import MonitorGauges, ReplicaGauges
from services.predict.metrics.observer import Observer, warned
from services.predict.openapi import description, swagger_ui
from services.predict.pages import batch, model_card, monitor, rendering, try_it
from services.predict.pages.bundle_documents import BundleDocuments
from services.predict.pages.example_cases import Examples
from services.predict.protocols import mlflow, oip
from services.predict.rollout.signature_policy import SignaturePolicy
from services.predict.rollout.state_dir import SHARE, StateDir
from services.predict.serving.loaded_models import Models, NoModel
from services.predict.serving.memory_budget import TIMES_BODY, MemoryBudget
from services.predict.serving.prediction_log import PredictionLog
from services.predict.serving.predictor import Predictor
from services.predict.serving.shares import Shares
from services.predict.settings import Settings
from services.web import json_logging, problem
from services.web.hosts import AllowedHosts, loopback
from services.web.middleware import Middleware


class Application(Middleware):
    """The WSGI application: Flask's behind the middleware, with the parts that the server's hooks use."""

    def __init__(
        self,
        flask: Flask,
        store: StateDir,
        models: Models,
        share: tuple[StateDir, Models],
        challenger: ChallengerStatus,
        prediction_log: PredictionLog,
        observer: Observer,
        hosts: AllowedHosts | None,
    ) -> None:
        super().__init__(flask.wsgi_app, observer.finished.append, hosts=hosts)
        self.flask = flask
        self.store = store
        self.models = models
        self.share, self.sharing = share  # the slot of the challenger that answers a share
        self.challenger = challenger
        self.prediction_log = prediction_log
        self.observer = observer


def create_app(
    settings: Settings, store: StateDir | None = None, load: Callable[[str], Model] | None = None
) -> Application:
    """An application that answers from ``settings.state_dir``. The server's workers keep that up to date.

    ``load`` gives a model by its SHA-256, by default from the store: see :func:`loader`.

    Raises :class:`services.predict.api.api_keys.KeysError` or :class:`OSError` where ``settings.api_keys_file`` cannot be used.
    """
    flask = Flask("services.predict", static_folder=None, template_folder="pages/templates")
    flask.json.sort_keys = False  # type: ignore[attr-defined]
    store = store or StateDir(settings.state_dir)
    keys = api_keys.Keys(Path(settings.api_keys_file)) if settings.api_keys_file else None

    models = Models(store, load or loader(store, settings))
    observer = Observer(flask.url_map)
    log = PredictionLog(settings, counters.unlogged.inc)
    share = StateDir(store.root / SHARE)
    sharing = Models(share, loader(share, settings, CHALLENGER), lambda _: _champion(models))
    budget = MemoryBudget(TIMES_BODY * settings.max_body_bytes)
    predictor = Predictor(models, log, settings.max_rows, observer.bands.extend, warned, budget, Shares(sharing))
    bodies = BodyReader(settings.max_body_bytes, settings.body_seconds, budget)
    challenger = ChallengerStatus(settings, share)
    summary = SummaryFile(settings.data_dir, process.empty(settings.monitor_seconds, settings.monitor_days))
    state = health.Health(store, models, challenger, summary, log)
    report = monitor.MonitorReport(settings, state, summary)
    documents = BundleDocuments(store)
    examples = Examples(documents)
    open_here = keys is None and loopback(settings.host)
    kept = KeptModels([(store, models), (share, sharing)], [challenger_status.place(settings) / "bundles"])
    reader, trust = Log(settings, log), SignaturePolicy.of(settings, store)
    look_up = lookup.Lookup(reader, kept, models, keys, open_here)
    deployments = deployment_views.Deployments(reader, kept, models, store, trust, look_up.admit)
    gauges = ReplicaGauges(store, state.report, log.root, log.max_bytes), MonitorGauges(report.now)

    page = partial(lookup.nothing, models) if keys else lambda: None
    problem.init_app(flask, {"/v2": "error", "/invocations": "message"}, page)
    api_keys.init_app(flask, keys, apart=frozenset({try_it.SUBMIT}), roles=outcomes.ROLES)
    rendering.init_app(flask, keyed=keys is not None, looked_up=open_here)
    for views in (
        predict.blueprint(predictor, bodies, settings.max_csv_rows),
        outcomes.blueprint(outcomes.OutcomeRecorder(settings, bodies), models),
        oip.blueprint(predictor, bodies),
        mlflow.blueprint(predictor, bodies),
        health.blueprint(state),
        exporter.blueprint(observer, *gauges),
        description.blueprint(models, description.Description(settings.max_rows, settings.max_csv_rows, bool(keys))),
        swagger_ui.blueprint(),
        rendering.blueprint(),
        try_it.blueprint(models, bodies, documents, examples, keys),
        batch.blueprint(models, examples, settings.max_csv_rows, settings.max_body_bytes),
        model_card.blueprint(models, documents, store, trust),
        monitor.blueprint(report, models, keys),
        lookup.blueprint(look_up),
        deployment_views.blueprint(deployments),
    ):
        flask.register_blueprint(views)
    application = Application(flask, store, models, (share, sharing), challenger, log, observer, settings.hosts())
    flask.wsgi_app = application  # type: ignore[method-assign]
    return application


def _champion(models: Models) -> Model | None:
    try:
        return models.current().model
    except NoModel:
        return None


def loader(store: StateDir, settings: Settings, role: str = CHAMPION) -> Callable[[str], Model]:
    """A function that loads a model of the store by its SHA-256, verifies it and its statement again and checks its golden
    rows. Its large tables are in memory that all workers of the host share."""
    trust = SignaturePolicy.of(settings, store, role)

    def load(sha256: str) -> Model:
        if trust:
            trust.check(sha256)
        tables = SharedTables(store.tables(sha256), store.disk, partial(_not_shared, sha256))
        model = bundle.share(store.bundle(sha256), sha256, tables, allow_pickle=settings.allow_pickle)
        golden.check(model)
        return model

    return load


def _not_shared(sha256: str, reason: str) -> None:
    json_logging.emit("tables not shared", "warning", model_version=sha256, reason=reason)
