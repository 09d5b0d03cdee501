"""``python -m services.model``: validate the pin, then serve the pinned bytes from exactly one process.

A mismatch ends the start, saying which hash was expected and which was found. When the serving process dies, the service ends
with it: whoever restarts it has the pin validated anew.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import ThreadWorker

from services.model import pin as pins
from services.model.app import create_app
from services.model.pinned_model import PinnedModels
from services.model.storage import open_storage
from services.web import json_logging
from services.web.malformed_requests import ProblemErrors

MAX_BYTES = 512 * 1024 * 1024


class ModelWorker(ProblemErrors, ThreadWorker):  # type: ignore[misc]
    """gunicorn's threads."""


class ModelService(BaseApplication):  # type: ignore[misc]
    """gunicorn around the pinned models."""

    def __init__(self, models: PinnedModels, address: str) -> None:
        self.models = models
        self.options = {
            "bind": address,
            "workers": 1,
            "threads": 16,
            "worker_class": ModelWorker,
            "preload_app": True,
            "keepalive": 75,
            "timeout": 60,
            "accesslog": None,
            "control_socket_disable": True,
            "forwarded_allow_ips": "*",  # and no header of a request may change its path or its scheme
            "forwarder_headers": "",
            "secure_scheme_headers": {},
            "logconfig_dict": json_logging.LOGGING,
            "post_worker_init": lambda _: models.watch(),
            "child_exit": self._end,
        }
        super().__init__()

    @staticmethod
    def _end(server: Any, _: Any) -> None:
        os.kill(server.pid, signal.SIGTERM)

    def load_config(self) -> None:
        """gunicorn asks for it."""
        for name, value in self.options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """gunicorn asks for it."""
        return create_app(self.models)


def main() -> None:
    """Validate, then serve."""
    address = f"{os.environ.get('HOST') or '127.0.0.1'}:{os.environ.get('PORT') or '8000'}"
    max_bytes = int(os.environ.get("MAX_BUNDLE_BYTES") or MAX_BYTES)
    try:
        wanted, pin_file = pins.from_environment(os.environ)
        models = PinnedModels(open_storage(os.environ.get("MODEL_DIR") or "models"), wanted, pin_file, max_bytes)
    except pins.PinError as error:
        sys.exit(f"model service: {error}")
    pin = wanted.champion
    json_logging.emit(
        "model pinned", file=pin.file, sha256=pin.sha256, bytes=len(models.served.content), address=address
    )
    ModelService(models, address).run()


if __name__ == "__main__":
    json_logging.log_uncaught()
    main()
