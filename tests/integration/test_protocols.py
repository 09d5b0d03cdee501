"""Clients that others wrote, against real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import LOAN, Made
from tests.integration.system import System, ask, running


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, bundles: list[Made]) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("protocols"), MAX_ROWS="500", BODY_SECONDS="2") as system:
        (system.models / "a.bundle").write_bytes(bundles[0].path.read_bytes())
        system.pin("a.bundle", bundles[0].sha256)
        system.start_model()
        system.start_predict()
        yield system


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("binary", [False, True])
def test_tritons_own_client(system: System, bundles: list[Made], binary: bool) -> None:
    """Health, metadata and inference with Triton's HTTP client as it comes, in JSON and in its binary default."""
    from tritonclient import http as triton
    from tritonclient.utils import InferenceServerException

    client = triton.InferenceServerClient(f"127.0.0.1:{system.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("first")
    metadata = client.get_model_metadata("first")
    rows = 4
    tensors = []
    for described in metadata["inputs"]:
        value = LOAN[described["name"]]
        if value is None and not binary:
            continue
        kind = np.object_ if described["datatype"] == "BYTES" else np.float64
        tensor = triton.InferInput(described["name"], [rows], described["datatype"])
        tensor.set_data_from_numpy(np.array([np.nan if value is None else value] * rows, kind), binary_data=binary)
        tensors.append(tensor)
    found = client.infer("first", tensors, request_id="q1")
    expected = system.post(LOAN)[2]
    assert found.get_response()["id"] == "q1"
    assert found.as_numpy("predict_proba").tolist() == [expected["predict_proba"]] * rows
    with pytest.raises(InferenceServerException, match="/inputs: `amount` missing; required"):
        client.infer("first", tensors[1:])
    with pytest.raises(InferenceServerException, match="not served now"):
        client.infer("other", tensors)
    client.close()


def test_a_frame_as_mlflow_sends_it(system: System, bundles: list[Made]) -> None:
    """pandas' own JSON and CSV, in the three ways that MLflow's documentation names."""
    frame = bundles[0].frame.head(40)
    expected = bundles[0].pipeline.predict_proba(frame)[:, 1]
    split = {"dataframe_split": json.loads(frame.to_json(orient="split", double_precision=15))}
    records = {"dataframe_records": json.loads(frame.to_json(orient="records", double_precision=15))}
    sent: list[tuple[bytes, str]] = [(json.dumps(form).encode(), "application/json") for form in (split, records)]
    sent.append((frame.to_csv(index=False).encode(), "text/csv"))
    for body, kind in sent:
        status, _, raw = ask(system.port, "POST", "/invocations", body, {"Content-Type": kind})
        assert status == 200, raw
        found = [answer["predict_proba"][1] for answer in json.loads(raw)["predictions"]]
        assert found == pytest.approx(expected, abs=1e-12)


def test_a_book_streams(system: System, bundles: list[Made]) -> None:
    """Twenty thousand rows as CSV: the answer comes in pieces and is complete."""
    frame = bundles[0].frame.sample(20_000, replace=True, random_state=1)
    status, headers, raw = ask(
        system.port, "POST", "/predict", frame.to_csv(index=False).encode(), {"Content-Type": "text/csv"}
    )
    assert status == 200
    assert headers["transfer-encoding"] == "chunked"
    lines = raw.decode().splitlines()
    assert len(lines) == 20_001
    assert all(line.endswith(bundles[0].sha256) for line in lines[1:])


@pytest.mark.slow
def test_schemathesis_finds_nothing(system: System, tmp_path: Path) -> None:
    """All its checks, on every operation of the description: examples, boundaries, and generated requests, good and bad."""
    folder = Path(__file__).parent
    command = [Path(sys.executable).with_name("st"), "--config-file", folder / "schemathesis.toml", "--no-color", "run"]
    command += [
        f"http://127.0.0.1:{system.port}/openapi.json",
        "--checks",
        "all",
        "--phases",
        "examples,coverage,fuzzing",
    ]
    command += ["--generation-deterministic", "--max-examples", "60"]
    command += ["--continue-on-failure"]
    environment = {
        **os.environ,
        "SCHEMATHESIS_HOOKS": "tests.integration.describing",
        "PYTHONPATH": str(folder.parents[1]),
    }
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]
    paths = json.loads(ask(system.port, "GET", "/openapi.json")[2])["paths"]
    operations = sum(method in ("get", "post") for item in paths.values() for method in item)
    assert f"Tested: {operations}\n" in found.stdout
