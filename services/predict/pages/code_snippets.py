"""The same question asked of the API: as JSON, with curl, and in Python."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import Request

dumps = partial(json.dumps, ensure_ascii=False)


def make(request: Request, record: Mapping[str, Any], keyed: bool) -> dict[str, str]:
    """By name, for the address under which ``request`` found this server. A key is named, never shown."""
    url = f"{_root(request)}predict"
    document = dumps(record, indent=2)
    header = ' -H "X-API-Key: $API_KEY"' if keyed else ""
    headers = '\n    headers={"X-API-Key": os.environ["API_KEY"]},' if keyed else ""
    start = "import os\n\nimport requests\n" if keyed else "import requests\n"
    # texts and numbers are written in Python as they are in JSON
    case = "\n".join(f"    {dumps(name)}: {dumps(value)}," for name, value in record.items())
    return {
        "curl": f"curl {shlex.quote(url)} -H 'Content-Type: application/json'{header} -d {shlex.quote(document)}",
        "python": (
            f"{start}\ncase = {{\n{case}\n}}\nanswer = requests.post(\n    {dumps(url)},\n    json=case,{headers}\n"
            "    timeout=10,\n)\nanswer.raise_for_status()\nprint(answer.json())"
        ),
        "json": document,
    }


def _root(request: Request) -> str:
    root = request.url_root
    if request.headers.get("X-Forwarded-Proto") == "https":  # only what is shown depends on it
        return root.replace("http://", "https://", 1)
    return root
