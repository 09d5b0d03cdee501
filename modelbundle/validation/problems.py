"""What is wrong with a request: each problem has a JSON pointer (RFC 6901) into the document that the caller sent.

A message never repeats a value from the request.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

MOST_PROBLEMS = 100  # that one answer names
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a request: the place (a JSON pointer), and what the service expects there."""

    pointer: str
    detail: str


class Invalid(Exception):
    """The request does not fit the schema. ``problems`` has at most :data:`MOST_PROBLEMS` of the ``total``.

    ``total`` stops at :data:`MOST_COUNTED`, so that a bad request costs no more time than a good one.
    """

    def __init__(self, problems: Sequence[Problem], total: int | None = None) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = list(problems)[:MOST_PROBLEMS]
        self.total = len(problems) if total is None else total

    @classmethod
    def counted(cls, problems: Iterable[Problem]) -> Invalid:
        """The error for an iterator of problems, which is read up to :data:`MOST_COUNTED`."""
        left = iter(islice(problems, MOST_COUNTED))
        found = list(islice(left, MOST_PROBLEMS))
        total = len(found) + sum(1 for _ in left)
        return cls(found or [Problem("", "does not fit the schema")], max(total, 1))


class Unscorable(Invalid):
    """The request fits the schema, and the model gives no probability for some rows: ``rows``, each with what is wrong in it."""

    def __init__(self, problems: Sequence[Problem], rows: dict[int, Problem]) -> None:
        super().__init__(problems, len(rows))
        self.rows = rows


class TooManyRows(Exception):
    """The request has more rows than the limit for one request."""

    def __init__(self, rows: int, limit: int) -> None:
        super().__init__(f"{rows} rows; at most {limit} are accepted in one request")
        self.rows = rows
        self.limit = limit


def escape(name: str) -> str:
    """The reference token of a JSON pointer for ``name`` (RFC 6901, section 3)."""
    return name.replace("~", "~0").replace("/", "~1")


def unescape(token: str) -> str:
    """The name in a reference token of a JSON pointer."""
    return token.replace("~1", "/").replace("~0", "~")
