"""The processes that run next to the workers of a replica: the shipper, the monitor and the challenger.

:mod:`services.supervisor` keeps each of them alive. The first shipper and the first monitor are copies of gunicorn's master. When
one of them dies, a worker starts another as a program of its own.
"""

from __future__ import annotations

import importlib
import os
import sys

from services.monitoring import process
from services.predict.challenger.status import ChallengerStatus
from services.predict.rollout.state_dir import StateDir
from services.predict.settings import NO_LOG, Settings
from services.predictionlog.shipper import LOCK
from services.supervisor import Supervisor


def shipper(settings: Settings) -> Supervisor:
    """Empties the spool into the database."""
    spool = settings.data_dir / "spool"
    # The URL may hold a password: other users can read a command line, but not the environment.
    environment = {"PREDICTION_LOG_URL": settings.prediction_log_url}
    return Supervisor(spool / LOCK, "services.predictionlog.shipper", [str(spool)], environment)


def monitor(settings: Settings) -> Supervisor:
    """Writes down the replica's counters, and ``monitor.json``."""
    environment = {
        "DATA_DIR": str(settings.data_dir),
        "STATE_DIR": str(settings.state_dir),
        "PREDICTION_LOG_URL": settings.prediction_log_url,
        "MONITOR_SECONDS": str(settings.monitor_seconds),
        "MONITOR_DAYS": str(settings.monitor_days),
    }
    lock = process.own_lock(settings.data_dir, os.environ)
    return Supervisor(lock, "services.monitoring.process", environment=environment)


def challenger(status: ChallengerStatus, store: StateDir) -> Supervisor:
    """Scores silently while the leader's status in ``store`` names a challenger."""
    module = "services.predict.challenger.process"
    return Supervisor(status.lock, module, wanted=lambda: status.calls(store.status().get("challenger")))


def supervisors(settings: Settings, status: ChallengerStatus, store: StateDir) -> list[Supervisor]:
    """Return the supervisors of one worker; none when nothing is logged."""
    if settings.prediction_log_url == NO_LOG:
        return []
    return [shipper(settings), monitor(settings), challenger(status, store)]


def preload(settings: Settings) -> list[Supervisor]:
    """Import what the shipper and the monitor need, so that copies share it; returns what forks them.

    Ends the process when ``PREDICTION_LOG_URL`` cannot be used.
    """
    from sqlalchemy.exc import ArgumentError

    from services.predictionlog import database

    try:
        database.connect(settings.prediction_log_url)  # imports the driver, and connects to nothing
    except (ArgumentError, ImportError) as error:  # the text of the error may hold a password
        sys.exit(f"prediction API: PREDICTION_LOG_URL cannot be used ({type(error).__name__})")
    importlib.import_module("services.monitoring.monitor")
    return [shipper(settings), monitor(settings)]
