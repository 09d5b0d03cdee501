"""Takes from a process what code that nobody has approved must not have: secrets, other people's files, the network.

Unpickling a model runs its code. :func:`environment` is for the process that does it first, and :func:`close` is called in it
before the first byte of the model is read. Linux gives each part where it can: another user needs root, Landlock needs
Linux 5.13, and the filter of system calls needs a processor that :data:`CALLS` knows.

``python -m services.sandbox FILE MODULE ARGUMENTS…`` runs a module in this way: it reads FILE, and HOME is its own directory.
"""

from __future__ import annotations

import ctypes
import os
import platform
import runpy
import struct
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

KEPT = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONHASHSEED",
    "PYTHONDONTWRITEBYTECODE",
    "LD_LIBRARY_PATH",
    "LANG",
    "TZ",
)
NOBODY = 65534
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/dev", "/opt")  # may be read
SHARED = ("/dev/null", "/dev/shm")  # may be written, too: pools of processes need it

NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
NEW_NETWORK = 0x40000000
CAPABILITIES = 0x20080522  # the version of the interface
# socket, ptrace, process_vm_readv, process_vm_writev, io_uring_setup, pidfd_getfd
CALLS = {
    "x86_64": (0xC000003E, (41, 101, 310, 311, 425, 438)),
    "aarch64": (0xC00000B7, (198, 117, 270, 271, 425, 438)),
}
FORBIDDEN = 0x00050000 | 1  # the call fails with EPERM
ALLOWED = 0x7FFF0000
X32 = 0x40000000  # numbers of another interface of x86_64 to the same calls
READ_FILES = 0b1101  # execute, read a file, list a directory
ALL_FILES = (1 << 13) - 1  # all that the first version of Landlock knows
TRUNCATE = 1 << 14
CREATE_RULES, ADD_RULE, RESTRICT = 444, 445, 446
PATH_FD = getattr(os, "O_PATH", 0) | os.O_CLOEXEC


def environment(home: Path, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of such a process: where programs are and how texts are read, and ``home`` for its files."""
    source = os.environ if given is None else given
    kept = {name: value for name, value in source.items() if name in KEPT or name.startswith("LC_")}
    return {**kept, "HOME": str(home), "TMPDIR": str(home), "OPENBLAS_NUM_THREADS": "1"}


def close(home: Path, readable: Iterable[Path] = (), other_user: bool = True) -> tuple[str, ...]:
    """Close this process in, for ever, and return which of ``user``, ``network``, ``files`` and ``calls`` are closed.

    It works in ``home`` from now on, and writes only there. It reads the system's and Python's files, and those in ``readable``.
    Another user is taken only where this process is root's and that user can read Python's files and reach ``home``. Systems
    other than Linux close nothing.
    """
    if sys.platform != "linux":
        os.chdir(home)
        return ()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    closed = []
    if libc.unshare(NEW_NETWORK) == 0:
        closed.append("network")
    if other_user and os.geteuid() == 0 and _drop(home):
        closed.append("user")
    os.chdir(home)
    if _restrict_files(libc, home, readable):
        closed.append("files")
    libc.capset(struct.pack("<Ii", CAPABILITIES, 0), bytes(24))  # root is nobody special from now on
    if _filter_calls(libc):
        closed.append("calls")
    return tuple(closed)


def _drop(home: Path) -> bool:
    """Become nobody, where nobody can read Python's files and reach ``home``."""
    needed, groups = _python(), os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    reads = all(os.access(path, os.R_OK | os.X_OK, effective_ids=True) for path in needed)
    reads = reads and os.access(home.parent, os.X_OK, effective_ids=True)
    os.seteuid(0)
    os.setegid(0)
    if not reads:
        os.setgroups(groups)
        return False
    os.chown(home, NOBODY, NOBODY)
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    return True


def _python() -> list[str]:
    """The directories that Python imports from, and those to which links in them lead: some installers link each file."""
    found = (sys.prefix, sys.base_prefix, *sys.path, *os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    places = [path for path in dict.fromkeys(found) if path and os.path.isdir(path)]
    linked = [os.path.join(path, name) for path in sys.path if os.path.isdir(path) for name in os.listdir(path)]
    packages = [path for path in linked if os.path.islink(path) and os.path.exists(os.path.join(path, "__init__.py"))]
    files = [getattr(module, "__file__", None) for module in [*sys.modules.values()]]
    loaded = [os.path.dirname(os.path.realpath(file)) for file in files if file]
    known = [*SYSTEM, *map(os.path.realpath, places)]
    for path in sorted({*map(os.path.realpath, packages), *loaded}):
        if not any(os.path.commonpath((path, own)) == own for own in known):
            known.append(path)
            places.append(path)
    return places


def _restrict_files(libc: ctypes.CDLL, home: Path, readable: Iterable[Path]) -> bool:
    """Landlock: only the files that :func:`close` names; no other process's memory and environment either."""
    version = libc.syscall(CREATE_RULES, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    every = ALL_FILES | (TRUNCATE if version >= 3 else 0)
    # files; TCP ports to bind and to connect to; abstract sockets and signals of others: as far as this kernel knows them
    handled = struct.pack("<QQQ", every, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    rules = libc.syscall(CREATE_RULES, handled, ctypes.c_size_t(8 if version < 4 else 16 if version < 6 else 24), 0)
    if rules < 0:
        return False
    writable = (str(home), *SHARED)
    for path in (*SYSTEM, *_python(), *map(str, readable), *writable):
        _allow(libc, rules, path, every if path in writable else READ_FILES)
    done = libc.syscall(RESTRICT, rules, 0) == 0
    os.close(rules)
    return bool(done)


def _allow(libc: ctypes.CDLL, rules: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, PATH_FD)
    except OSError:
        return
    if not os.path.isdir(path):
        access &= 0b111 | TRUNCATE  # execute, write and read: the rest is for directories
    rule = struct.pack("<Qi", access, descriptor)
    if libc.syscall(ADD_RULE, rules, 1, rule, 0) != 0 and access & TRUNCATE:
        libc.syscall(ADD_RULE, rules, 1, struct.pack("<Qi", access & ~TRUNCATE, descriptor), 0)
    os.close(descriptor)


def _filter_calls(libc: ctypes.CDLL) -> bool:
    """Let no socket be opened, and no other process be looked into: a filter that this process's children inherit."""
    if platform.machine() not in CALLS or sys.maxsize < 1 << 32:
        return False
    machine, calls = CALLS[platform.machine()]
    load, equal, at_least, end = 0x20, 0x15, 0x35, 0x06
    last = len(calls) + 5  # where it ends with FORBIDDEN; a jump counts from the next line
    program = [
        (load, 0, 0, 4),  # the kind of processor
        (equal, 0, last - 2, machine),
        (load, 0, 0, 0),  # the number of the call
        (at_least, last - 4, 0, X32),
        *((equal, last - 5 - i, 0, call) for i, call in enumerate(calls)),
        (end, 0, 0, ALLOWED),
        (end, 0, 0, FORBIDDEN),
    ]
    packed = b"".join(struct.pack("<HBBI", *line) for line in program)
    kept = ctypes.create_string_buffer(packed, len(packed))
    header = struct.pack("@HxxxxxxP", len(program), ctypes.addressof(kept))
    return bool(libc.prctl(SECCOMP, FILTER, header, 0, 0) == 0)


def main(arguments: list[str]) -> None:
    """Close this process in, and run a module."""
    file, module, *rest = arguments
    close(Path(os.environ["HOME"]), [Path(file)], other_user=False)
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
