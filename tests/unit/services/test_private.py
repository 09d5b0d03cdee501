"""Files for this user only: also those that were there, and none of anybody else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from services import private

MAKE = """
import os, sys
from pathlib import Path
from modelbundle.durable import Disk
from services import supervisor
from services.predict.rollout.roster import LeaderLock, WorkerEntry
from services.predict.rollout.state_dir import StateDir
from services.predictionlog import database
from services.predictionlog.challenger_queue import Queue
from services.predictionlog.spool import Writer
root = Path(sys.argv[1])
os.umask(int(sys.argv[2], 8))
store = StateDir(root / "a" / "state")
store.begin_session(), LeaderLock.take(store), WorkerEntry(store), store.settle(), store.disk.write_file(store.root / "x", b"")
writer = Writer(root / "data" / "spool", 1 << 20)
queue = Queue.of_spool(root / "data" / "spool")
queue.open()
path = root / "data" / "one.segment"
path.touch(0o600)
path.write_bytes(b"x" * (1 << 20))
queue.max_bytes = 1
queue.offer(path, 7)
supervisor.take(root / "b" / "lock")
database.migrate(database.connect(f"sqlite:///{root}/c.sqlite"))
"""


@pytest.mark.parametrize("umask", ["000", "077", "022"])
def test_each_maker_of_files_makes_them_private(tmp_path: Path, umask: str) -> None:
    """Also by itself, in a process that set no umask."""
    subprocess.run([sys.executable, "-c", MAKE, str(tmp_path), umask], check=True)
    found = {str(path.relative_to(tmp_path)): oct(path.stat().st_mode & 0o777) for path in tmp_path.rglob("*")}
    assert {name for name, mode in found.items() if mode not in ("0o600", "0o700")} == set()
    assert {"a/state/leader.lock", "data/challenger/queue", "data/challenger/dropped.json", "c.sqlite"} <= {*found}


def test_what_is_there_is_closed_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    """Links are not followed; a directory that all share stays shared."""
    root, other = tmp_path / "data", tmp_path / "other"
    (root / "spool" / "old").mkdir(parents=True)
    (root / "spool" / "old" / "1.segment").touch(0o644)
    (root / "notes.txt").touch(0o644)
    (root / "notes.txt").chmod(0o644)
    other.mkdir()
    (other / "theirs").touch()
    (other / "theirs").chmod(0o644)
    (root / "spool" / "link").symlink_to(other / "theirs")
    (root / "spool" / "place").symlink_to(other)
    root.chmod(0o755)
    private.tighten(root, ("spool", "absent", "*.sqlite"))
    modes = {path.name: path.stat().st_mode & 0o777 for path in (root, *root.rglob("*"))}
    assert (modes["data"], modes["spool"], modes["old"], modes["1.segment"]) == (0o700, 0o700, 0o700, 0o600)
    assert (modes["notes.txt"], (other / "theirs").stat().st_mode & 0o777) == (0o644, 0o644)
    root.chmod(0o1777)
    private.tighten(root, ())
    assert root.stat().st_mode & 0o7777 == 0o1777


def test_a_process_writes_no_core(tmp_path: Path) -> None:
    """Nor a process that it starts; not even one that Linux would hand to a program."""
    begin = "from services import private; private.begin(); "
    code = f"import subprocess, sys; {begin}subprocess.run([sys.executable, '-c', sys.argv[1]])"
    limits = "[resource.getrlimit(resource.RLIMIT_CORE), os.umask(0)]"
    crash = f"import json, os, resource; print(json.dumps({limits}), flush=True); os.abort()"
    ran = subprocess.run([sys.executable, "-c", code, crash], capture_output=True, text=True, check=True)
    cores, umask = json.loads(ran.stdout)
    assert max(cores) <= 1
    assert umask == 0o077
