"""gunicorn's own messages as JSON lines. Its access log is not used: the applications log their requests."""

from __future__ import annotations

import logging
from typing import Any

from services.web import json_logging


class Logger:
    """What gunicorn expects of a ``logger_class``."""

    def __init__(self, cfg: Any) -> None:
        del cfg
        self.error_log = logging.getLogger("gunicorn.error")
        self.access_log = logging.getLogger("gunicorn.access")
        json_logging.configure()
        self.error_log.setLevel(logging.WARNING)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.error_log, name)

    def access(self, *_: Any) -> None:
        """Not here."""

    def reopen_files(self) -> None:
        """There are none."""

    def close_on_exec(self) -> None:
        """Nothing is open."""
