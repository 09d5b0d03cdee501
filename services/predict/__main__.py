"""``python -m services.predict``: the prediction API under gunicorn, configured by the environment."""

import os
import sys
from pathlib import Path

from modelbundle.errors import StatementError
from services import private
from services.predict.settings import SETTINGS, Settings
from services.web import json_logging, process_metrics

# What earlier versions made in these directories for every user to read:
STATE = ("bundles", "workers", "entering", "probation", "evidence", "share", "*.json", "*.lock", "settled")
DATA = ("spool", "challenger", "monitoring", "predictions.sqlite*", "monitor.json", "*statement.json")


def check(settings: Settings) -> list[str] | None:
    """Read the files and addresses in the settings, before anything starts.

    Returns the names of the keys that may ask, or None where everyone may.

    Their readers are imported only where the settings are set: this process becomes gunicorn, which imports them again.
    """
    names = None
    if settings.sentry_dsn or settings.otel_exporter_otlp_endpoint:
        from services.web import telemetry

        telemetry.check(
            SENTRY_DSN=settings.sentry_dsn, OTEL_EXPORTER_OTLP_ENDPOINT=settings.otel_exporter_otlp_endpoint
        )
    if settings.api_keys_file:
        from services.predict.api import api_keys

        names = [key.name for key in api_keys.read(Path(settings.api_keys_file))]
    if settings.model_public_key_file:
        from modelbundle.format import statement

        statement.read_public(Path(settings.model_public_key_file))
    return names


def main() -> None:
    """Check the settings, then become gunicorn; ``--help`` lists them."""
    if len(sys.argv) > 1:
        for setting in SETTINGS:
            print(f"{setting.name:<20} {setting.default:<22} {setting.help}")
        sys.exit(0 if sys.argv[1] in ("-h", "--help") else 2)
    try:
        settings = Settings.from_environment()
        keys = check(settings)
    except (ValueError, StatementError, OSError) as error:
        sys.exit(f"prediction API: {error}")
    if keys is None:
        open_to_all = "no API_KEYS_FILE is set: whoever reaches this address may ask for predictions"
        json_logging.emit("access", "warning", keys=None, detail=open_to_all)
    else:
        json_logging.emit("access", "info", keys=keys)
    private.begin()
    private.tighten(settings.state_dir, STATE)
    private.tighten(settings.data_dir, DATA)
    process_metrics.begin()
    # glibc: threads share freed memory instead of each keeping its own, and large blocks go back to the system.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(1 << 20))
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "python:services.predict.server.gunicorn_conf",
        "services.predict.wsgi:app",
    ]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    main()
