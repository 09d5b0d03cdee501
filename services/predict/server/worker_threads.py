"""One worker process of a replica: its threads, and when it may take requests."""

from __future__ import annotations

import contextlib

from services.predict.app import Application
from services.predict.rollout.leader import LeaderThread as Leader
from services.predict.rollout.worker import Worker, wait_until
from services.predict.server.companions import monitor_keeper
from services.predict.serving.loaded_models import NoModel
from services.predict.settings import Settings

BOOT_SECONDS = (
    2.0  # how long a worker holds back requests for the model service's word; then it answers 503 until it came
)


class Replica:
    """The follower's threads of one process. Made after the fork."""

    def __init__(self, application: Application, settings: Settings) -> None:
        self.store = application.store
        self.models = application.models
        self.worker = Worker(self.store, self.models, settings.prepare_seconds)
        self.prediction_log = application.prediction_log
        self.observer = application.observer
        self.leader = Leader(self.store, settings, write=self.prediction_log.note)
        self.challenger = application.challenger.keeper(self.store)
        self.monitor = monitor_keeper(settings)

    def start(self) -> None:
        """Start following."""
        self.prediction_log.open()
        self.observer.start()
        self.worker.start()
        self.leader.start()
        if self.challenger:
            self.challenger.start()
        if self.monitor:
            self.monitor.start()

    def wait(self, seconds: float = BOOT_SECONDS) -> bool:
        """Wait until the model service was asked and the current model is loaded; False if that takes longer."""
        return wait_until(self._ready, seconds)

    def _ready(self) -> bool:
        if not self.store.settled():
            return False
        with contextlib.suppress(NoModel):
            self.models.resolve()
        return True

    def stop(self) -> None:
        """Stop following, for an orderly end."""
        if self.challenger:
            self.challenger.stop()
        if self.monitor:
            self.monitor.stop()
        self.leader.stop()
        self.worker.stop()
        self.prediction_log.close()
        self.observer.stop()
