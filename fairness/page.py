"""Figures by group as one self-contained page, on the sheet of the monitor's report: no script, light or dark, and for paper."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from modelbundle.fairness import DECIDED, FIGURES, JUDGED, Fairness, said
from modelbundle.model import Model
from services import monitoring

FOLDERS = (Path(__file__).parent, Path(monitoring.__file__).parent)  # the page, and the sheet that it shares


def html(result: Fairness, model: Model) -> str:
    """The page of the figures of a model."""
    environment = Environment(
        loader=FileSystemLoader(FOLDERS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tables = [
        ("Who is refused", "rows", DECIDED, "Of all rows that the model answered."),
        ("What happened", "outcomes", JUDGED, "Of the rows with an outcome only."),
    ]
    return environment.get_template("fairness.html").render(
        found=result, about=model.manifest, tables=tables, figures=FIGURES, said=said
    )
