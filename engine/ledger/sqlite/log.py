"""The log in one SQLite file, for one server process."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from queue import Empty, LifoQueue
from typing import TYPE_CHECKING, Any

import apsw

from engine.errors import EntryNotFoundError, IntegrityError
from engine.ledger.sqlite.connection import WriterLock, check_place, check_settings, check_version, connect, mapped
from engine.ledger.sqlite.schema import LOG_SCHEMA
from engine.ledger.store import (
    Batch,
    BatchRow,
    BlobRow,
    Head,
    IdempotencyRow,
    SealedRow,
    SearchRow,
    Seen,
    StoreBrokenError,
    UnsafeStoreError,
    Wanted,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from engine.ledger.store import TileId

AUTOCHECKPOINT_PAGES = 4000
WAL_ALARM_BYTES = 256 * 1024 * 1024
"""A write-ahead log above this size has a reader that holds it up."""
TOMBSTONE, KIND_BYTE, BODY_START = 7, 10, 397
TENANT = slice(76, 80)
_IDLE_READERS = 8

_HEAD = "SELECT size, state, last_time, epoch FROM head"
_TILE = "SELECT hashes FROM tile WHERE level=? AND tile_index=?"
_SEEN = """SELECT i.key_mac, i.entry_index, i.request_mac, i.expires_at FROM carray(?1) AS c
  CROSS JOIN idempotency AS i WHERE i.tenant=?2 AND i.key_mac=c.value"""

_SEARCHED = "entry_index, kind, logged_at, tenant, pack_digest, key_id, entry_id"
_BATCHES = "SELECT batch_id, first_index, entry_count, expires_at FROM batch"
_SEARCH = """INSERT INTO search SELECT ?1 + rowid - 1, unicode(substr(value,11,1)), ?2, ?3,
  substr(value,97,32), substr(value,225,16), substr(value,61,16) FROM carray(?4) WHERE substr(value,77,4)=?5"""
_SEALED = "INSERT INTO sealed SELECT ?1 + rowid - 1, ?2, value FROM carray(?3) WHERE length(value) > 0"
_TILES = "INSERT INTO tile VALUES(?,?,?) ON CONFLICT DO UPDATE SET hashes=excluded.hashes"
_IDEMPOTENCY = """INSERT INTO idempotency SELECT ?3, substr(value,1,32), ?1 + rowid - 1, substr(value,33), ?2
  FROM carray(?4) WHERE length(value) > 0
  ON CONFLICT DO UPDATE SET entry_index=excluded.entry_index, request_mac=excluded.request_mac,
  expires_at=excluded.expires_at"""


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
        self._broken: StoreBrokenError | None = None
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
            if _schema_of(self._writer) != _expected_schema():
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
                appending = SqliteAppending(self._writer)
                if appending.head.epoch != self._epoch:
                    message = "an operator has fenced this writer off; it must not append any more"
                    raise UnsafeStoreError(message)
                yield appending

    def find_batch(self, batch_id: bytes) -> BatchRow | None:
        """Find a batch, after taking the head."""
        with self._lock, self._guarded(), self._transaction():
            row = self._writer.execute(f"{_BATCHES} WHERE batch_id=?", (batch_id,)).fetchone()
            return BatchRow(*row) if row else None

    @contextmanager
    def reading(self) -> Iterator[SqliteSnapshot]:
        """Read in one snapshot."""
        self._refuse_if_broken()
        connection = self._reader()
        try:
            with mapped():
                connection.execute("BEGIN")
                connection.execute("SELECT size FROM head").fetchone()  # a snapshot begins with its first read
                yield SqliteSnapshot(connection)
        except StoreBrokenError as error:
            self._broken = error
            raise
        finally:
            self._give_back(connection)

    def add_checkpoints(self, notes: Sequence[tuple[int, bytes]]) -> None:
        """Keep released checkpoints, each under its size; one that is kept already stays."""
        with self._lock, self._guarded(), self._transaction():
            _add_checkpoints(self._writer, notes)

    def expire(self, now: int) -> None:
        """Drop idempotency and batch rows that expired before `now`."""
        with self._lock, self._guarded(), self._transaction():
            self._writer.execute("DELETE FROM idempotency WHERE expires_at < ?", (now,))
            self._writer.execute("DELETE FROM batch WHERE expires_at < ?", (now,))

    def erase_bodies(self, tombstone_index: int, key_id: bytes) -> int:
        """Empty the patient bodies of a key that a tombstone names; give how many."""
        with self._lock, self._guarded(), self._transaction():
            leaf = self._writer.execute("SELECT leaf_data FROM entry WHERE entry_index=?", (tombstone_index,)).get
            if leaf is None or leaf[KIND_BYTE] != TOMBSTONE or leaf.find(key_id, BODY_START) < 0:
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
        if self._broken is not None:
            raise self._broken

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        self._refuse_if_broken()
        try:
            with mapped():
                yield
        except StoreBrokenError as error:
            self._broken = error
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


class SqliteAppending:
    """The open transaction of the one writer."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.head = _head(connection)

    def tiles(self, wanted: Sequence[TileId]) -> dict[TileId, bytes]:
        """Give the tiles that exist among those wanted."""
        found = {tile: self._connection.execute(_TILE, tile).get for tile in wanted}
        return {tile: hashes for tile, hashes in found.items() if hashes is not None}

    def seen(self, keys: Sequence[tuple[int, bytes]]) -> dict[tuple[int, bytes], Seen]:
        """Give the idempotency rows of (tenant, key_mac) pairs."""
        found: dict[tuple[int, bytes], Seen] = {}
        for tenant in {tenant for tenant, _ in keys}:
            macs = tuple(mac for owner, mac in keys if owner == tenant)
            for mac, *row in self._connection.execute(_SEEN, (apsw.carray(macs), tenant)):
                found[tenant, mac] = Seen(*row)
        return found

    def known_blobs(self, digests: Iterable[bytes]) -> set[bytes]:
        """Give those of the digests that are stored."""
        query = "SELECT 1 FROM blob WHERE digest=?"
        return {digest for digest in digests if self._connection.execute(query, (digest,)).get}

    def write(self, batch: Batch) -> None:
        """Write the batch, blobs before what names them.

        Each table takes one statement for the whole batch: between statements other threads get the interpreter, and
        the writer would wait for it as many times as there are rows.
        """
        execute, many = self._connection.execute, self._connection.executemany
        first, count = batch.first_index, len(batch.leaves)
        if batch.blobs:
            many("INSERT INTO blob VALUES(?,?,?) ON CONFLICT DO NOTHING", batch.blobs)
        leaves = apsw.carray(tuple(batch.leaves))
        execute("INSERT INTO entry SELECT ?1 + rowid - 1, value FROM carray(?2)", (first, leaves))
        for tenant in {leaf[TENANT] for leaf in batch.leaves}:
            execute(_SEARCH, (first, batch.last_time, int.from_bytes(tenant, "big"), leaves, tenant))
        for part in (1, 2):
            bodies = [b""] * count
            for index, its_part, body in batch.sealed:
                if its_part == part and body is not None:
                    bodies[index - first] = body
            execute(_SEALED, (first, part, apsw.carray(tuple(bodies))))
        many(_TILES, [(level, number, hashes) for (level, number), hashes in batch.tiles.items()])
        for owner in {row.tenant for row in batch.idempotency}:
            macs = [b""] * count
            for row in batch.idempotency:
                if row.tenant == owner:
                    macs[row.entry_index - first] = row.key_mac + row.request_mac
            execute(_IDEMPOTENCY, (first, batch.expires_at, owner, apsw.carray(tuple(macs))))
        execute("INSERT INTO batch VALUES(?,?,?,?)", (batch.batch_id, first, count, batch.expires_at))
        execute(
            "UPDATE head SET size=?, state=?, last_time=? WHERE size=?",
            (first + count, batch.state, batch.last_time, first),
        )
        _add_checkpoints(self._connection, batch.checkpoints)


class SqliteSnapshot:
    """A read transaction."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def damage(self) -> list[str]:
        """Name what SQLite finds wrong with the file, and what in the schema is not this build's."""
        found = [str(row[0]) for row in self._connection.execute("PRAGMA integrity_check").fetchall()]
        wanted, there = _expected_schema(), _schema_of(self._connection)
        strange = sorted({row[1] for row in (*wanted, *there) if (row in wanted) != (row in there)})
        return [fault for fault in found if fault != "ok"] + [
            f"`{name}` is not as this build makes it" for name in strange
        ]

    def head(self) -> Head:
        """Give the head."""
        return _head(self._connection)

    def meta(self) -> dict[str, bytes]:
        """Give schema version, origin, log_id and the genesis verifier key."""
        return dict(self._connection.execute("SELECT k, v FROM meta"))

    def leaf(self, index: int) -> bytes:
        """Give one entry's leaf_data. Raises: EntryNotFoundError."""
        row = self._connection.execute("SELECT leaf_data FROM entry WHERE entry_index=?", (index,)).fetchone()
        if row is None:
            message = f"the log has no entry {index}"
            raise EntryNotFoundError(message)
        return bytes(row[0])

    def leaves(self, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Give index and leaf_data of a range of entries, in order."""
        query = "SELECT entry_index, leaf_data FROM entry WHERE entry_index>=? AND entry_index<? ORDER BY entry_index"
        return self._connection.execute(query, (first, end))

    def sealed(self, index: int, part: int) -> bytes | None:
        """Give a sealed body; None where there is none or it was erased."""
        query = "SELECT body FROM sealed WHERE entry_index=? AND part=?"
        row = self._connection.execute(query, (index, part)).fetchone()
        return row[0] if row else None

    def sealed_rows(self, first: int, end: int) -> Iterator[SealedRow]:
        """Give the sealed rows of a range of entries, by index and part."""
        query = "SELECT entry_index, part, body FROM sealed WHERE entry_index>=? AND entry_index<? ORDER BY 1, 2"
        return (SealedRow(*row) for row in self._connection.execute(query, (first, end)))

    def tile(self, level: int, number: int) -> bytes:
        """Give a tile's hashes; empty where there is no such tile."""
        row = self._connection.execute(_TILE, (level, number)).fetchone()
        return bytes(row[0]) if row else b""

    def tiles(self) -> Iterator[tuple[int, int, bytes]]:
        """Give every tile as level, number, hashes, in order."""
        return self._connection.execute("SELECT level, tile_index, hashes FROM tile ORDER BY level, tile_index")

    def checkpoint(self, tree_size: int | None = None) -> tuple[int, bytes] | None:
        """Give the latest checkpoint and its size; with `tree_size` the smallest one of at least that size."""
        order = "ORDER BY size DESC" if tree_size is None else "WHERE size>=? ORDER BY size"
        values = () if tree_size is None else (tree_size,)
        row: Any = self._connection.execute(f"SELECT size, note FROM checkpoint {order} LIMIT 1", values).fetchone()  # noqa: S608 - fixed text
        return (row[0], bytes(row[1])) if row else None

    def checkpoints(self, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Give every checkpoint up to and with size `end`, smallest first."""
        query = "SELECT size, note FROM checkpoint WHERE size<=? ORDER BY size"
        return self._connection.execute(query, (2**63 - 1 if end is None else end,))

    def cosigned(self) -> Iterator[int]:
        """Give the sizes of the checkpoints that have cosignatures."""
        return (row[0] for row in self._connection.execute("SELECT size FROM cosignature ORDER BY size"))

    def blob(self, digest: bytes) -> BlobRow | None:
        """Give a blob."""
        row = self._connection.execute("SELECT digest, kind, body FROM blob WHERE digest=?", (digest,)).fetchone()
        return BlobRow(*row) if row else None

    def blobs(self) -> Iterator[BlobRow]:
        """Give every blob, by digest."""
        return (BlobRow(*r) for r in self._connection.execute("SELECT digest, kind, body FROM blob ORDER BY digest"))

    def index_of(self, entry_id: bytes) -> int | None:
        """Find an entry by its id; None if there is none."""
        row = self._connection.execute("SELECT entry_index FROM search WHERE entry_id=?", (entry_id,)).fetchone()
        return row[0] if row else None

    def find(self, wanted: Wanted) -> list[SearchRow]:
        """Find entries, in order."""
        conditions = ["entry_index>=?", "entry_index<?"]
        values: list[int | bytes] = [wanted.first, min(wanted.end, 2**63 - 1)]
        for column, allowed in (("kind", wanted.kinds), ("key_id", wanted.key_ids)):
            if allowed:
                conditions.append(f"{column} IN ({','.join('?' * len(allowed))})")
                values += allowed
        for condition, bound in (("logged_at>=?", wanted.since), ("logged_at<?", wanted.until)):
            if bound is not None:
                conditions.append(condition)
                values.append(bound)
        query = f"SELECT {_SEARCHED} FROM search WHERE {' AND '.join(conditions)} ORDER BY entry_index LIMIT ?"  # noqa: S608 - fixed texts
        return [SearchRow(*row) for row in self._connection.execute(query, (*values, wanted.limit))]

    def search_rows(self) -> Iterator[SearchRow]:
        """Give every search row, in order."""
        query = f"SELECT {_SEARCHED} FROM search ORDER BY entry_index"  # noqa: S608 - fixed text
        return (SearchRow(*row) for row in self._connection.execute(query))

    def idempotency_rows(self) -> Iterator[IdempotencyRow]:
        """Give every idempotency row."""
        query = "SELECT tenant, key_mac, entry_index, request_mac FROM idempotency"
        return (IdempotencyRow(*row) for row in self._connection.execute(query))

    def batch_rows(self) -> Iterator[BatchRow]:
        """Give every batch row."""
        return (BatchRow(*row) for row in self._connection.execute(_BATCHES))


def _add_checkpoints(connection: apsw.Connection, notes: Sequence[tuple[int, bytes]]) -> None:
    query = "INSERT INTO checkpoint SELECT ?1, ?2 FROM head WHERE size >= ?1 ON CONFLICT DO NOTHING"
    connection.executemany(query, notes)


def _head(connection: apsw.Connection) -> Head:
    row: Any = connection.execute(_HEAD).fetchone()
    if row is None:
        message = "the log has no head; `eligibility log verify --rebuild` makes it again from the entries"
        raise IntegrityError(message, "table head")
    return Head(*row)


def _schema_of(connection: apsw.Connection) -> list[Any]:
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2").fetchall()


def _expected_schema() -> list[Any]:
    fresh = apsw.Connection(":memory:")
    fresh.execute(LOG_SCHEMA)
    return _schema_of(fresh)


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
