"""The prediction API's settings, read from the environment once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from services.places import default_url
from services.web.hosts import AllowedHosts, loopback

SIGNED = "signed"  # the ALLOW_PICKLE that takes only models with a verified statement
NO_LOG = "none"  # the PREDICTION_LOG_URL that logs nothing
MAY_BE_ZERO = ("GATE_ROWS", "PROBATION_SECONDS")  # which turns off what they are for


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable: its name, its value when it is not set, and what it is for."""

    name: str
    default: str
    help: str


def setting(default: str, help: str) -> Any:
    """A field of :class:`Settings`, stated as text, as the environment has it."""
    return field(metadata={"default": default, "help": help})


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it and says what it must be."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings, converted: times in seconds, sizes in bytes. A field is the environment variable of its name in capitals."""

    model_server_url: str = setting("http://127.0.0.1:8000", "where the model service is")
    state_dir: Path = setting("run/state", "the replica's own state; disposable, rebuilt from the model service")  # noqa: RUF009
    data_dir: Path = setting("run/data", "durable data: the prediction log")  # noqa: RUF009
    prediction_log_url: str = setting(
        "", "SQLAlchemy's URL of the log's database (SQLite in DATA_DIR); `none` logs nothing"
    )
    max_spool_bytes: int = setting("1073741824", "what waits for the database; beyond it predictions are not logged")
    host: str = setting("127.0.0.1", "the address to listen on")
    port: int = setting("5000", "the port to listen on")
    workers: int = setting("2", "gunicorn worker processes")
    threads: int = setting("4", "threads per worker")
    max_in_flight: int = setting("64", "predictions at work or waiting per worker; beyond it 503")
    max_rows: int = setting("10000", "rows in one request")
    max_body_bytes: int = setting("16777216", "bytes in one request's body")
    max_csv_rows: int = setting("100000", "rows in one request as CSV")
    api_keys_file: str = setting("", "names and hashes of the keys that may ask; without it everyone may")
    allowed_hosts: str = setting(
        "", "names in a request's Host, with commas, or `*`; without it any, or this machine's on loopback without keys"
    )
    model_public_key_file: str = setting(
        "", "public keys in PEM; with it, only models that one of them signed are accepted"
    )
    head_seconds: float = setting("10", "how long a request's head may take to arrive")
    body_seconds: float = setting("10", "how long a request's body may take to arrive")
    answer_seconds: float = setting("300", "how long a client may take to read an answer")
    poll_seconds: float = setting("1", "how often the model service is asked")
    fetch_seconds: float = setting("60", "how long a download may take in all")
    max_bundle_bytes: int = setting("536870912", "the largest model file that is accepted")
    rehearsal_seconds: float = setting(
        "60", "how long a model may take to load, reproduce its golden rows and pass the gates"
    )
    rehearsal_memory_mb: int = setting("4096", "address space that a model may take in rehearsal")
    prepare_seconds: float = setting("30", "how long the workers of a replica may take to prepare a model")
    score_seconds: float = setting("30", "how long a model may score, and 10 ms a row more, before its worker is ended")
    gate_rows: int = setting("5000", "the last logged rows that a new model must fit; 0 compares no rows")
    gate_seconds: float = setting("10", "how long these rows may take to be read")
    most_rate_change: float = setting("2", "the factor by which a class's mean probability of them may change")
    probation_seconds: float = setting("120", "how long the model before is ready to take over again; 0 turns this off")
    sentry_dsn: str = setting("", "where errors go, by Sentry's SDK; without it nowhere")
    otel_exporter_otlp_endpoint: str = setting("", "the collector that traces go to, as http://collector:4318")
    allow_pickle: bool = setting(
        "signed",
        "models that must be unpickled, which runs their code: `signed` takes them only with a statement, `1` all, `0` none",
    )
    monitor_seconds: float = setting("60", "how often the log is compared with training, in a process of its own")
    monitor_days: int = setting("7", "how many days of the log are compared")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read them; raises :class:`SettingsError`."""
        given = os.environ if environment is None else environment
        values = {s.name: given.get(s.name) or s.default for s in SETTINGS}
        if values["ALLOW_PICKLE"] == SIGNED:
            values["ALLOW_PICKLE"] = "1" if values["MODEL_PUBLIC_KEY_FILE"] else "0"
        converted = {
            each.name: _convert(each.name.upper(), values[each.name.upper()], str(each.type)) for each in fields(cls)
        }
        if converted["most_rate_change"] <= 1:
            raise SettingsError("MOST_RATE_CHANGE must be above 1")
        if not converted["model_server_url"].startswith(("http://", "https://")):
            raise SettingsError("MODEL_SERVER_URL must start with http:// or https://")
        converted["prediction_log_url"] = converted["prediction_log_url"] or default_url(converted["data_dir"])
        return cls(**converted)

    def hosts(self) -> AllowedHosts | None:
        """The names that a request's ``Host`` may have; None for any."""
        if self.allowed_hosts:
            return AllowedHosts(self.allowed_hosts.split(","))
        return AllowedHosts(["localhost"]) if loopback(self.host) and not self.api_keys_file else None


SETTINGS = tuple(Setting(each.name.upper(), **each.metadata) for each in fields(Settings))


def _convert(name: str, value: str, kind: str) -> Any:
    if kind == "Path":
        return Path(value)
    if kind == "bool":
        if value not in ("0", "1"):
            raise SettingsError(f"{name} must be 0, 1 or {SIGNED}")
        return value == "1"
    if kind == "str":
        return value
    try:
        number = int(value) if kind == "int" else float(value)
    except ValueError:
        raise SettingsError(f"{name} must be a number") from None
    if number == 0 and name in MAY_BE_ZERO:
        return number
    if not 0 < number < 1e12 and name != "PORT":
        raise SettingsError(f"{name} must be {'0 or ' if name in MAY_BE_ZERO else ''}above 0")
    if name == "PORT" and not 0 < number < 65536:
        raise SettingsError("PORT must be from 1 to 65535")
    return number
