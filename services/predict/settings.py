"""The prediction API's settings, read from the environment once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable: its name, what it is when it is not set, and what it is for."""

    name: str
    default: str
    help: str


SETTINGS = (
    Setting("MODEL_SERVER_URL", "http://127.0.0.1:8000", "where the model service is"),
    Setting("STATE_DIR", "run/state", "the replica's own state; disposable, rebuilt from the model service"),
    Setting("DATA_DIR", "run/data", "durable data: the prediction log"),
    Setting(
        "PREDICTION_LOG_URL", "", "SQLAlchemy's URL of the log's database (SQLite in DATA_DIR); `none` logs nothing"
    ),
    Setting("MAX_SPOOL_BYTES", "1073741824", "what waits for the database; beyond it predictions are not logged"),
    Setting("HOST", "127.0.0.1", "the address to listen on"),
    Setting("PORT", "5000", "the port to listen on"),
    Setting("WORKERS", "2", "gunicorn worker processes"),
    Setting("THREADS", "4", "threads per worker"),
    Setting("MAX_IN_FLIGHT", "64", "predictions at work or waiting per worker; beyond it 503"),
    Setting("MAX_ROWS", "10000", "rows in one request"),
    Setting("MAX_BODY_BYTES", "16777216", "bytes in one request's body"),
    Setting("MAX_CSV_ROWS", "100000", "rows in one request as CSV"),
    Setting("API_KEYS_FILE", "", "names and hashes of the keys that may ask; without it everyone may"),
    Setting(
        "MODEL_PUBLIC_KEY_FILE", "", "public keys in PEM; with it, only models that one of them signed are accepted"
    ),
    Setting("BODY_SECONDS", "10", "how long a request's body may take to arrive"),
    Setting("POLL_SECONDS", "1", "how often the model service is asked"),
    Setting("FETCH_SECONDS", "60", "how long a download may take in all"),
    Setting("MAX_BUNDLE_BYTES", "536870912", "the largest model file that is accepted"),
    Setting("REHEARSAL_SECONDS", "60", "how long a model may take to load and reproduce its golden rows"),
    Setting("REHEARSAL_MEMORY_MB", "4096", "address space that a model may take in rehearsal"),
    Setting("PREPARE_SECONDS", "30", "how long the workers of a replica may take to prepare a model"),
    Setting("SENTRY_DSN", "", "where errors go, by Sentry's SDK; without it nowhere"),
    Setting("OTEL_EXPORTER_OTLP_ENDPOINT", "", "the collector that traces go to, as http://collector:4318"),
    Setting("ALLOW_PICKLE", "1", "0 refuses models that must be unpickled"),
    Setting("MONITOR_SECONDS", "60", "how often the log is compared with training, in a process of its own"),
    Setting("MONITOR_DAYS", "7", "how many days of the log are compared"),
)


def default_url(data: Path) -> str:
    """Where the prediction log goes if nothing is set."""
    return f"sqlite:///{(data / 'predictions.sqlite').absolute()}"


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it and says what it must be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings by name, converted: times in seconds, sizes in bytes."""

    model_server_url: str
    state_dir: Path
    data_dir: Path
    prediction_log_url: str
    max_spool_bytes: int
    host: str
    port: int
    workers: int
    threads: int
    max_in_flight: int
    max_rows: int
    max_csv_rows: int
    api_keys_file: str
    model_public_key_file: str
    max_body_bytes: int
    body_seconds: float
    poll_seconds: float
    fetch_seconds: float
    max_bundle_bytes: int
    rehearsal_seconds: float
    rehearsal_memory_mb: int
    prepare_seconds: float
    sentry_dsn: str
    otel_exporter_otlp_endpoint: str
    allow_pickle: bool
    monitor_seconds: float
    monitor_days: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read them; raises :class:`SettingsError`."""
        given = os.environ if environment is None else environment
        values = {s.name: given.get(s.name) or s.default for s in SETTINGS}
        converted: dict[str, object] = {}
        for name, value in values.items():
            field = name.lower()
            converted[field] = _convert(name, value, str(cls.__annotations__[field]))
        if not str(converted["model_server_url"]).startswith(("http://", "https://")):
            raise SettingsError("MODEL_SERVER_URL must start with http:// or https://")
        converted["prediction_log_url"] = converted["prediction_log_url"] or default_url(Path(values["DATA_DIR"]))
        return cls(**converted)  # type: ignore[arg-type]


def _convert(name: str, value: str, kind: str) -> object:
    if kind == "Path":
        return Path(value)
    if kind == "bool":
        if value not in ("0", "1"):
            raise SettingsError(f"{name} must be 0 or 1")
        return value == "1"
    if kind == "str":
        return value
    try:
        number = int(value) if kind == "int" else float(value)
    except ValueError:
        raise SettingsError(f"{name} must be a number") from None
    if not 0 < number < 1e12 and name != "PORT":
        raise SettingsError(f"{name} must be above 0")
    if name == "PORT" and not 0 < number < 65536:
        raise SettingsError("PORT must be from 1 to 65535")
    return number
