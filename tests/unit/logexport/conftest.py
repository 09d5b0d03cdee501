"""Databases of both kinds."""

from tests.unit.services.predictionlog.conftest import server, url

__all__ = ["server", "url"]
