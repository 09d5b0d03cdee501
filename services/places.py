"""Where the services' data is, by the environment: for settings, and for commands that have none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def data_dir(environment: Mapping[str, str] = os.environ) -> Path:
    """The directory of durable data."""
    return Path(environment.get("DATA_DIR") or "run/data")


def default_url(data: Path) -> str:
    """Where the prediction log goes if nothing is set."""
    return f"sqlite:///{(data / 'predictions.sqlite').absolute()}"


def log_url(environment: Mapping[str, str] = os.environ) -> str:
    """The prediction log's database, as an SQLAlchemy URL, or ``none``."""
    return environment.get("PREDICTION_LOG_URL") or default_url(data_dir(environment))


def replica_bundles(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Where a replica keeps bundles."""
    state = Path(environment.get("STATE_DIR") or "run/state")
    return [state / "bundles", state / "share" / "bundles"]


def bundle_directories(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Where bundles are kept: those that are published, and the replica's own."""
    return [Path("models"), *replica_bundles(environment)]
