"""The background threads of one worker process, and when the worker may take requests."""

from __future__ import annotations

import contextlib

from services.predict.app import Application
from services.predict.rollout.leader import LeaderThread
from services.predict.rollout.worker import Worker, wait_until
from services.predict.server import companions
from services.predict.serving.loaded_models import NoModel
from services.predict.settings import Settings

BOOT_SECONDS = 2.0  # a worker waits so long for the model service before it takes requests; then it answers 503


class WorkerThreads:
    """The threads that follow the model service and keep the companions alive. Made after the fork."""

    def __init__(self, application: Application, settings: Settings) -> None:
        self.store = application.store
        self.models = application.models
        self.worker = Worker(self.store, self.models, reports=True)
        self.share_worker = Worker(application.share, application.sharing)
        self.prediction_log = application.prediction_log
        self.observer = application.observer
        self.leader = LeaderThread(self.store, settings, write=self.prediction_log.note)
        self.share_leader = LeaderThread(
            application.share, settings, write=self.prediction_log.note, champion=self.store
        )
        self.supervisors = companions.supervisors(settings, application.challenger, self.store)

    def start(self) -> None:
        """Start all threads."""
        self.prediction_log.open()
        self.observer.start()
        self.worker.start()
        self.leader.start()
        self.share_worker.start()
        self.share_leader.start()
        for supervisor in self.supervisors:
            supervisor.start()

    def wait(self, seconds: float = BOOT_SECONDS) -> bool:
        """Wait until the model service was asked and the current model is loaded; returns False after ``seconds``."""
        return wait_until(self._ready, seconds)

    def _ready(self) -> bool:
        if not self.store.settled():
            return False
        with contextlib.suppress(NoModel):
            self.models.resolve()
        return True

    def stop(self) -> None:
        """Stop all threads. The shipper ends after the prediction log is closed, so it ships all of it."""
        for thread in (self.share_leader, self.leader, self.share_worker, self.worker):
            thread.stop()
        self.prediction_log.close()
        for supervisor in self.supervisors:
            supervisor.stop()
        self.observer.stop()
