"""The processes beside the workers of a replica, as copies of gunicorn's master: the shipper and the monitor.

See :mod:`services.supervisor`. Should one die, a worker starts another, as a program of its own.
"""

from __future__ import annotations

import importlib
import sys

from services.monitoring import process
from services.predict.serving.prediction_log import NONE
from services.predict.settings import Settings
from services.predictionlog import shipper
from services.supervisor import Keeper


def keepers(settings: Settings) -> list[Keeper]:
    """What starts them, once all that they need is imported here, to be shared. Ends the process where that cannot be."""
    from sqlalchemy.exc import ArgumentError

    from services.predictionlog import database

    try:
        database.connect(settings.prediction_log_url)  # imports the driver, and connects to nothing
    except (ArgumentError, ImportError) as error:
        sys.exit(
            f"prediction API: PREDICTION_LOG_URL cannot be used ({type(error).__name__})"
        )  # it may hold a password
    importlib.import_module("services.monitoring.monitor")
    watching = monitor_keeper(settings)
    kept = [shipper.keeper(settings.data_dir / "spool", settings.prediction_log_url)]
    return [*kept, watching] if watching else kept


def monitor_keeper(settings: Settings) -> Keeper | None:
    """What keeps the monitor alive; None where nothing is logged."""
    if settings.prediction_log_url == NONE:
        return None
    return process.keeper(
        settings.data_dir,
        settings.state_dir,
        settings.prediction_log_url,
        settings.monitor_seconds,
        settings.monitor_days,
    )
