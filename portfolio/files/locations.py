"""Locations of books: local paths, and ``s3://bucket/key`` in an object store (AWS, or the one at ``AWS_ENDPOINT_URL``)."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pyarrow import fs

from portfolio.errors import PortfolioError

CSV, PARQUET = "csv", "parquet"
COMPRESSED = (".gz", ".zst", ".bz2", ".lz4")
RETRIES = 5


@dataclass(frozen=True)
class Location:
    """A file or directory. ``path`` is its path in ``system``; ``str()`` is what the user wrote."""

    written: str
    system: Any
    path: str

    def __str__(self) -> str:
        return self.written

    @classmethod
    def of(cls, written: str) -> Location:
        """Parse what the user wrote; raises :class:`PortfolioError` for a scheme other than ``s3``."""
        scheme, mark, rest = written.partition("://")
        if not mark:
            return cls(written.rstrip("/") or "/", fs.LocalFileSystem(), os.path.abspath(written))
        if scheme != "s3" or not rest.strip("/"):
            raise PortfolioError(f"{written}: must be a path or s3://bucket/key")
        return cls(written.rstrip("/"), _store(), rest.strip("/"))

    @property
    def local(self) -> Path | None:
        """The local path; None in an object store."""
        return Path(self.path) if isinstance(self.system, fs.LocalFileSystem) else None

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name

    def info(self) -> Any:
        """Return kind, size and time of change; raises :class:`PortfolioError` if the store fails."""
        with errors_about(self.written):
            return self.system.get_file_info(self.path)

    def exists(self) -> bool:
        """Return whether anything is there."""
        return bool(self.info().type != fs.FileType.NotFound)

    def files(self) -> list[tuple[str, Any]]:
        """Return the CSV and Parquet files below a directory by relative name, sorted; without names that begin with . or _."""
        with errors_about(self.written):
            found = self.system.get_file_info(fs.FileSelector(self.path, recursive=True))
        names = [(str(PurePosixPath(info.path).relative_to(self.path)), info) for info in found if info.is_file]
        return sorted(
            (n, i) for n, i in names if kind_of(n) and not any(p.startswith((".", "_")) for p in PurePosixPath(n).parts)
        )


def kind_of(name: str) -> str | None:
    """Return ``csv`` or ``parquet`` from the ending of a name; None for anything else."""
    bare = name.lower()
    for ending in COMPRESSED:
        if bare.endswith(f".csv{ending}"):
            return CSV
    return next((kind for kind in (CSV, PARQUET) if bare.endswith(f".{kind}")), None)


def _store() -> Any:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    scheme, _, host = endpoint.rpartition("://")
    if host:  # other stores than AWS refuse the checksums that it has lately been sent after the data
        os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    return fs.S3FileSystem(
        endpoint_override=host.rstrip("/") or None,
        scheme=scheme or "https",
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        connect_timeout=5,
        request_timeout=30,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=RETRIES),
    )


@contextlib.contextmanager
def errors_about(name: str) -> Iterator[None]:
    """Turn errors of the file system into a :class:`PortfolioError` of one line about ``name``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise PortfolioError(f"{name}: {reason}") from None


def upload(file: Path, target: Location) -> None:
    """Copy a local file to ``target``, completely or not at all."""
    with errors_about(str(target)):
        stream = target.system.open_output_stream(target.path)
        try:
            with file.open("rb") as source:
                shutil.copyfileobj(source, stream, 8 << 20)
            stream.close()
            stored = target.system.get_file_info(target.path).size
            if stored != file.stat().st_size:
                raise OSError(f"{stored} bytes were stored of {file.stat().st_size}")
        except BaseException:
            with contextlib.suppress(OSError):  # the stream completes what it has when it is closed
                stream.close()
                target.system.delete_file(target.path)
            raise
