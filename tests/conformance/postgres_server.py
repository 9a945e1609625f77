"""A PostgreSQL of the tests' own: made by initdb in a short temporary folder, reached over a Unix socket only.

`stop`, `kill` and `start` play its crashes. PostgreSQL refuses to run as root, so as root it runs as another user.
"""

from __future__ import annotations

import os
import pwd
import select
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Sequence

START_SECONDS = 60
MEMORY, LEAST_MEMORY = Path("/dev/shm"), 2 << 30  # noqa: S108 - a folder of its own is made in it
USERS = ("postgres", "nobody")
"""Who runs it where the tests run as root."""

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "lc_messages": "C",
    "dynamic_shared_memory_type": "mmap",  # in files of its own folder, which go with it
    "autovacuum_naptime": "1d",
    "restart_after_crash": "on",
}


def find_programs() -> Path | None:
    """Find the folder that holds initdb and postgres, the newest first; None where PostgreSQL is not installed."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda each: -int(each.parent.name))
    on_path = shutil.which("initdb")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    return next((folder for folder in folders if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


class PostgresServer:
    """One server with its own data folder. Its superuser is `postgres`; nobody needs a password.

    It lies in memory where there is room: crashes of software lose nothing there either. Give a `folder` on a disk for
    what is about disks.
    """

    def __init__(self, programs: Path, folder: Path | None = None) -> None:
        """Make the data folder; `start` starts it."""
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="pg", dir=folder or _quick_folder()))
        self._as_user: dict[str, object] = {}
        if os.getuid() == 0:
            user = next(pwd.getpwnam(name) for name in USERS if _is_user(name))
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.data = self.folder / "data"
        self.said: deque[str] = deque(maxlen=10_000)
        self._process: subprocess.Popen[str] | None = None
        self._is_ready = threading.Event()
        self._numbers = count(1)
        self._databases: list[str] = []
        make = ("-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--data-checksums")
        self.run("initdb", *make, "--no-sync", "--no-instructions")
        settings = {**SETTINGS, "unix_socket_directories": str(self.folder)}
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        is_ready = self._is_ready = threading.Event()
        process = self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", str(self.data)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=self.folder,
            **self._as_user,  # type: ignore[call-overload]
        )
        threading.Thread(target=self._listen, args=(process, is_ready), daemon=True).start()
        if not is_ready.wait(START_SECONDS) or process.poll() is not None:
            message = "PostgreSQL did not start:\n" + "\n".join(self.said)
            raise RuntimeError(message)

    def stop(self, *, is_immediate: bool = False) -> None:
        """Stop it: with a checkpoint, or at once as in a crash of the software."""
        assert self._process is not None
        children = self._children()
        self._process.send_signal(signal.SIGQUIT if is_immediate else signal.SIGINT)
        self._process.wait(START_SECONDS)
        _wait_for_end(children)

    def kill(self) -> None:
        """Kill it and all its children with SIGKILL, and clear away what keeps the next start from happening."""
        assert self._process is not None
        children = self._children()
        for pid in (self._process.pid, *children):
            _kill(pid)
        self._process.wait(START_SECONDS)
        _wait_for_end(children)
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for lock in self.folder.glob(".s.PGSQL.*"):
            lock.unlink()

    def kill_backend(self, pid: int) -> None:
        """Kill one backend with SIGKILL: the server throws every connection out, recovers and goes on."""
        self._is_ready.clear()
        _kill(pid)
        assert self._is_ready.wait(START_SECONDS), "\n".join(self.said)

    def destroy(self) -> None:
        """Stop it and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            self.stop(is_immediate=True)
        shutil.rmtree(self.folder)

    def take_database(self) -> str:
        """Give the name of a database that has no schema of ours."""
        if self._databases:
            return self._databases.pop()
        name = f"log{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def give_back(self, database: str) -> None:
        """Make a database as new, for the next who takes one."""
        self.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database])
        for schema in ("log", "keys"):
            self.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE", database=database)
        self._databases.append(database)

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """Give the address of a database for a user."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def execute(
        self, query: str, values: Sequence[object] = (), database: str = "postgres"
    ) -> list[tuple[object, ...]]:
        """Run one statement as superuser; give its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(query.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def set(self, name: str, value: str | None) -> None:
        """Change a setting of the running server, or with None set it back; returns once it is in force."""
        self.execute(f"ALTER SYSTEM SET {name} = '{value}'" if value is not None else f"ALTER SYSTEM RESET {name}")
        self._reload()

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs, as the user who runs the server."""
        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            capture_output=True,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            **self._as_user,  # type: ignore[call-overload]
        )

    def _reload(self) -> None:
        """Have the server read its settings; a connection opened after it did sees them."""
        before = self.execute("SELECT pg_conf_load_time()")
        self.execute("SELECT pg_reload_conf()")
        while self.execute("SELECT pg_conf_load_time()") == before:
            pass

    def _listen(self, process: subprocess.Popen[str], is_ready: threading.Event) -> None:
        assert process.stderr is not None
        with process.stderr:
            for line in process.stderr:
                self.said.append(line.rstrip())
                if "database system is ready to accept" in line:
                    is_ready.set()
        is_ready.set()

    def _children(self) -> list[int]:
        assert self._process is not None
        pids = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                words = stat.read_text(errors="replace").rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            if int(words[1]) == self._process.pid:
                pids.append(int(stat.parent.name))
        return pids


def _quick_folder() -> Path | None:
    """Give a folder in memory; None where there is none, or little of it."""
    is_there = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > LEAST_MEMORY
    return MEMORY if is_there else None


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _wait_for_end(pids: Sequence[int]) -> None:
    """Wait until processes that are not our children have ended."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            ended, _, _ = select.select([descriptor], [], [], START_SECONDS)
            assert ended, f"process {pid} does not end"
        finally:
            os.close(descriptor)
