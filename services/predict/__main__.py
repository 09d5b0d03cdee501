"""``python -m services.predict``: the prediction API under gunicorn, configured by the environment."""

import os
import sys
import tempfile

from services.predict.settings import SETTINGS, Settings, SettingsError


def main() -> None:
    """Check the settings, then become gunicorn; ``--help`` lists them."""
    if len(sys.argv) > 1:
        for setting in SETTINGS:
            print(f"{setting.name:<20} {setting.default:<22} {setting.help}")
        sys.exit(0 if sys.argv[1] in ("-h", "--help") else 2)
    try:
        Settings.from_environment()
    except SettingsError as error:
        sys.exit(f"prediction API: {error}")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(
        prefix="peerloan-metrics-"
    )  # before anything imports its client
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
