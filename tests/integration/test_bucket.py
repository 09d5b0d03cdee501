"""Models in an object store: a real one that speaks S3, on loopback, that is killed and comes back."""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from services.model.pin import PinError
from services.model.storage import Bucket, FileMissing, open_storage
from tests.conftest import LOAN, Made
from tests.integration.system import ROOT, System, free_port, running, until
from tests.integration.test_portfolio import make_rows, score, write_csv


class Weed:
    """SeaweedFS with its S3 gateway."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        options = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",
            config=options,
        )

    def start(self) -> None:
        ports = {name: free_port() for name in ("master", "volume", "filer")}
        extra = [f"-{name}.port{suffix}={free_port()}" for name in ports for suffix in ("", ".grpc")]
        command = [
            str(Path(sys.executable).with_name("weed")),
            "server",
            f"-dir={self.root}",
            "-s3",
            f"-s3.port={self.port}",
        ]
        command += [
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.volumeSizeLimitMB=64",
            f"-s3.port.grpc={free_port()}",
            *extra,
        ]
        with (self.root.parent / "weed.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        until(self._answers, 60, "the object store answers")

    def _answers(self) -> bool:
        with contextlib.suppress(ClientError, BotoCoreError):
            self.client.list_buckets()
            return True
        return False

    def put(self, key: str, content: bytes) -> None:
        def stored() -> bool:
            with contextlib.suppress(ClientError, BotoCoreError):
                self.client.put_object(Bucket="models", Key=key, Body=content)
                return True
            return False

        until(stored, 60, f"{key} is stored")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    root = tmp_path_factory.mktemp("weed") / "store"
    root.mkdir()
    made = Weed(root)
    made.start()
    made.client.create_bucket(Bucket="models")
    yield made
    made.kill()
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def account(weed: Weed, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """boto3's own settings, here and for the services."""
    settings = {
        "AWS_ENDPOINT_URL": weed.url,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


def test_reading_is_whole_bounded_and_says_why_not(weed: Weed, account: dict[str, str]) -> None:
    """The bytes; or that there are none, that there are too many, that there is no bucket."""
    content = bytes(range(256)) * 12_000
    weed.put("live/a.bundle", content)
    found = open_storage("s3://models/live/")
    assert found.read("a.bundle", 1 << 30) == content
    with pytest.raises(PinError, match="larger than 1000 bytes"):
        found.read("a.bundle", 1000)
    with pytest.raises(FileMissing, match=r"s3://models/live/b.bundle: cannot be read \(NoSuchKey\)"):
        found.read("b.bundle", 1000)
    with pytest.raises(PinError, match="NoSuchBucket") as missing:
        open_storage("s3://elsewhere").read("a.bundle", 1000)
    assert not isinstance(missing.value, FileMissing)
    with pytest.raises(PinError, match="must name a bucket"):
        open_storage("s3:///x")
    with pytest.raises(PinError, match="took too long"):
        Bucket("models", "live", seconds=0).read("a.bundle", 1 << 30)


@pytest.mark.slow
def test_the_store_can_go_away(
    weed: Weed, account: dict[str, str], tmp_path: Path, bundles: list[Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A swap from the bucket; then the store is killed: what is served goes on, a new pin says why it waits, and comes in
    once the store is back."""
    for made in bundles[:2]:
        weed.put(f"live/{made.path.name}", made.path.read_bytes())
    with running(tmp_path) as system:
        serve_from(system, "s3://models/live", monkeypatch)
        system.pin(bundles[0].path.name, bundles[0].sha256)
        system.start_model()
        system.start_predict()
        system.pin(bundles[1].path.name, bundles[1].sha256)
        system.serving(bundles[1].sha256)
        weed.kill()
        system.pin(bundles[0].path.name, bundles[0].sha256)
        until(
            lambda: "cannot be read" in (system._get(system.model_port, "/pin")[1]["why_not"] or ""), 60, "why it waits"
        )
        for _ in range(20):
            status, _, answer = system.post(LOAN)
            assert (status, answer["model_version"]) == (200, bundles[1].sha256)
            time.sleep(0.05)
        until(lambda: system.readyz()[1]["confirmed"], 10, "the served model is confirmed")
        weed.start()
        weed.put(f"live/{bundles[0].path.name}", bundles[0].path.read_bytes())
        system.serving(bundles[0].sha256, 90)


def test_a_start_without_the_store_says_so(account: dict[str, str], bundles: list[Made]) -> None:
    """And ends; whoever restarts it tries again."""
    environment = {
        **account,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "MODEL_DIR": "s3://models",
        "MODEL_FILE_NAME": "a.bundle",
        "MODEL_SHA256": bundles[0].sha256,
        "PORT": str(free_port()),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "services.model"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 1
    assert "model service: s3://models/a.bundle: cannot be read (EndpointConnectionError)" in ran.stderr
    assert "Traceback" not in ran.stderr


def serve_from(system: System, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system's model service read from ``place``."""
    spawn = system._spawn

    def elsewhere(module: str, own: dict[str, str]) -> subprocess.Popen[bytes]:
        return spawn(module, {**own, "MODEL_DIR": place} if "MODEL_DIR" in own else own)

    monkeypatch.setattr(system, "_spawn", elsewhere)


@pytest.mark.slow
def test_a_book_in_the_store_is_scored_into_the_store(
    weed: Weed, account: dict[str, str], bundles: list[Made], tmp_path: Path
) -> None:
    """Directories of CSV and files of Parquet are read from it and written to it; what cannot be is said in one line."""
    rows = make_rows(300)
    weed.put("books/q3/a.csv", write_csv(tmp_path / "a.csv", rows[:200]).read_bytes())
    weed.put("books/q3/b.csv", write_csv(tmp_path / "b.csv", rows[200:]).read_bytes())
    here = score(write_csv(tmp_path / "book.csv", rows), tmp_path / "here.parquet", "--model", bundles[0].path)
    options = ["--model", bundles[0].path, "--work", tmp_path / "parts"]
    there = score("s3://models/books/q3", "s3://models/scored/q3.parquet", *options)
    assert [there[k] for k in ("rows", "scored", "rejected")] == [here[k] for k in ("rows", "scored", "rejected")]

    def stored(key: str) -> bytes:
        return bytes(weed.client.get_object(Bucket="models", Key=key)["Body"].read())

    one, other = pq.read_table(tmp_path / "here.parquet"), pq.read_table(io.BytesIO(stored("scored/q3.parquet")))
    assert one.replace_schema_metadata().equals(other.replace_schema_metadata())
    assert stored("scored/q3.parquet.rejected.csv").count(b"\n") > there["rejected"]
    again = score("s3://models/scored/q3.parquet", tmp_path / "again.csv", "--model", bundles[0].path, code=1)
    assert "is a column that the answer adds" in again
    assert "exists" in score("s3://models/books/q3", "s3://models/scored/q3.parquet", *options, code=1)
    assert "does not exist" in score("s3://models/books/none.csv", tmp_path / "o.csv", *options, code=1)
    score("s3://models/books/q3", "s3://models/scored/q3", *options)
    found = weed.client.list_objects_v2(Bucket="models", Prefix="scored/q3/")["Contents"]
    names = ["_SUCCESS", "a.csv", "a.csv-metadata.json", "b.csv", "b.csv-metadata.json"]
    assert [entry["Key"] for entry in found] == [f"scored/q3/{name}" for name in names]
    assert not (tmp_path / "parts").exists()
