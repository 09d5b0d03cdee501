"""``python -m modelbundle publish``: from a fitted classifier in a file and its training data in another to a bundle."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbundle.errors import BundleError, PublishError
from modelbundle.format import manifest
from modelbundle.format.unpickling import unpickle
from modelbundle.publishing.annotations import Author
from modelbundle.publishing.publish import Published, publish
from modelbundle.publishing.selection import first_line

if TYPE_CHECKING:
    import pandas as pd


def publish_files(
    model: Path, data: Path, label: str, out: Path, *, positive: str = "", title: str = "", key: Path | None = None
) -> Published:
    """Publish the classifier in ``model`` (joblib or pickle; it is run, so it must be yours) as the bundle ``out``.

    ``data`` is the Parquet or CSV file that it was fitted on, and ``label`` its column of classes. Columns that the classifier
    does not take are left out. Raises :class:`PublishError` and :class:`OSError`.
    """
    try:
        pipeline = unpickle(model.read_bytes())
    except BundleError as error:
        raise PublishError(f"{model}: {error}") from None
    table = read_table(data)
    if label not in table.columns:
        raise PublishError(f"{data} has no column {label!r}; it has {', '.join(map(str, table.columns))}")
    labels = table[label]
    if labels.isna().any():
        raise PublishError(f"the column {label!r} has {int(labels.isna().sum())} missing values")
    frame = _features(pipeline, table.drop(columns=label), data)
    name = manifest.slug(out.name)
    author = Author(name, title or out.stem, positive or f"{label} is {_last(pipeline)}")
    return publish(pipeline, frame, labels, out, author=author, key=key)


def read_table(path: Path) -> pd.DataFrame:
    """The rows of a Parquet or CSV file; raises :class:`PublishError` where it cannot be read."""
    import pandas as pd

    if not path.is_file():
        raise PublishError(f"{path} does not exist")
    try:
        return pd.read_parquet(path) if path.suffix.lower() == ".parquet" else pd.read_csv(path)
    except ImportError:
        raise PublishError("reading Parquet needs pyarrow; `make publish` installs it") from None
    except Exception as error:  # pandas and pyarrow have many
        raise PublishError(f"{path} cannot be read ({type(error).__name__}): {first_line(error)}") from None


def _features(pipeline: Any, table: pd.DataFrame, data: Path) -> Any:
    names = getattr(pipeline, "feature_names_in_", None)
    if names is not None:
        spaceless = {str(column).replace(" ", "_"): column for column in table.columns}  # as LightGBM writes them
        own = {**spaceless, **{str(column): column for column in table.columns}}
        wanted = [str(name) for name in names]
        if missing := [name for name in wanted if name not in own]:
            raise PublishError(f"{data} has not the columns {', '.join(missing)}, which the model was fitted on")
        return table[[own[name] for name in wanted]]
    count = getattr(pipeline, "n_features_in_", None)
    if count is not None and count != len(table.columns):
        raise PublishError(f"the model was fitted on {count} columns without names, {data} has {len(table.columns)}")
    return table


def _last(pipeline: Any) -> Any:
    classes = getattr(pipeline, "classes_", None)
    return None if classes is None or not len(classes) else manifest.labels(classes)[-1]


def quietly(model: Path, data: Path, label: str, out: Path, **more: Any) -> Published:
    """:func:`publish_files` without the warnings of libraries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return publish_files(model, data, label, out, **more)
