"""Shows a model on every page before anybody asks for one: a bundle with which a page fails is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from modelbundle.errors import BundleError
from modelbundle.format import bundle
from modelbundle.model import Model
from services.monitoring import preview, process
from services.monitoring.summary import FILE
from services.predict.app import Application, create_app
from services.predict.pages import example_cases, form
from services.predict.pages.bundle_documents import BundleDocuments
from services.predict.pages.try_it import FORM
from services.predict.rollout.protocol import Candidate
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import NO_LOG, Settings

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

PAGES = (
    *("/batch", "/batch/model.json", "/batch/template.csv", "/model-card", "/model-card/curves.json", "/model"),
    *("/openapi.json", "/docs", "/monitor", "/monitor.json", "/metrics", "/readyz", "/v2"),
    *("/model-card/card.md", "/model-card/card.html"),  # 404 where a bundle has none
)
EXAMPLES = ("typical", "low", "high")
MOST_CHARTS = 40  # features whose what-if chart is drawn


class PageFailed(BundleError):
    """A page fails with the model; the message names it."""


def check(model: Model, path: Path, folder: Path) -> None:
    """Render all pages about ``model``, whose file is at ``path``. ``folder`` is empty, and takes a replica's state.

    Raises :class:`PageFailed` for the first that answers 500, and :class:`BundleError` where the monitor cannot use it.
    """
    served = application(model, path, folder)
    errors: list[BaseException | None] = []
    served.export = lambda environ, *_: errors.append(environ.get("request.error"))
    for page, answer in show(model, served):
        if answer.status_code >= 500:
            kind = f" ({type(errors[-1]).__name__})" if errors and errors[-1] else ""
            raise PageFailed(f"{page} answers {answer.status_code} with it{kind}")


def application(model: Model, path: Path, folder: Path) -> Application:
    """A prediction API in which ``model`` is current, and has been monitored."""
    data = folder / "data"
    data.mkdir(mode=0o700)
    environment = {"STATE_DIR": str(folder / "state"), "DATA_DIR": str(data), "PREDICTION_LOG_URL": NO_LOG}
    settings = Settings.from_environment(environment)
    store = StateDir(settings.state_dir)
    os.symlink(path.absolute(), store.bundle(model.version))
    store.commit(Candidate("rehearsal", model.version, 0))
    store.settle()
    written = process.empty(settings.monitor_seconds, settings.monitor_days)
    if bundle.REFERENCE in model.manifest.data.get("files", {}):
        written["models"] = [preview.of(path, model)]
    (data / FILE).write_text(json.dumps(written), "utf-8")
    return create_app(settings, store, lambda _: model)


def show(model: Model, served: Application, most_charts: int = MOST_CHARTS) -> Iterator[tuple[str, TestResponse]]:
    """The pages and their answers, one after the other, the last with the what-if charts of the first features."""
    client = served.flask.test_client()
    for page in (*PAGES, f"/v2/models/{model.manifest.name}", *(f"/?example={name}" for name in EXAMPLES)):
        yield page, client.get(page)
    typical = example_cases.make(model, BundleDocuments(served.store).of(model).reference)[0]
    typed = form.typed(model, typical.row)
    for name in model.schema.names[:most_charts]:
        yield "/", client.post("/", data=urlencode({**typed, "curve": name}), content_type=FORM)
