"""A book scored from files: the API's answers, whoever is killed on the way."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelbundle.format import bundle, statement
from tests.conftest import Made
from tests.integration.system import ROOT, System, ask

NAMES = ["id", "amount", "int_rate", "grade", "purpose", "emp_length", "branch"]
BAD = {
    "amount": ["abc", "-5", "", "nan", "1e999", "1_0"],
    "int_rate": ["1.5", "13%"],
    "grade": ["", "x" * 300],
    "id": ["i" * 65],
}
ODD = {"amount": [" 12000", "1.2e4", "9e9"], "purpose": ["rocket", "", "a, b", 'the "boat"'], "branch": ["a\nb", "é"]}

DRIVER = """
import os, signal, sys
from portfolio.__main__ main_import
from portfolio.files import readers, spans, writers
from portfolio.job import assembly, checkpoint
spans.CHUNK_BYTES = readers.HEADER_BYTES = 3000
left = int(sys.argv.pop(1))

def counted(call):
    def wrapped(*arguments):
        global left
        found = call(*arguments)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    return wrapped

checkpoint.Checkpoint._append = counted(checkpoint.Checkpoint._append)
writers.Output.copy = counted(writers.Output.copy)
assembly.os = type("os", (), {**vars(os), "replace": staticmethod(counted(os.replace))})
sys.exit(main(sys.argv[1:]))
""".replace("main_import", "import main")

STEPS = 14  # of the run that is killed: the job, five chunks noted and copied, that it is finished, two renames


def drive(left: int, book: Path, out: Path, model: Path) -> subprocess.CompletedProcess[str]:
    """Run with small chunks, and kill the run after ``left`` steps; 0 lets it end."""
    options = ["--model", model, "--workers", "1", "--quiet", "--json"]
    command = [sys.executable, "-c", DRIVER, left, book, out, *options]
    return subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=60)


def make_rows(rows: int, seed: int = 1, bad: float = 0.05) -> list[list[str]]:
    """Rows of a small book; about one in twenty has something in it that cannot be scored."""
    rng = random.Random(seed)
    found = []
    for i in range(rows):
        row = {
            "id": f"L-{i}",
            "amount": str(rng.randrange(10, 400) * 100),
            "int_rate": str(round(rng.uniform(0.05, 0.3), 4)),
            "grade": rng.choice("ABCD"),
            "purpose": rng.choice(["boat", "car", "house"]),
            "emp_length": rng.choice(["", *map(str, range(11))]),
            "branch": rng.choice(["Köln", "Süd, Ost"]),
        }
        for odd, share in ((ODD, 0.1), (BAD, bad)):
            if rng.random() < share:
                name = rng.choice(list(odd))
                row[name] = rng.choice(odd[name])
        found.append(list(row.values()))
        if rng.random() < bad / 5:
            found[-1] = found[-1][: rng.randrange(1, 7)]
    return found


def write_csv(path: Path, rows: list[list[str]]) -> Path:
    text = io.StringIO()
    csv.writer(text).writerows([NAMES, *rows])
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    return path


def score(*arguments: object, code: int = 0) -> Any:
    """Run the command and parse its summary; of a failure, the error."""
    command = [sys.executable, "-m", "portfolio", *map(str, arguments), "--json", "--quiet", "--workers", "2"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == code, ran.stderr
    assert "Traceback" not in ran.stderr
    return json.loads(ran.stdout) if code in (0, 3) else json.loads(ran.stderr)["error"]


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline="")))


def test_the_answers_are_the_apis(serving: System, bundles: list[Made], tmp_path: Path) -> None:
    """Row by row, bit by bit, word by word: what the API answers to a CSV is in the output or among the rejected rows."""
    book = write_csv(tmp_path / "book.csv", make_rows(2000))
    headers = {"Content-Type": "text/csv"}
    status, _, body = ask(serving.port, "POST", "/predict", book.read_bytes(), headers)
    assert status == 200
    answers = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    summary = score(book, tmp_path / "scored.csv", "--model", bundles[0].path)
    good = [answer for answer in answers if not answer["error"]]
    bad = {i: answer["error"] for i, answer in enumerate(answers, 1) if answer["error"]}
    assert (summary["rows"], summary["scored"], summary["rejected"]) == (2000, len(good), len(bad))
    assert len(bad) > 80
    scored = read_csv(tmp_path / "scored.csv")
    for row, answer in zip(scored, good, strict=True):
        assert float(row["probability"]) == float(answer["probability"])
        same = [*NAMES, "prediction", "band", "reasons", "warnings", "model_version"]
        assert [row[name] for name in same] == [answer[name] for name in same]
    assert any(row["warnings"] for row in scored)
    rejected = read_csv(tmp_path / "scored.csv.rejected.csv")
    assert {int(row["row"]): row["error"] for row in rejected} == bad
    lines = book.read_text("utf-8").split("\n")
    for row in rejected:
        record = json.loads(row["record"])
        first = record[0] if isinstance(record, list) else record["id"]
        assert lines[int(row["line"]) - 1].startswith(first)
        assert row["pointer"].startswith("/") == isinstance(record, dict)
    table = tmp_path / "scored.parquet"
    score(book, table, "--model", bundles[0].path)
    typed = pq.read_table(table)
    assert typed["probability"].to_pylist() == [float(answer["probability"]) for answer in good]
    for name in ("id", "grade", "purpose", "branch", "band", "reasons", "warnings"):
        assert typed[name].to_pylist() == [answer[name] for answer in good]
    assert typed.schema.field("amount").type == pa.float64()
    assert typed.schema.field("reasons").type == pa.string()
    facts = typed.schema.metadata
    assert facts[b"model_version"].decode() == bundles[0].sha256
    assert (facts[b"rows"], facts[b"input"]) == (b"2000", b'["book.csv"]')


def test_parquet_in_is_csv_in(bundles: list[Made], tmp_path: Path) -> None:
    """The same values give the same bits, however they are stored; other columns come out as they were."""
    frame = bundles[0].frame.assign(when=np.datetime64("2026-09-30"), own=range(1500))
    frame.to_parquet(tmp_path / "book.parquet", row_group_size=400)
    frame.to_csv(tmp_path / "book.csv", index=False)
    score(tmp_path / "book.parquet", tmp_path / "a.parquet", "--model", bundles[0].path)
    score(tmp_path / "book.csv", tmp_path / "b.parquet", "--model", bundles[0].path)
    a, b = pq.read_table(tmp_path / "a.parquet"), pq.read_table(tmp_path / "b.parquet")
    assert len(a) == 1500
    for name in ("prediction", "probability", "band", "reasons", "warnings", "amount", "emp_length"):
        assert a[name].to_pylist() == b[name].to_pylist()
    model = bundle.read(bundles[0].path)
    values = frame[list(model.schema.names)].astype(object).where(frame[list(model.schema.names)].notna(), None)
    single = [model.answer(row) for row in values.values.tolist()]
    assert a["probability"].to_pylist() == [answer.predict_proba[1] for answer in single]
    assert a["reasons"].to_pylist() == [" | ".join(r["text"] for r in answer.reasons or ()) for answer in single]
    read = pq.read_table(tmp_path / "book.parquet")
    assert a.select(read.schema.names).equals(read)


@pytest.mark.slow
@pytest.mark.parametrize("kill", range(1, STEPS + 1))
def test_a_run_that_is_killed_goes_on(bundles: list[Made], tmp_path: Path, kill: int) -> None:
    """Killed with SIGKILL after any step, the same command ends with the same bytes and scores nothing twice."""
    book = write_csv(tmp_path / "book.csv", make_rows(400))
    whole = json.loads(drive(0, book, tmp_path / "whole.parquet", bundles[0].path).stdout)
    assert drive(kill, book, tmp_path / "scored.parquet", bundles[0].path).returncode == -signal.SIGKILL
    journal = tmp_path / "scored.parquet.parts" / "journal.jsonl"
    noted = [json.loads(line) for line in journal.read_text("utf-8").splitlines()]
    if kill < STEPS:
        assert not (tmp_path / "scored.parquet").exists()
    with journal.open("ab") as torn:
        torn.write(b'{"number": 99, "sour')
    ran = drive(0, book, tmp_path / "scored.parquet", bundles[0].path)
    assert ran.returncode == 0, ran.stderr
    summary = json.loads(ran.stdout)
    assert summary["resumed"] == sum(entry.get("rows", 0) for entry in noted)
    assert {k: summary[k] for k in ("rows", "scored", "rejected")} == {
        k: whole[k] for k in ("rows", "scored", "rejected")
    }
    for name in ("{}.parquet", "{}.parquet.rejected.csv"):
        assert len({(tmp_path / name.format(which)).read_bytes() for which in ("whole", "scored")}) == 1
    assert not [path.name for path in tmp_path.iterdir() if "parts" in path.name or "unfinished" in path.name]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_what_a_power_cut_left_is_scored_again(bundles: list[Made], tmp_path: Path, ending: str) -> None:
    """A part or a piece of the output that is not as it was written, and lines of the journal that are not whole."""
    book = write_csv(tmp_path / "book.csv", make_rows(400))
    out = tmp_path / f"scored.{ending}"
    whole = json.loads(drive(0, book, tmp_path / f"whole.{ending}", bundles[0].path).stdout)
    assert drive(STEPS - 3, book, out, bundles[0].path).returncode == -signal.SIGKILL
    made = tmp_path / f".scored.{ending}.unfinished"
    content = bytearray(made.read_bytes())
    content[len(content) // 2] ^= 1
    made.write_bytes(content + b"more")
    for part in (tmp_path / f"{out.name}.parts").glob("*.part"):
        part.write_bytes(bytes(part.stat().st_size))
    with (tmp_path / f"{out.name}.parts" / "journal.jsonl").open("ab") as journal:
        journal.write(bytes(40) + b"\n")
    ran = drive(0, book, out, bundles[0].path)
    assert ran.returncode == 0, ran.stderr
    assert 0 < json.loads(ran.stdout)["resumed"] < whole["rows"]
    for name in ("{}." + ending, "{}." + ending + ".rejected.csv"):
        assert len({(tmp_path / name.format(which)).read_bytes() for which in ("whole", "scored")}) == 1


def test_what_changed_is_not_gone_on_with(bundles: list[Made], tmp_path: Path) -> None:
    """Other input, other model, other options: refused, saying which; --fresh starts anew."""
    book = write_csv(tmp_path / "book.csv", make_rows(400))
    out = tmp_path / "scored.csv"
    command = [sys.executable, "-c", DRIVER, "3", book, out, "--model", bundles[0].path]
    assert subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True).returncode == -signal.SIGKILL
    error = score(book, out, "--model", bundles[1].path, code=1)
    assert "was begun with another model" in error
    write_csv(book, make_rows(401))
    error = score(book, out, "--model", bundles[0].path, "--no-reasons", code=1)
    assert "another input and option" in error
    assert "--fresh" in error
    assert score(book, out, "--model", bundles[0].path, "--fresh")["rows"] == 401


def test_directories(bundles: list[Made], tmp_path: Path) -> None:
    """A directory becomes a directory with the same names, or one file; each row is somewhere."""
    (tmp_path / "in" / "q2").mkdir(parents=True)
    write_csv(tmp_path / "in" / "a.csv", make_rows(100, 1, 0.2))
    write_csv(tmp_path / "in" / "q2" / "b.csv", make_rows(50, 2, 0.2))
    (tmp_path / "in" / "_notes.txt").write_text("not a book", "utf-8")
    summary = score(tmp_path / "in", tmp_path / "out", "--model", bundles[0].path, "--format", "parquet")
    parts = [pq.read_table(tmp_path / "out" / name) for name in ("a.parquet", "q2/b.parquet")]
    assert sum(map(len, parts)) == summary["scored"]
    assert [int(part.schema.metadata[b"rows"]) for part in parts] == [100, 50]
    rejected = read_csv(tmp_path / "out.rejected.csv")
    assert len(rejected) == summary["rejected"] == 150 - summary["scored"]
    assert {row["file"] for row in rejected} == {"a.csv", "q2/b.csv"}
    assert score(tmp_path / "in", tmp_path / "one.parquet", "--model", bundles[0].path)["scored"] == summary["scored"]
    together = pq.read_table(tmp_path / "one.parquet")
    assert together["id"].to_pylist() == [own for part in parts for own in part["id"].to_pylist()]
    assert "remove it first" in score(tmp_path / "in", tmp_path / "out", "--model", bundles[0].path, code=1)


def test_what_cannot_be_scored_is_refused_in_one_line(bundles: list[Made], tmp_path: Path) -> None:
    """Before a row is read, with nothing left behind."""
    book = write_csv(tmp_path / "book.csv", make_rows(5))
    model = ["--model", bundles[0].path]
    taken = tmp_path / "there.csv"
    taken.write_text("mine", "utf-8")
    (tmp_path / "wrong.csv").write_text("amount,int_rate,grade,purpose,emp_lenght,band\n", "utf-8")
    (tmp_path / "empty.csv").write_text("", "utf-8")
    (tmp_path / "no.parquet").write_text("no", "utf-8")
    pq.write_table(
        pa.table({"amount": ["1"], "int_rate": [0.1], "grade": ["A"], "purpose": ["car"]}), tmp_path / "t.parquet"
    )
    for arguments, words in [
        ([tmp_path / "none.csv", tmp_path / "o.csv"], "does not exist"),
        ([book, tmp_path / "o.xlsx"], "must end in .parquet or .csv"),
        ([book, taken], "exists; pass --force"),
        ([tmp_path / "wrong.csv", tmp_path / "o.csv"], "did you mean `emp_length`?"),
        ([tmp_path / "wrong.csv", tmp_path / "o.csv"], "band: is a column that the answer adds"),
        ([tmp_path / "empty.csv", tmp_path / "o.csv"], "is empty"),
        ([tmp_path / "no.parquet", tmp_path / "o.csv"], "is not Parquet"),
        ([tmp_path / "t.parquet", tmp_path / "o.csv"], "amount: must be numbers, not string"),
        ([book, tmp_path / "o.csv", "--sha256", "0" * 64], "SHA-256 mismatch"),
        ([book, tmp_path / "o.csv", "--signed", tmp_path / "key.pem"], "key.pem"),
        ([book, "gs://bucket/o.csv"], "must be a path or s3://bucket/key"),
    ]:
        assert words in score(*arguments, *model, code=1)
    assert taken.read_text("utf-8") == "mine"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(("o.", "."))]
    assert score(book, taken, *model, "--force")["rows"] == 5


def test_strict_and_signed(bundles: list[Made], tmp_path: Path) -> None:
    """--strict answers rejected rows with exit code 3, after writing everything; --signed accepts what a trusted key signed."""
    book = write_csv(tmp_path / "book.csv", [*make_rows(5, bad=0), ["L", "-1", "0.1", "A", "car", "", ""]])
    signed = tmp_path / "signed.bundle"
    shutil.copy(bundles[0].path, signed)
    statement.make_keys(tmp_path / "private.pem", tmp_path / "public.pem")
    options = ["--model", signed, "--signed", tmp_path / "public.pem", "--strict"]
    assert "the model is not signed" in score(book, tmp_path / "o.csv", *options, code=1)
    statement.sign_file(signed, tmp_path / "private.pem")
    assert score(book, tmp_path / "o.csv", *options, code=3)["rejected"] == 1
    assert len(read_csv(tmp_path / "o.csv")) == 5


def test_pandas_is_left_out(bundles: list[Made], tmp_path: Path) -> None:
    """No process of a run imports it, although Arrow would; in a process that allows pickles, it is there for pipelines."""
    (tmp_path / "pandas.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('imported').touch()\n", "utf-8"
    )
    book = write_csv(tmp_path / "book.csv", make_rows(50))
    command = [sys.executable, "-m", "portfolio", book, tmp_path / "o.parquet", "--model", bundles[0].path, "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for options, imported in (([], False), (["--force", "--allow-pick"], True)):  # as argparse lets it be shortened
        subprocess.run([*map(str, command), *options], cwd=ROOT, env=environment, capture_output=True)
        assert (tmp_path / "imported").exists() == imported
    assert pq.read_metadata(tmp_path / "o.parquet").num_rows > 0
