"""Starting servers from tests: unprivileged accounts, free ports, scratch folders, and no orphans."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_GIB = 1024**3
_PREFIX = "flue-test-"
_OWNER = "owner.pid"
_handed_out: set[int] = set()
# setpriv's --pdeathsig fires when the *thread* that started the server ends, so all servers are started from one thread
# that lives as long as the process. That lets a test restart a server from whatever thread it likes.
_keeper = ThreadPoolExecutor(max_workers=1, thread_name_prefix="server-keeper")


def in_keeper_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``function`` in the thread whose life is the test process's life."""
    return _keeper.submit(function, *args, **kwargs).result()


def spawn(command: Sequence[str], *, log: Path) -> subprocess.Popen[bytes]:
    """Start a server whose output goes to ``log`` and that dies with this process."""

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen([*dies_with_us(), *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    return in_keeper_thread(start)


def dies_with_us() -> list[str]:
    """A command prefix that makes the kernel end a child when our process is gone."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def account(*candidates: str) -> pwd.struct_passwd | None:
    """The unprivileged account that a server runs under when we are root; None when we are not."""
    if os.geteuid() != 0:
        return None
    for name in (*candidates, "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


def as_account(user: pwd.struct_passwd | None, *, death_signal: str = "INT") -> list[str]:
    """A command prefix that drops root; ``setpriv`` execs, so pid and signals stay right."""
    setpriv = shutil.which("setpriv")
    if user is None:
        return [setpriv, "--pdeathsig", death_signal, "--"] if setpriv else []
    if setpriv is None:
        raise FileNotFoundError("setpriv (package util-linux) is needed to start a database server as root")
    return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig", death_signal, "--"]


def scratch(prefix: str, owner: pwd.struct_passwd | None = None) -> Path:
    """A new folder for a server's data: in memory where there is room for it, else in the temporary folder."""
    root = Path(_scratch_root())
    _remove_abandoned(root)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{prefix}-", dir=root))
    folder.chmod(0o755)
    (folder / _OWNER).write_text(str(os.getpid()))
    if owner is not None:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    return folder


@lru_cache(maxsize=1)
def _remove_abandoned(root: Path) -> None:
    """Remove what test processes left behind that were killed before they could."""
    for note in root.glob(f"{_PREFIX}*/{_OWNER}"):
        try:
            os.kill(int(note.read_text()), 0)
        except ProcessLookupError:
            shutil.rmtree(note.parent, ignore_errors=True)
        except (OSError, ValueError):
            # Somebody else's, or being made or removed at this moment.
            continue


def _scratch_root() -> str:
    chosen = os.environ.get("FLUE_TEST_SCRATCH")
    if chosen:
        return chosen
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK | os.X_OK) and shutil.disk_usage(memory).free > 4 * _GIB:
        return str(memory)
    default = tempfile.gettempdir()
    # Root's home is closed to the unprivileged account that the server runs under.
    return "/tmp" if os.geteuid() == 0 and default.startswith("/root") else default


def free_port() -> int:
    """A TCP port on loopback that nothing listens on now, and that the kernel gives to no outgoing connection.

    A port out of the kernel's own range could be the source of anybody's connection by the time that a server binds it, or while a
    test has the server stopped.
    """
    for _ in range(200):
        port = secrets.choice(_server_ports())
        if port in _handed_out:
            continue
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        _handed_out.add(port)
        return port
    raise OSError("no free port on loopback")


@lru_cache(maxsize=1)
def _server_ports() -> range:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        first = 32768
    return range(10_000, first) if first > 12_000 else range(10_000, 32_768)


def tail(log: Path, lines: int = 15) -> str:
    """The end of a server's log, for the message that says why it did not start."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
