"""The client: requests that are tried again, and answers under names."""

from __future__ import annotations

import random
import re
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

from late_payers.client.frames import COLUMNS, Bar, flat, plain_record, records, scored, stream

if TYPE_CHECKING:
    import pandas as pd

ADDRESS = (
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
)
ARROW = "application/vnd.apache.arrow.stream"
AGAIN = frozenset({429, 502, 503, 504})
LONGEST_PAUSE = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Reason:
    """A feature in which a loan falls on the risky side of the average loan. ``contribution`` is in log-odds."""

    feature: str
    text: str
    contribution: float


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that was wrong, or new to the model: a JSON pointer into what was sent, and what was expected there."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one loan. ``probabilities`` are of the model's classes, in order; ``probability`` is the last one's.

    ``reasons`` is None where the model cannot give exact ones.
    """

    probability: float
    probabilities: tuple[float, ...]
    prediction: Any
    band: str | None
    baseline: float | None
    reasons: tuple[Reason, ...] | None
    warnings: tuple[Problem, ...]
    prediction_id: str
    model_version: str
    id: str | None

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Prediction:
        """From the API's answer object."""
        reasons = answer["reasons"]
        return cls(
            probability=answer["predict_proba"][-1],
            probabilities=tuple(answer["predict_proba"]),
            prediction=answer["prediction"],
            band=answer["band"],
            baseline=answer["baseline"],
            reasons=None if reasons is None else tuple(Reason(**reason) for reason in reasons),
            warnings=tuple(Problem(**warning) for warning in answer["warnings"]),
            prediction_id=answer["prediction_id"],
            model_version=answer["model_version"],
            id=answer["id"],
        )


class ApiError(Exception):
    """No answer; the message says why."""


class Unavailable(ApiError):
    """The API could not be reached, or could not answer, however often it was asked."""


class Refused(ApiError):
    """The API refused the request: the message has every problem; ``problems``, ``status`` and ``request_id`` too.

    ``max_rows`` is how many rows one request may have, where there were more.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        problems: Sequence[Problem],
        request_id: str | None,
        max_rows: int | None = None,
    ) -> None:
        lines = [f"{status}: {detail}", *(f"  {p.pointer or '/'}: {p.detail}" for p in problems)]
        super().__init__("\n".join(lines))
        self.status = status
        self.problems = tuple(problems)
        self.request_id = request_id
        self.max_rows = max_rows
        self.detail = detail

    def with_problems(self, problems: Sequence[Problem]) -> Refused:
        """The same refusal, with its problems at other places."""
        return Refused(self.status, self.detail, problems, self.request_id, self.max_rows)


class Client:
    """A connection to one API; use one per thread. ``timeout`` is in seconds and per attempt, ``attempts`` counts the first."""

    def __init__(self, url: str, *, key: str | None = None, timeout: float = 10.0, attempts: int = 5) -> None:
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.attempts = attempts
        self._session = requests.Session()
        self._session.auth = _Key(key)
        self._takes_arrow = True  # until the API says that it does not

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def predict(self, record: Mapping[str, Any]) -> Prediction:
        """Score one record; raises :class:`Refused`, :class:`Unavailable` or :class:`ApiError`.

        A value may be a scalar of NumPy or pandas, a ``Decimal``, or NaN, NA or NaT for missing; :class:`ValueError` for others.
        """
        return Prediction.from_json(self._ask(plain_record(record)))

    def predict_many(self, records: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        """Score several in one request: all by the same model, in order. Raises as :meth:`predict` does.

        More than the API takes at once go in several requests. Where the model was replaced meanwhile, ``model_version`` says so.
        """
        plain = [plain_record(record) for record in records]
        try:
            return self._many(plain)
        except Refused as error:
            if error.max_rows is None or not 0 < error.max_rows < len(plain):
                raise
            most = error.max_rows
        found: list[Prediction] = []
        for first in range(0, len(plain), most):
            try:
                found += self._many(plain[first : first + most])
            except Refused as error:
                raise _moved(error, first, "/records") from None
        return found

    def _many(self, records: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        answer = self._ask({"records": records})
        return [Prediction.from_json(one) for one in answer["predictions"]]

    def predict_frame(self, frame: pd.DataFrame, *, rows: int = 2000, progress: bool | None = None) -> pd.DataFrame:
        """Score a whole frame, ``rows`` at a time; returns a frame with the same index.

        Its columns: probability, prediction, band, reasons (their texts, joined), warnings, prediction_id, model_version. Missing
        values may be NaN or None. ``progress`` draws a bar on stderr; by default where that is a terminal. Where the model was
        replaced meanwhile, ``model_version`` says so row by row. Raises as :meth:`predict` does; a pointer's row is the frame's.
        """
        import pandas as pd

        if rows < 1:
            raise ValueError("rows must be at least 1")
        bar = Bar(len(frame), sys.stderr) if (sys.stderr.isatty() if progress is None else progress) else None
        found: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        while (first := len(found["probability"])) < len(frame):
            part = frame.iloc[first : first + rows]
            try:
                answers = self._arrow(part) or flat(self.predict_many(list(records(part))))
            except Refused as error:
                if error.max_rows is None or not 0 < error.max_rows < len(part):
                    raise _moved(error, first) from None
                rows = error.max_rows
                continue
            for name in COLUMNS:
                found[name] += answers[name]
            if bar is not None:
                bar.show(len(found["probability"]))
        if bar is not None:
            bar.end()
        return pd.DataFrame(found, columns=list(COLUMNS), index=frame.index)

    def _arrow(self, frame: pd.DataFrame) -> dict[str, list[Any]] | None:
        """The columns of a scored frame; None where it cannot go as Arrow."""
        body = stream(frame) if self._takes_arrow else None
        if body is None:
            return None
        response = self._send("POST", "/predict", data=body, kind=ARROW)
        if response.status_code == 415:
            self._takes_arrow = False
            return None
        if response.ok and response.headers.get("Content-Type") == ARROW:
            return scored(response.content)
        try:
            _read(response)
        except Refused as error:
            problems = [
                Problem(re.sub(r"^/([^/]*)/(\d+)$", r"/records/\2/\1", p.pointer), p.detail) for p in error.problems
            ]
            raise error.with_problems(problems) from None
        raise ApiError(f"{response.url} answered a table with {response.headers.get('Content-Type')}")

    def model(self) -> dict[str, Any]:
        """The manifest of the model that answers."""
        return self._exchange("GET", "/model", None)

    def _ask(self, document: Any) -> dict[str, Any]:
        return self._exchange("POST", "/predict", document)

    def _exchange(self, method: str, path: str, document: Any) -> dict[str, Any]:
        return _read(self._send(method, path, document))

    def _send(
        self, method: str, path: str, document: Any = None, data: bytes | None = None, kind: str = ""
    ) -> requests.Response:
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {}
        if kind:
            headers["Content-Type"] = kind
        trouble, pause = "", 0.0
        for attempt in range(self.attempts):
            time.sleep(pause)
            pause = min(0.1 * 2**attempt * random.uniform(0.5, 1.5), LONGEST_PAUSE)
            try:
                response = self._session.request(
                    method,
                    self.url + path,
                    json=document,
                    data=data,
                    headers=headers,
                    timeout=self.timeout,
                    allow_redirects=False,  # which would make a GET of it
                )
            except requests.exceptions.InvalidJSONError:
                raise ValueError("a record holds Infinity, which JSON cannot") from None
            except ADDRESS as error:
                raise ApiError(f"{self.url} is not the address of an API ({type(error).__name__})") from None
            except requests.RequestException as error:  # also an answer that breaks off in the middle
                trouble = f"{self.url} cannot be reached ({type(error).__name__})"
                continue
            if response.is_redirect:
                raise ApiError(f"{self.url} redirects to {response.headers['Location']}: use that address")
            if response.ok and _is_cut(response):
                trouble = f"{self.url} sent an answer that breaks off"
                continue
            if response.status_code not in AGAIN:
                return response
            trouble = f"{self.url} answered {response.status_code}"
            told = response.headers.get("Retry-After", "")
            if told.isdigit():
                pause = min(float(told) * random.uniform(1.0, 1.2), LONGEST_PAUSE)
        raise Unavailable(f"{trouble}, {self.attempts} times")


class _Key:
    """Authorizes requests with the key, if there is one, and keeps ``.netrc`` from doing so."""

    def __init__(self, key: str | None) -> None:
        self.key = key

    def __call__(self, request: Any) -> Any:
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request


def _is_cut(response: requests.Response) -> bool:
    """Whether an answer that is said to be JSON is not."""
    if not response.headers.get("Content-Type", "").startswith("application/json"):
        return False
    try:
        response.json()
    except ValueError:
        return True
    return False


def _read(response: requests.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(f"{response.url} answered {response.status_code} with no JSON object: is it the prediction API?")
    if response.ok:
        return body
    problems = [Problem(error["pointer"], error["detail"]) for error in body.get("errors", ())]
    detail, request_id = body.get("detail", response.reason), body.get("request_id")
    raise Refused(response.status_code, detail, problems, request_id, body.get("max_rows"))


def _moved(error: Refused, first: int, base: str = "") -> Refused:
    problems = []
    for problem in error.problems:
        head, _, rest = problem.pointer.removeprefix("/records/").partition("/")
        row = f"{base}/{int(head) + first}{'/' if rest else ''}{rest}" if head.isdigit() else problem.pointer
        problems.append(Problem(row, problem.detail))
    return error.with_problems(problems)
