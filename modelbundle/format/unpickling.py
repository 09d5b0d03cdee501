"""Unpickling a scikit-learn object whose hash is verified, and the package versions that it needs."""

from __future__ import annotations

import io
import platform
import warnings
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from modelbundle.errors import FormatError, RuntimeMismatch

NEEDS = ("python", "scikit-learn", "numpy", "joblib")  # packages whose versions must match


def installed(package: str) -> str | None:
    """The installed version of ``package``, or None; of ``python``, major and minor ("3.11")."""
    if package == "python":
        return ".".join(platform.python_version_tuple()[:2])
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_runtime(runtime: Mapping[str, str]) -> None:
    """Raise :class:`RuntimeMismatch` unless the installed version of each package is the one in ``runtime``."""
    differences = {
        package: (needed, have) for package, needed in runtime.items() if (have := installed(package)) != needed
    }
    if differences:
        raise RuntimeMismatch(differences)


def unpickle(raw: bytes) -> Any:
    """The scikit-learn object in ``raw``. Unpickling runs code, so the caller must verify the hash before.

    Raises :class:`RuntimeMismatch` where scikit-learn reports another version, :class:`FormatError` for any other failure.
    """
    import joblib
    from sklearn.exceptions import InconsistentVersionWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            return joblib.load(io.BytesIO(raw))
    except InconsistentVersionWarning as warning:
        needed = str(warning.original_sklearn_version)
        raise RuntimeMismatch({"scikit-learn": (needed, installed("scikit-learn"))}) from None
    except ModuleNotFoundError as error:
        raise FormatError("pipeline", f"needs the package {error.name}, which is not installed here") from error
    except Exception as error:  # a pickle can raise any exception
        raise FormatError("pipeline", f"cannot be unpickled here ({type(error).__name__})") from error
