"""What a process that is closed in cannot do, as far as this kernel closes it in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services import sandbox
from tests.integration.system import ROOT

TRY = """
import json, os, sys
from pathlib import Path
from services import sandbox
home, secret, given = map(Path, sys.argv[1:4])
opened = given.open()
closed = sandbox.close(home, [given], other_user=sys.argv[4] == "other")
def tried(name, do):
    try:
        do()
    except OSError as error:
        return type(error).__name__
    return "done"
import socket, sklearn  # whatever is imported later, too
found = {
    "closed": closed,
    "socket": tried("socket", socket.socket),
    "pair": tried("pair", socket.socketpair),
    "secret": tried("secret", secret.read_text),
    "elsewhere": tried("elsewhere", lambda: (secret.parent / "new").write_text("")),
    "given": tried("given", given.read_text),
    "opened": opened.read(),
    "home": tried("home", lambda: Path("file").write_text("")),
    "parent": tried("parent", Path(f"/proc/{os.getppid()}/environ").read_bytes),
    "signal": tried("signal", lambda: os.kill(os.getppid(), 0)),
    "user": os.getuid(),
    "names": sorted(os.environ),
}
print(json.dumps(found))
"""


def closed_in(tmp_path: Path, user: str) -> dict[str, object]:
    home, secret, given = tmp_path / "home", tmp_path / "secret", tmp_path / "given"
    home.mkdir()
    secret.write_text("a borrower", encoding="utf-8")
    given.write_text("a model", encoding="utf-8")
    given.chmod(0o600)
    environment = sandbox.environment(home, {**os.environ, "PREDICTION_LOG_URL": "secret", "LC_TIME": "C"})
    done = subprocess.run(
        [sys.executable, "-c", TRY, str(home), str(secret), str(given), user],
        env={**environment, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        timeout=60,
        check=True,
    )
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("user", ["same", "other"])
def test_a_process_that_is_closed_in(tmp_path: Path, user: str) -> None:
    """Its own directory and what it was given remain, and what was open before."""
    found = closed_in(tmp_path, user)
    closed = found["closed"]
    assert isinstance(closed, list)
    assert (found["opened"], found["home"], found["pair"]) == ("a model", "done", "done")
    assert found["given"] == "done" or "user" in closed
    if "calls" in closed:
        assert found["socket"] == "PermissionError"
    if "files" in closed:
        assert (found["secret"], found["elsewhere"], found["parent"]) == ("PermissionError",) * 3
    assert "PREDICTION_LOG_URL" not in str(found["names"])
    assert {"HOME", "LC_TIME", "PATH", "TMPDIR"} <= set(found["names"])  # type: ignore[call-overload]
    assert ("user" in closed) == (found["user"] == sandbox.NOBODY)
    if user == "same":
        assert found["user"] == os.getuid()


def test_a_package_that_is_linked_can_be_read(tmp_path: Path) -> None:
    """The project's, and one whose files are links; what else is where they lead to is not opened."""
    real, place, home = tmp_path / "real", tmp_path / "place", tmp_path / "home"
    for folder in (real / "whole", real / "store" / "some", place / "some", home):
        folder.mkdir(parents=True)
    for package in (real / "whole", real / "store" / "some"):
        (package / "__init__.py").write_text("", encoding="utf-8")
        (package / "words.txt").write_text("read", encoding="utf-8")
    (real / "secret").write_text("a borrower", encoding="utf-8")
    (place / "whole").symlink_to(real / "whole")
    for file in (real / "store" / "some").iterdir():
        (place / "some" / file.name).symlink_to(file)
    program = f"""
import some, sys
from pathlib import Path
from services import sandbox
closed = sandbox.close(Path({str(home)!r}), other_user=False)
import whole
for package in (some, whole):
    print(Path(package.__file__).with_name("words.txt").read_text())
try:
    print(Path({str(real / "secret")!r}).read_text())
except OSError:
    print("closed")
print("files" in closed)
"""
    environment = {**sandbox.environment(home), "PYTHONPATH": os.pathsep.join([str(place), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, timeout=60, check=True)
    *read, secret, files = done.stdout.decode().split()
    assert read == ["read", "read"]
    assert files == "False" or secret == "closed"


@pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine not in sandbox.CALLS, reason="no filter for this machine"
)
def test_this_machine_filters_calls(tmp_path: Path) -> None:
    """Every Linux that containers run on does: the test above would prove nothing else."""
    closed = closed_in(tmp_path, "same")["closed"]
    assert isinstance(closed, list)
    assert "calls" in closed


def test_a_module_is_run_closed_in(tmp_path: Path) -> None:
    """With its arguments and its exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "services.sandbox", str(tmp_path / "x"), "modelbundle", "check", str(tmp_path / "x")],
        env=sandbox.environment(tmp_path),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert b"No such file" in done.stderr


def test_another_system_closes_nothing_and_models_are_rehearsed_all_the_same(tmp_path: Path) -> None:
    """It has none of the calls."""
    program = """
import ctypes, sys
from pathlib import Path
sys.platform, ctypes.CDLL = "darwin", None
from services import sandbox
assert sandbox.close(Path(sys.argv[1])) == ()
assert Path.cwd() == Path(sys.argv[1])
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
