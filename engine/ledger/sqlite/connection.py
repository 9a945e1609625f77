"""Opening a SQLite file so that what is acknowledged stays, and refusing to where that cannot be had."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import apsw

from engine.ledger.store import (
    BatchRejectedError,
    QueryTooLargeError,
    StoreBrokenError,
    StoreBusyError,
    UnsafeStoreError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST = (3, 51, 3)
WITHDRAWN = (3, 52, 0)
BUSY_MS = 5000
JOURNAL_LIMIT = 64 * 1024 * 1024
REMOTE_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "glusterfs"}
)

TOO_LARGE = ("too many SQL variables", "Expression tree is too large", "too many terms")
"""What SQLite says of a query that exceeds its limits, under the code that it also has for a damaged schema."""

_WANTED = {
    "synchronous": 3,
    "journal_mode": "wal",
    "foreign_keys": 1,
    "trusted_schema": 0,
    "cell_size_check": 1,
    "busy_timeout": BUSY_MS,
    "journal_size_limit": JOURNAL_LIMIT,
}
"""What each setting must read back as, in the order in which they are made.

In WAL, EXTRA (3) syncs at each commit; NORMAL loses acknowledged entries. It comes before WAL: with less, the rollback
journal of that change may be back after a power cut, and then SQLite rolls a log back to nothing.
"""


def check_version(version: str = "") -> None:
    """Refuse a SQLite whose write-ahead log could damage the file. Raises: UnsafeStoreError."""
    text = version or apsw.sqlite_lib_version()
    number = tuple(map(int, text.split(".")))
    if number < OLDEST or number == WITHDRAWN:
        message = f"SQLite {text} can damage a log; install apsw with SQLite 3.51.3 or newer, not 3.52.0"
        raise UnsafeStoreError(message)


def check_place(path: Path, mounts: str = "/proc/self/mountinfo") -> None:
    """Refuse a network file system, whose locks and syncs are not to be relied on. Raises: UnsafeStoreError."""
    folder = path.parent.resolve()
    kind, longest = "", -1
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split()
        place, rest = words[4], line.partition(" - ")[2].split()
        if folder.is_relative_to(place) and len(place) >= longest:
            kind, longest = rest[0], len(place)
    if kind in REMOTE_FILE_SYSTEMS:
        message = f"the log would lie on a network file system ({kind}); give a folder on a local disk"
        raise UnsafeStoreError(message)


class WriterLock:
    """Held by the one process that writes the file; the kernel lets go of it when the process ends."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises: UnsafeStoreError when another process has it."""
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            message = f"the log's lock file cannot be opened: {os.strerror(error.errno or 0).lower()}"
            raise StoreBusyError(message) from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            message = "another process writes this log; stop it first, or ask it with --server"
            raise UnsafeStoreError(message) from None

    def close(self) -> None:
        """Let go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


def connect(path: Path, *, is_writer: bool, vfs: str | None = None, autocheckpoint: int = 0) -> apsw.Connection:
    """Open a connection with every setting in force, read back.

    Raises: UnsafeStoreError, StoreBusyError, StoreBrokenError.
    """
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if is_writer else 0)
    with mapped():
        connection = apsw.Connection(str(path), flags=flags, vfs=vfs)
        connection.set_busy_timeout(BUSY_MS)
        for name, value in _WANTED.items():
            connection.pragma(name, value)
        connection.pragma("query_only", not is_writer)
        connection.wal_autocheckpoint(autocheckpoint)
        check_settings(connection)
        if is_writer:
            # What the process before could not sync can be read, and yet is not on the disk: Linux calls such pages
            # clean. Writing it all to the database, before anything is written behind it, makes it durable.
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    return connection


def check_settings(connection: apsw.Connection) -> None:
    """Refuse a connection on which a setting is not as it has to be. Raises: UnsafeStoreError."""
    for name, value in _WANTED.items():
        found = connection.pragma(name)
        if found != value:
            message = f"SQLite's `{name}` is `{found}` where `{value}` is needed to keep what is acknowledged"
            raise UnsafeStoreError(message)


@contextmanager
def mapped() -> Iterator[None]:
    """Turn SQLite's exceptions into those of `engine.ledger.store`, without values in their texts."""
    try:
        yield
    except apsw.ConstraintError as error:
        message = f"SQLite refused the batch: {type(error).__name__}"
        raise BatchRejectedError(message) from None
    except (
        apsw.BusyError,
        apsw.LockedError,
        apsw.FullError,
        apsw.ReadOnlyError,
        apsw.CantOpenError,
        apsw.NoMemError,
        apsw.PermissionsError,
    ) as error:
        message = f"SQLite cannot write now: {_words(error)}"
        raise StoreBusyError(message) from None
    except apsw.Error as error:
        if isinstance(error, apsw.SQLError) and any(words in str(error) for words in TOO_LARGE):
            message = "the question is larger than SQLite takes; ask for less at once"
            raise QueryTooLargeError(message) from None
        message = f"SQLite failed and is not to be trusted any more: {_words(error)}"
        raise StoreBrokenError(message) from None


def _words(error: apsw.Error) -> str:
    code = getattr(error, "extendedresult", 0)
    return apsw.mapping_extended_result_codes.get(code) or type(error).__name__  # type: ignore[return-value]
