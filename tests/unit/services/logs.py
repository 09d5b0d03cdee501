"""Prediction logs to test with: rows through the real scorer, as the spool and the shipper would bring them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import sqlalchemy as sa

from modelbundle.model import Model
from modelbundle.publishing.compiling.proof import frame_columns
from services.monitoring.log_reader.model_versions import ModelVersions
from services.monitoring.log_reader.queries import PredictionLog
from services.monitoring.monitor import Monitor
from services.predictionlog import database, record
from services.web.request_ids import RANDOM

NOW = 1_795_000_000.0 - 1_795_000_000 % 86_400 + 45_000  # half past twelve of a day


class Written:
    """A SQLite log in a directory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.url = f"sqlite:///{folder / 'predictions.sqlite'}"
        self.engine = database.connect(self.url)
        database.migrate(self.engine)

    def add(self, model: Model, frame: pd.DataFrame, at: float = NOW - 60, seed: int = 0) -> list[dict[str, Any]]:
        """Score a frame's rows at a time, and log them; returns the rows of the database."""
        columns = frame_columns(model.schema, frame[list(model.schema.names)])
        rng = np.random.default_rng(seed + int(at))
        drawn = (rng.bytes(9).hex() for _ in range(len(frame)))
        ids = [f"{int(at * 1000):012x}7{digits[:3]}8{digits[3:]}" for digits in drawn]
        answers = model.answers(columns, prediction_ids=ids)
        plain = [
            column if isinstance(column, list) else [None if np.isnan(v) else v for v in column.tolist()]
            for column in columns
        ]
        line = logged(dict(zip(model.schema.names, plain, strict=True)), answers)
        rows = [{**row, "time": iso(at)} for row in record.decode(line).rows()]
        database.insert(self.engine, rows)
        return rows

    def judge(self, rows: list[dict[str, Any]], late: Any, at: float = NOW) -> None:
        """Outcomes of logged rows."""
        found = [
            {"prediction_id": row["prediction_id"], "is_late": bool(is_late), "time": iso(at)}
            for row, is_late in zip(rows, late, strict=True)
        ]
        with self.engine.begin() as connection:
            connection.execute(sa.insert(database.outcomes), found)

    def monitor(self, places: Path, days: int = 7, **more: Any) -> Monitor:
        """What reads it."""
        return Monitor(PredictionLog(self.url), ModelVersions([places]), days, **more)


def logged(inputs: dict[str, list[Any]], answers: list[Any], request: str = "request", key: str | None = None) -> bytes:
    """A line of the spool, as a worker writes it."""
    encoded = msgspec.Raw(msgspec.json.encode(answers))
    return record.encode(record.Line(record.FORMAT, time.time(), 3, request, key, inputs, encoded))


def drawn(row: dict[str, Any]) -> str:
    """What decides whether a row is in a sample."""
    return str(row["prediction_id"])[-RANDOM:]


def iso(seconds: float) -> str:
    """A time as the log has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000+00:00", time.gmtime(seconds))


Logs = Callable[[], Written]
