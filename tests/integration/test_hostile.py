"""Ten thousand requests that mean harm, and what must be left of it: nothing."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.conftest import LOAN, Made
from tests.integration.system import System, ask, running

ROUNDS, EACH = 8, 10
EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "60"))
HANG = 10  # seconds: an answer that takes longer never comes
PATHS = ("/predict", "/invocations", "/v2/models/first/infer", "/v2/models/x/infer", "/predict?contributions=all")
JSON, CSV = "application/json", "text/csv"
GOOD = json.dumps(LOAN).encode()
TENSORS = [
    {"name": n, "datatype": "BYTES" if isinstance(v, str) else "FP64", "shape": [1], "data": [v]}
    for n, v in LOAN.items()
]
FORMS: list[Any] = [
    LOAN,
    [LOAN],
    {"records": [LOAN]},
    {name: [value] * 3 for name, value in LOAN.items()},
    {"dataframe_split": {"columns": list(LOAN), "data": [list(LOAN.values())]}},
    {"instances": [LOAN]},
    {"inputs": TENSORS},
]


@dataclass
class Attacker:
    """Sends what it is given on one connection, and keeps account of the answers."""

    port: int
    statuses: Counter[int] = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")
    connection: http.client.HTTPConnection | None = None

    def send(self, path: str, body: bytes, kind: str, headers: dict[str, str] | None = None) -> int:
        began = time.perf_counter()
        for attempt in (0, 1):
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG)
            try:
                self.connection.request("POST", path, body, {"Content-Type": kind, **(headers or {})})
                response = self.connection.getresponse()
                raw = response.read()
                break
            except (ConnectionError, http.client.RemoteDisconnected):
                self.connection.close()  # an answer with Connection: close came before
                self.connection = None
                if attempt:
                    raise
        took = time.perf_counter() - began
        self.slowest = max(self.slowest, (took, f"{path} {kind} {len(body)} bytes {body[:40]!r}"))
        self.statuses[response.status] += 1
        if response.status >= 400:
            assert response.headers["Content-Type"] == "application/problem+json"
            problem = json.loads(raw)
            assert problem["status"] == response.status
            assert len(problem["errors"]) <= 100
            assert b"Traceback" not in raw
            assert len(raw) < 500_000
        return response.status


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, bundles: list[Made]) -> Iterator[System]:
    with running(tmp_path_factory.mktemp("hostile"), BODY_SECONDS="5") as system:
        (system.models / "a.bundle").write_bytes(bundles[0].path.read_bytes())
        system.pin("a.bundle", bundles[0].sha256)
        system.start_model()
        system.start_predict()
        yield system


def corpus() -> Iterator[tuple[str, bytes, str]]:
    """What breaks parsers, and what makes naive code take for ever."""
    big = 3_000_000
    texts = [
        b"",
        b" ",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b"nul",
        b"NaN",
        b"[NaN]",
        b"-",
        b"1e999",
        b'{"amount": 1e999}',
        b'{"amount": ' + b"9" * 5000 + b"}",
        b'{"amount": -0.0, "amount": 1}',
        b'{"a":1,"a":2}',
        b'{"\\ud800": 1}',
        b'{"grade": "\\ud800"}',
        b'{"grade": "\\u0000"}',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'"' + b"x" * big + b'"',
        b"[" + b"1," * (big // 2) + b"1]",
        b"[" + b"{}," * (big // 3) + b"{}]",
        b"{" + b",".join(b'"k%d":1' % i for i in range(300_000)) + b"}",
        b"{" + b",".join(b'"k%d":1' % i for i in range(100_000)) + b',"k99999":2}',
        b'{"records":[' + b"null," * (big // 5) + b"null]}",
        b'{"records":' + b"[" * 900 + b"]" * 900 + b"}",
        json.dumps({name: [value] * 10_001 for name, value in LOAN.items()}).encode(),
        json.dumps({**{name: [value] * 9_999 for name, value in LOAN.items()}, "amount": ["x"] * 9_999}).encode(),
        json.dumps([{**LOAN, "colour": i} for i in range(9_999)]).encode(),
        json.dumps({"inputs": [TENSORS[0]] * 100_000}).encode(),
        json.dumps({"dataframe_split": {"columns": ["amount"] * 100_000, "data": [[1] * 100_000]}}).encode(),
        json.dumps({"dataframe_split": {"columns": ["amount"], "data": [[]] * 500_000}}).encode(),
        b"{" + b'"a":1,' * (big // 6) + b'"b":1}',
        b"[" + b'{"a":1,"a":2},' * (big // 14) + b"{}]",
        b'{"' + b"k" * big + b'":[1],"amount":[1,2]}',
        b"[" + (b"[" * 900 + b"]" * 900 + b",") * (big // 1801) + b"0]",
        b"[" + (b"9" * 4_299 + b",") * (big // 4_300) + b"0]",
        b"x" * (16 * 1024 * 1024 + 1),
        b'"' + b"\\u0022" * (big // 6) + b'"',
    ]
    for text in texts:
        for path in PATHS[:3]:
            yield path, text, JSON
    header = ",".join(LOAN).encode()
    tables = [
        b"",
        b"\n",
        b"\x00",
        header,
        header + b'\n"' + b"x" * big,
        header + b"\n" + b"," * big,
        b"," * big,
        header + b"\n" + b"\n" * big,
        header + b"\n" + b"1,2\n" * 100_001,
        header + b"\n" + b"1,2\n" * 99_999,
        header + b"\r" + b"1,1,C,car,1\r" * 10,
        b'"' + header,
        header + b"\n=1+1,0.1,C,car,1\n",
        header + b"\n\xff",
        b"\xff\xfe" + header.decode().encode("utf-16-le"),
    ]
    for table in tables:
        for path in PATHS[:2]:
            yield path, table, CSV
    for kind in (
        "",
        "text/plain",
        "application/xml",
        "application/json; charset=utf-16",
        "a" * 5000,
        "application/json;;=;",
    ):
        yield "/predict", GOOD, kind


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(max_size=20)
    | st.sampled_from([10**400, -(10**30), 1e308, "C", "id", "\x00", "9" * 300])
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A request that would be good, but for one to three changes somewhere inside."""
    document = json.loads(json.dumps(draw(st.sampled_from(FORMS))))
    for _ in range(draw(st.integers(1, 3))):
        node = document
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], (dict, list)) and draw(st.booleans()):
                node = node[key]
                continue
            change = draw(st.integers(0, 2))
            if change == 0:
                node[key] = draw(anything)
            elif change == 1:
                del node[key]
            elif isinstance(node, dict):
                node[draw(st.text(max_size=12))] = draw(anything)
            else:
                node.append(draw(anything))
            break
    return json.dumps(document).encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Bytes that were a good request before they were cut, doubled or overwritten."""
    raw = bytearray(json.dumps(draw(st.sampled_from(FORMS))).encode())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(raw) - 1, 0)))
        raw[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(raw)


rows = st.lists(st.lists(st.text(max_size=8) | st.sampled_from(["1", "C", "0.1", '"', "nan"]), max_size=7), max_size=5)
sheets = rows.map(
    lambda rows: ",".join(LOAN).encode() + b"\n" + "\n".join(map(",".join, rows)).encode("utf-8", "replace")
)
requests = st.one_of(
    st.tuples(st.sampled_from(PATHS), mutated(), st.just(JSON)),
    st.tuples(st.sampled_from(PATHS), damaged(), st.just(JSON)),
    st.tuples(
        st.sampled_from(PATHS), st.binary(max_size=200), st.sampled_from([JSON, CSV, "application/octet-stream"])
    ),
    st.tuples(st.sampled_from(PATHS[:2]), sheets, st.just(CSV)),
)


def resident(pid: int) -> int:
    """Memory of a process that is its own, in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def attack(attacker: Attacker, number: int) -> None:
    """Generated requests, other ones in each round."""

    @seed(number)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(requests, min_size=EACH, max_size=EACH))
    def send(batch: list[tuple[str, bytes, str]]) -> None:
        for path, body, kind in batch:
            assert attacker.send(path, body, kind) < 500

    send()


@pytest.fixture
def attacker(system: System) -> Iterator[Attacker]:
    attacker = Attacker(system.port)
    yield attacker
    if attacker.connection:
        attacker.connection.close()


@pytest.mark.attack("bodies")
@pytest.mark.slow
def test_nothing_that_is_sent_harms_it(system: System, attacker: Attacker, record_property: Any) -> None:
    """No 5xx, no hang, the same processes, their memory flat, and the next good request answered."""
    workers = system.workers()
    fixed = list(corpus())
    memory = []
    for number in range(ROUNDS):
        for request in fixed:
            attacker.send(*request)
        attack(attacker, number)
        memory.append([resident(pid) for pid in workers])
    assert sum(attacker.statuses.values()) >= ROUNDS * EACH * EXAMPLES
    assert not [status for status in attacker.statuses if status >= 500]
    assert system.workers() == workers
    # The allocator fills its arenas for some rounds, here more and there less; what a request leaves behind it leaves in each.
    half = ROUNDS // 2
    growth = (sum(memory[-1]) - sum(memory[-1 - half])) / half
    assert growth < 10_000_000, memory
    assert system.post(LOAN)[0] == 200
    record_property("sent", attacker.statuses.total())
    record_property("came", ", ".join(f"{number:,} × {status}" for status, number in sorted(attacker.statuses.items())))
    record_property("slowest", attacker.slowest)


@pytest.mark.attack("headers")
@pytest.mark.parametrize(
    "headers",
    [
        {"SCRIPT_NAME": "/x"},
        {"SCRIPT_NAME": "/healthz"},
        {"X-Forwarded-Ssl": "on", "X-Forwarded-Proto": "http"},
        {"X-Forwarded-Protocol": "ssl", "X-Forwarded-Proto": "http"},
    ],
)
def test_no_header_changes_a_path_or_a_scheme(system: System, headers: dict[str, str]) -> None:
    """Not even of who asks from this host, whom gunicorn would believe; it answered what contradicts the path with 500, and
    what contradicts itself with 400."""
    for port in (system.port, system.model_port):
        assert ask(port, "GET", "/healthz", headers=headers)[0] == 200


@pytest.mark.attack("headers")
def test_no_header_changes_the_addresses_on_a_page(system: System) -> None:
    """A page says what the client itself called, whatever a header claims."""
    said = [ask(system.port, "GET", "/batch", headers=given)[2] for given in ({}, {"X-Forwarded-Proto": "https"})]
    address = f"http://127.0.0.1:{system.port}/predict".encode()
    assert all(address in page for page in said)
