"""Where the model files are: a directory, or an S3 bucket. Reading is limited in bytes, and over a network in time."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any, Protocol

from services.model.pin import PinError

CHUNK = 1 << 20
SECONDS = 120.0  # that a download from a bucket may take in all


class FileMissing(PinError):
    """There is no file of this name."""


class Storage(Protocol):
    """Reads files by name."""

    def read(self, name: str, max_bytes: int) -> bytes:
        """The whole file; raises :class:`FileMissing`, or :class:`PinError` with why it cannot be read."""


class Directory:
    """Files on a volume. A pipe or a device is refused: reading it could hang."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str, max_bytes: int) -> bytes:
        """See :class:`Storage`."""
        try:
            descriptor = os.open(self.path / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with open(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise PinError(f"{name}: not a regular file")
                content = file.read(max_bytes + 1)
        except OSError as error:
            kind = FileMissing if isinstance(error, FileNotFoundError) else PinError
            raise kind(f"{name}: cannot be read ({error.strerror})") from None
        _bounded(name, len(content), max_bytes)
        return content


class Bucket:
    """Objects below ``s3://bucket/prefix``. Region, credentials and ``AWS_ENDPOINT_URL`` come from boto3's own settings."""

    def __init__(self, bucket: str, prefix: str, seconds: float = SECONDS) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.seconds = seconds
        self._client: Any = None

    def read(self, name: str, max_bytes: int) -> bytes:
        """See :class:`Storage`."""
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        deadline = time.monotonic() + self.seconds
        where = f"s3://{self.bucket}/{self.prefix}{name}"
        try:
            found = self._connect().get_object(Bucket=self.bucket, Key=f"{self.prefix}{name}")
            with found["Body"] as body:
                announced = int(found["ContentLength"])
                _bounded(name, announced, max_bytes)
                content = bytearray()
                while chunk := body.read(CHUNK):
                    content += chunk
                    _bounded(name, len(content), max_bytes)
                    if time.monotonic() > deadline:
                        raise PinError(f"{where}: the download took too long")
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            kind = FileMissing if code in ("NoSuchKey", "404") else PinError
            raise kind(f"{where}: cannot be read ({code})") from None
        except (BotoCoreError, HTTPClientError, OSError, ValueError) as error:
            raise PinError(f"{where}: cannot be read ({type(error).__name__})") from None
        if len(content) != announced:
            raise PinError(f"{where}: cut short, {len(content)} of {announced} bytes")
        return bytes(content)

    def _connect(self) -> Any:
        if self._client is None:
            import boto3
            from botocore.config import Config

            retries = {"total_max_attempts": 2, "mode": "standard"}
            self._client = boto3.client("s3", config=Config(connect_timeout=3, read_timeout=10, retries=retries))
        return self._client


def open_storage(place: str) -> Storage:
    """From ``MODEL_DIR``: a path, or ``s3://bucket/prefix``; raises :class:`PinError` for an address without a bucket."""
    if not place.startswith("s3://"):
        return Directory(Path(place))
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    if not bucket:
        raise PinError("MODEL_DIR must name a bucket: s3://bucket/prefix")
    return Bucket(bucket, prefix)


def _bounded(name: str, found: int, max_bytes: int) -> None:
    if found > max_bytes:
        raise PinError(f"{name}: larger than {max_bytes} bytes")
