"""Errors to Sentry and traces to an OTLP collector, through their own SDKs, where somebody configured them; otherwise nothing.

What leaves the process holds no value of a person: no body, no query, no local variable, no text of an exception (it may repeat
a value), no address that is not one of our own routes. What it holds, the request id above all, leads to the line in the log.
The SDKs are in the environment, and in the images, only where they were asked for: ``env-setup/telemetry.txt``, ``TELEMETRY=1``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from wsgiref.types import WSGIEnvironment

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

FLUSH_SECONDS = 2.0
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})  # asked again and again
NEEDS = {"SENTRY_DSN": "sentry_sdk", "OTEL_EXPORTER_OTLP_ENDPOINT": "opentelemetry.exporter.otlp.proto.http"}
FACTS = ("model_version", "generation", "rows")


class NotInstalled(ValueError):
    """Telemetry is configured, and its SDK is not here; the message names the remedy."""


def check(**configured: str) -> None:
    """Raise :class:`NotInstalled` where a setting, by its name, has a value and no SDK, and ValueError for what is no address."""
    for name, value in configured.items():
        if value and not value.startswith(("http://", "https://")):
            raise ValueError(f"{name} must start with http:// or https://")
        if value and not _installed(NEEDS[name]):
            raise NotInstalled(
                f"{name} is set, and its SDK is not installed: build the images with TELEMETRY=1, or"
                " `pip install --no-deps --require-hashes -r env-setup/telemetry.txt`"
            )


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


class Telemetry:
    """Exports what :class:`services.web.middleware.Middleware` says of each request. Made after the fork: SDKs have threads."""

    def __init__(self, service: str, routes: Iterable[str], sentry_dsn: str, otlp_endpoint: str) -> None:
        self.service = service
        self.routes = frozenset(routes)
        self.sentry: Any = None
        self.provider: TracerProvider | None = None
        if sentry_dsn:
            self._start_sentry(sentry_dsn)
        if otlp_endpoint:
            self._start_traces(otlp_endpoint)

    def _start_sentry(self, dsn: str) -> None:
        import sentry_sdk

        self.sentry = sentry_sdk
        sentry_sdk.init(
            dsn,
            default_integrations=False,
            auto_enabling_integrations=False,
            include_local_variables=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            auto_session_tracking=False,
            before_send=_stripped,  # type: ignore[arg-type]  # its own types are not public
            shutdown_timeout=FLUSH_SECONDS,
        )

    def _start_traces(self, endpoint: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self.provider = TracerProvider(resource=Resource.create({"service.name": self.service}))
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
        self.provider.add_span_processor(BatchSpanProcessor(exporter))

    def __call__(self, environ: WSGIEnvironment, status: int, seconds: float) -> None:
        """One finished request. Hands over and returns: sending is a thread's of the SDK."""
        path = environ.get("PATH_INFO", "")
        route = path if path in self.routes else "other"
        error = environ.get("request.error")
        if self.sentry is not None and error is not None:
            with self.sentry.new_scope() as scope:
                scope.set_tag("request_id", environ["request.id"])
                scope.set_tag("route", route)
                for name, value in self._facts(environ).items():
                    scope.set_tag(name, value)
                self.sentry.capture_exception(error)
        if self.provider is not None and route not in QUIET:
            self._trace(environ, route, status, seconds, error)

    def _facts(self, environ: WSGIEnvironment) -> dict[str, Any]:
        facts = environ.get("request.facts", {})
        return {name: facts[name] for name in FACTS if name in facts}

    def _trace(
        self, environ: WSGIEnvironment, route: str, status: int, seconds: float, error: Exception | None
    ) -> None:
        """One server span, which continues the caller's trace. It is made when it is over: nothing of it is on the way."""
        from opentelemetry.trace import SpanKind, Status, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        assert self.provider is not None
        given = {"traceparent": environ.get("HTTP_TRACEPARENT", ""), "tracestate": environ.get("HTTP_TRACESTATE", "")}
        end = time.time_ns()
        method = environ["REQUEST_METHOD"]
        attributes: dict[str, Any] = {
            "http.request.method": method if method in ("GET", "POST", "HEAD") else "_OTHER",
            "http.route": route,
            "http.response.status_code": status,
            "peerloan.request_id": environ["request.id"],
            **{f"peerloan.{name}": value for name, value in self._facts(environ).items()},
        }
        if error is not None:
            attributes["error.type"] = type(error).__name__
        span = self.provider.get_tracer(self.service).start_span(
            f"{attributes['http.request.method']} {route}",
            TraceContextTextMapPropagator().extract(given),
            SpanKind.SERVER,
            attributes,
            start_time=end - int(seconds * 1e9),
        )
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(end)

    def stop(self) -> None:
        """Send what waits, for a bounded time."""
        if self.sentry is not None:
            self.sentry.flush(FLUSH_SECONDS)
        if self.provider is not None:
            self.provider.force_flush(int(FLUSH_SECONDS * 1000))
            self.provider.shutdown()


def _stripped(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """The event without what may hold a value: of an exception its type and where, not its text."""
    for name in ("request", "extra", "breadcrumbs", "logentry", "message", "user"):
        event.pop(name, None)
    for exception in event.get("exception", {}).get("values", ()):
        exception["value"] = ""
        exception.pop("mechanism", None)
        for frame in exception.get("stacktrace", {}).get("frames", ()):
            frame.pop("vars", None)
    return event
