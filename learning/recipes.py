"""A recipe says how a model is fitted: a callable, so that any team's model is retrained the same way.

``recipe(features, labels)`` gets a DataFrame (n rows) and the classes (n,), and returns a fitted classifier.
A recipe may also have

- ``original(path)``: the original rows as (features, labels); otherwise ``path`` is Parquet or CSV with a column ``outcome``;
- ``author(retrained)``: the annotations, as :class:`modelbundle.author.Author`; otherwise they are those of the parent;
- ``version``: a text that changes with the recipe; otherwise it is the hash of the file that defines it.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from learning.outcomes import OutcomesError
from modelbundle.publishing.command import read_table
from modelbundle.publishing.selection import first_line

if TYPE_CHECKING:
    import pandas as pd

OUTCOME = "outcome"


class RecipeError(OutcomesError):
    """The recipe cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A loaded recipe: ``name`` is ``module:callable``, ``version`` changes with what it does."""

    name: str
    version: str
    made: Any

    def call(self, part: str, *arguments: Any) -> Any:
        """Call the recipe (part ``""``) or one of its parts; raises :class:`RecipeError` for whatever it raises."""
        try:
            return (getattr(self.made, part) if part else self.made)(*arguments)
        except Exception as error:  # a recipe runs any code
            where = f"{self.name}.{part}" if part else self.name
            raise RecipeError(f"the recipe {where} failed ({type(error).__name__}): {first_line(error)}") from error

    def has(self, part: str) -> bool:
        """Whether it has the optional part."""
        return callable(getattr(self.made, part, None))


def load(name: str) -> Recipe:
    """The recipe ``module:callable``; raises :class:`RecipeError`."""
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise RecipeError(f"a recipe is named module:callable, not {name!r}")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # importing runs any code
        raise RecipeError(f"{module_name} cannot be imported ({type(error).__name__}): {first_line(error)}") from error
    made = getattr(module, attribute, None)
    if not callable(made):
        raise RecipeError(f"{module_name} has no callable {attribute}")
    version = getattr(made, "version", None)
    return Recipe(name, version if isinstance(version, str) else _fingerprint(made, module_name), made)


def _fingerprint(made: Any, module_name: str) -> str:
    """The hash of the file that defines the recipe."""
    own = getattr(made, "__module__", None) or module_name
    file = getattr(sys.modules.get(own), "__file__", None) or sys.modules[module_name].__file__
    if file is None:
        raise RecipeError(f"{module_name} has no file: give the recipe a version")
    return f"{Path(file).name} sha256:{hashlib.sha256(Path(file).read_bytes()).hexdigest()}"


def original(recipe: Recipe, path: Path, classes: Sequence[Any]) -> tuple[pd.DataFrame, Any]:
    """The original rows as (features, positions of their labels in ``classes``); raises :class:`RecipeError`."""
    import pandas as pd

    if recipe.has("original"):
        found = recipe.call("original", path)
        if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], pd.DataFrame):
            raise RecipeError(f"the recipe {recipe.name}.original must return a DataFrame and its labels")
        features, labels = found
    else:
        table = read_table(path)
        if OUTCOME not in table.columns:
            raise RecipeError(f"{path} has no column {OUTCOME}")
        features, labels = table.drop(columns=OUTCOME), table[OUTCOME]
    place = {label: k for k, label in enumerate(classes)}
    known = [place.get(label, -1) for label in np.asarray(labels).tolist()]
    if len(known) != len(features) or -1 in known:
        raise RecipeError(f"every original row needs a label that is one of {', '.join(map(str, classes))}")
    return features.reset_index(drop=True), np.array(known, dtype=np.int64)
