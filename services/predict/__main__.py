"""``python -m services.predict``: the prediction API under gunicorn, configured by the environment."""

import os
import sys
import tempfile
from pathlib import Path

from modelbundle import statement
from modelbundle.errors import StatementError
from services import jsonlog
from services.predict import access
from services.predict.settings import SETTINGS, Settings, SettingsError


def main() -> None:
    """Check the settings, then become gunicorn; ``--help`` lists them."""
    if len(sys.argv) > 1:
        for setting in SETTINGS:
            print(f"{setting.name:<20} {setting.default:<22} {setting.help}")
        sys.exit(0 if sys.argv[1] in ("-h", "--help") else 2)
    try:
        settings = Settings.from_environment()
        keys = [name for name, _ in access.read(Path(settings.api_keys_file))] if settings.api_keys_file else None
        if settings.model_public_key_file:
            statement.read_public(Path(settings.model_public_key_file))
    except (SettingsError, StatementError, access.KeysError, OSError) as error:
        sys.exit(f"prediction API: {error}")
    if keys is None:
        open_to_all = "no API_KEYS_FILE is set: whoever reaches this address may ask for predictions"
        jsonlog.emit("access", "warning", keys=None, detail=open_to_all)
    else:
        jsonlog.emit("access", "info", keys=keys)
    # Before anything imports its client:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="peerloan-metrics-")
    # glibc: threads share freed memory instead of each keeping its own, and large blocks go back to the system.
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(1 << 20))
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        "python:services.predict.gunicorn_conf",
        "services.predict.wsgi:app",
    ]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    main()
