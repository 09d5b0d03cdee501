"""The examples in the documents: requests as they go over the wire, each followed by the answer."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"```http\n(.*?)```\s*```(?:json|csv)\n(.*?)```", re.DOTALL)
VARYING = ("request_id", "prediction_id", "model_version")  # differ with every answer, or with every model


@dataclass(frozen=True)
class Example:
    """A request, and the answer that a document promises."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None
    promised: str

    @property
    def name(self) -> str:
        """What tells it from the others in a test's output."""
        return f"{self.method} {self.path} {(self.body or b'')[:40].decode('utf-8', 'replace')}".strip()


def read(document: Path) -> list[Example]:
    """All examples of ``document``, in order."""
    return [_example(request, answer) for request, answer in _BLOCK.findall(document.read_text("utf-8"))]


def blocks(document: Path, language: str) -> list[str]:
    """The code blocks of ``document`` in ``language``, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def _example(request: str, answer: str) -> Example:
    head, _, body = request.partition("\n\n")
    first, *lines = head.splitlines()
    method, path = first.split()
    headers = dict(line.split(": ", 1) for line in lines)
    return Example(method, path, headers, body.rstrip("\n").encode() if body else None, answer.strip())


def settled(raw: bytes, kind: str) -> Any:
    """An answer without what is another in every answer; CSV as its text."""
    return without(json.loads(raw)) if kind.endswith("json") else raw.decode().strip().replace("\r\n", "\n")


def without(value: Any) -> Any:
    """A JSON value without the members in :data:`VARYING`."""
    if isinstance(value, dict):
        return {name: without(inner) for name, inner in value.items() if name not in VARYING}
    return [without(inner) for inner in value] if isinstance(value, list) else value
