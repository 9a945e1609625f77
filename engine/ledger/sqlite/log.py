"""The log in one SQLite file, for one server process."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from queue import Empty, LifoQueue
from typing import TYPE_CHECKING

import apsw

from engine.errors import IntegrityError
from engine.ledger.entry import ZERO_ID
from engine.ledger.sqlite.appending import SqliteAppending, add_checkpoints
from engine.ledger.sqlite.connection import WriterLock, check_place, check_settings, check_version, connect, mapped
from engine.ledger.sqlite.schema import BATCHES, LOG_SCHEMA, expected_schema, schema_of
from engine.ledger.sqlite.snapshot import SqliteSnapshot
from engine.ledger.store import (
    BatchRow,
    Head,
    SearchRow,
    StoreBrokenError,
    UnsafeStoreError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from engine.ledger.store import TileId

AUTOCHECKPOINT_PAGES = 4000
WAL_ALARM_BYTES = 256 * 1024 * 1024
"""A write-ahead log above this size has a reader that holds it up."""
TOMBSTONE, KIND_BYTE, BODY_START, KEY_ID_LENGTH = 7, 10, 397, 16
_IDLE_READERS = 8


class SqliteLog:
    """The store. `is_writer=False` opens a log that is there, for reading beside its server."""

    def __init__(self, path: Path, *, epoch: int = 0, is_writer: bool = True, vfs: str | None = None) -> None:
        """Open the file, making it if need be.

        Raises:
            UnsafeStoreError: another process writes it, or SQLite or the place is not safe.
            StoreBusyError: it cannot be opened.
            StoreBrokenError: it is no log.

        """
        check_version()
        check_place(path)
        self.path = path
        self._epoch = epoch
        self._vfs = vfs
        self._lock = threading.Lock()
        self._broken = ""  # why, in words: an error that is raised again keeps every frame that it ever passed
        self._known_blobs: set[bytes] = set()
        self._idle: LifoQueue[apsw.Connection] = LifoQueue(_IDLE_READERS)
        self._writer_lock = WriterLock(path.with_name(path.name + ".lock")) if is_writer else None
        try:
            _make_private(path, is_writer=is_writer)
            self._writer = connect(path, is_writer=is_writer, vfs=vfs, autocheckpoint=AUTOCHECKPOINT_PAGES)
        except BaseException:
            if self._writer_lock is not None:
                self._writer_lock.close()
            raise

    def create(self, meta: Mapping[str, bytes]) -> bool:
        """Make the tables, the head of an empty log and meta in one transaction; False if they exist already."""
        with self._lock, self._guarded(), self._transaction():
            if self._writer.execute("SELECT count(*) FROM sqlite_schema").get:
                return False
            self._writer.execute(LOG_SCHEMA)
            self._writer.execute("INSERT INTO head VALUES(1, 0, x'', 0, ?)", (self._epoch,))
            self._writer.executemany("INSERT INTO meta VALUES(?,?)", list(meta.items()))
        return True

    def check(self) -> None:
        """Refuse settings that lose entries and a schema that is not this build's. Raises: UnsafeStoreError."""
        with self._lock, self._guarded():
            check_settings(self._writer)
            if schema_of(self._writer) != expected_schema():
                message = "the log's tables, indexes, triggers or views are not those that this build makes"
                raise UnsafeStoreError(message)

    def alarms(self) -> tuple[str, ...]:
        """Name what is wrong though the log can still be written: a write-ahead log that a reader holds up."""
        with suppress(OSError):
            if os.stat(f"{self.path}-wal").st_size > WAL_ALARM_BYTES:  # noqa: PTH116 - a name made from a path
                return ("wal",)
        return ()

    @contextmanager
    def appending(self) -> Iterator[SqliteAppending]:
        """Hold the head; leaving commits, an exception rolls back."""
        with self._lock, self._guarded():
            if self._writer.pragma("synchronous") != 3:  # noqa: PLR2004 - EXTRA
                check_settings(self._writer)
            with self._transaction():
                appending = SqliteAppending(self._writer, self._known_blobs)
                if appending.head.epoch != self._epoch:
                    message = "an operator has fenced this writer off; it must not append any more"
                    raise UnsafeStoreError(message)
                yield appending

    def find_batch(self, batch_id: bytes) -> BatchRow | None:
        """Find a batch, after taking the head."""
        with self._lock, self._guarded(), self._transaction():
            row = self._writer.execute(f"{BATCHES} WHERE batch_id=?", (batch_id,)).fetchone()
            return BatchRow(*row) if row else None

    def probe(self) -> None:
        """Find out whether the log can be written again: write and sync a page, with a row that comes and goes."""
        with self._lock, self._guarded(), self._transaction():
            self._writer.execute("INSERT INTO batch VALUES(?, 0, 0, 0)", (ZERO_ID,))
            self._writer.execute("DELETE FROM batch WHERE batch_id=?", (ZERO_ID,))

    @contextmanager
    def reading(self) -> Iterator[SqliteSnapshot]:
        """Read in one snapshot."""
        self._refuse_if_broken()
        connection = self._reader()
        try:
            with mapped():
                connection.execute("BEGIN")
                connection.execute("SELECT size FROM head").fetchone()  # a snapshot begins with its first read
                snapshot = SqliteSnapshot(connection)
                try:
                    yield snapshot
                finally:
                    snapshot.close()
        except StoreBrokenError as error:
            self._broken = str(error)
            raise
        finally:
            self._give_back(connection)

    def add_checkpoints(self, notes: Sequence[tuple[int, bytes]]) -> None:
        """Keep released checkpoints, each under its size; one that is kept already stays."""
        with self._lock, self._guarded(), self._transaction():
            add_checkpoints(self._writer, notes)

    def expire(self, now: int) -> None:
        """Drop idempotency and batch rows that expired before `now`."""
        with self._lock, self._guarded(), self._transaction():
            self._writer.execute("DELETE FROM idempotency WHERE expires_at < ?", (now,))
            self._writer.execute("DELETE FROM batch WHERE expires_at < ?", (now,))

    def erase_bodies(self, tombstone_index: int, key_id: bytes) -> int:
        """Empty the patient bodies of a key that a tombstone names; give how many."""
        with self._lock, self._guarded(), self._transaction():
            leaf = self._writer.execute("SELECT leaf_data FROM entry WHERE entry_index=?", (tombstone_index,)).get
            if leaf is None or leaf[KIND_BYTE] != TOMBSTONE or key_id not in _named_keys(leaf):
                message = "it is no tombstone for this key, so nothing may be erased"
                raise IntegrityError(message, f"entry {tombstone_index}")
            named = "IN (SELECT entry_index FROM search WHERE key_id=?)"
            self._writer.execute(f"UPDATE idempotency SET request_mac=x'' WHERE entry_index {named}", (key_id,))  # noqa: S608 - fixed text
            before = self._writer.total_changes()
            self._writer.execute(
                f"UPDATE sealed SET body=NULL WHERE part=1 AND body IS NOT NULL AND entry_index {named}",  # noqa: S608 - fixed text
                (key_id,),
            )
            return self._writer.total_changes() - before

    def scrub(self) -> None:
        """Move everything out of the write-ahead log and empty it."""
        with self._lock, self._guarded():
            self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def rebuild(self, head: Head, tiles: Mapping[TileId, bytes], rows: Iterable[SearchRow]) -> None:
        """Replace the derived tables tile, head and search by these, in one transaction."""
        with self._lock, self._guarded(), self._transaction():
            execute = self._writer.execute
            for table in ("tile", "head", "search"):
                execute(f"DELETE FROM {table}")  # noqa: S608 - fixed text
            self._writer.executemany("INSERT INTO tile VALUES(?,?,?)", ((*i, h) for i, h in tiles.items()))
            execute("INSERT INTO head VALUES(1,?,?,?,?)", (head.size, head.state, head.last_time, head.epoch))
            self._writer.executemany("INSERT INTO search VALUES(?,?,?,?,?,?,?)", rows)

    def close(self) -> None:
        """Let go of the file and of the lock."""
        with self._lock:
            while not self._idle.empty():
                self._idle.get_nowait().close(force=True)
            with suppress(apsw.Error):
                self._writer.close(force=True)
            if self._writer_lock is not None:
                self._writer_lock.close()

    def _refuse_if_broken(self) -> None:
        if self._broken:
            raise StoreBrokenError(self._broken)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        self._refuse_if_broken()
        try:
            with mapped():
                yield
        except StoreBrokenError as error:
            self._broken = str(error)
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                with suppress(apsw.Error):
                    self._writer.execute("ROLLBACK")
            raise

    def _reader(self) -> apsw.Connection:
        try:
            return self._idle.get_nowait()
        except Empty:
            return connect(self.path, is_writer=False, vfs=self._vfs)

    def _give_back(self, connection: apsw.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if self._idle.full():
                connection.close(force=True)
            else:
                self._idle.put_nowait(connection)
        except apsw.Error:
            connection.close(force=True)


def _named_keys(tombstone: bytes) -> set[bytes]:
    """Read the key ids out of a tombstone's body: the first field of its frame, which follows the frame's length."""
    start = BODY_START + 4
    length = int.from_bytes(tombstone[BODY_START:start], "big")
    return {tombstone[at : at + KEY_ID_LENGTH] for at in range(start, start + length, KEY_ID_LENGTH)}


def _make_private(path: Path, *, is_writer: bool) -> None:
    """Make the file with nobody else's access to it, and its name in the folder durable."""
    if not is_writer or path.exists():
        return
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
