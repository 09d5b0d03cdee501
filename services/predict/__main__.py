"""``python -m services.predict``: the prediction API under gunicorn, configured by the environment."""

import os
import sys

from services.predict.settings import Settings, SettingsError


def main() -> None:
    """Check the settings, then become gunicorn."""
    try:
        Settings.from_environment()
    except SettingsError as error:
        sys.exit(f"prediction API: {error}")
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
