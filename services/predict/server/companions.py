"""The processes beside the workers of a replica, as copies of gunicorn's master: the shipper and the monitor.

See :mod:`services.supervisor`. Should one die, a worker starts another, as a program of its own.
"""

from __future__ import annotations

import importlib
import sys

from sqlalchemy.exc import ArgumentError

from services.predict.pages import monitor
from services.predict.settings import Settings
from services.predictionlog import database, shipper
from services.supervisor import Keeper


def keepers(settings: Settings) -> list[Keeper]:
    """What starts them, once all that they need is imported here, to be shared. Ends the process where that cannot be."""
    try:
        database.connect(settings.prediction_log_url)  # imports the driver, and connects to nothing
    except (ArgumentError, ImportError) as error:
        sys.exit(
            f"prediction API: PREDICTION_LOG_URL cannot be used ({type(error).__name__})"
        )  # it may hold a password
    importlib.import_module("services.monitoring.monitor")
    watching = monitor.keeper(settings)
    kept = [shipper.keeper(settings.data_dir / "spool", settings.prediction_log_url)]
    return [*kept, watching] if watching else kept
