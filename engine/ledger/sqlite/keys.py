"""The wrapped data keys in a SQLite file of their own: another file than the log's, with other backups."""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import apsw

from engine.errors import LogUnavailableError
from engine.ledger.keys import DataKeyRow, SecretRow, Subject
from engine.ledger.sqlite.connection import check_place, check_version, connect, mapped
from engine.ledger.store import BatchRejectedError, StoreBrokenError, UnsafeStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from engine.ledger.keys import ErasureRequest, Owner

AUTOCHECKPOINT_PAGES = 1000
PRIVATE = 0o600
REMEMBERED = 4096
TRUSTED_SECONDS = 0.01

KEYS_SCHEMA = """
CREATE TABLE wrapping_key(wrapping_key_id BLOB PRIMARY KEY CHECK(length(wrapping_key_id)=16), provider TEXT NOT NULL,
  active INT NOT NULL CHECK(active IN (0,1))) STRICT;
CREATE TABLE data_key(key_id BLOB PRIMARY KEY CHECK(length(key_id)=16), part INT NOT NULL CHECK(part IN (1,2)),
  wrapping_key_id BLOB NOT NULL REFERENCES wrapping_key(wrapping_key_id), wrapped BLOB NOT NULL,
  created_at INT NOT NULL, hold_index INT) STRICT;
CREATE INDEX data_key_wrapping ON data_key(wrapping_key_id);
CREATE TABLE subject(pseudonym BLOB NOT NULL CHECK(length(pseudonym)=32), period INT NOT NULL,
  key_id BLOB NOT NULL REFERENCES data_key(key_id), PRIMARY KEY(pseudonym,period)) STRICT;
CREATE INDEX subject_key ON subject(key_id);
CREATE TABLE caller(tenant INT NOT NULL, period INT NOT NULL, key_id BLOB NOT NULL REFERENCES data_key(key_id),
  PRIMARY KEY(tenant,period)) STRICT;
CREATE INDEX caller_key ON caller(key_id);
CREATE TABLE secret(name TEXT PRIMARY KEY,
  wrapping_key_id BLOB NOT NULL REFERENCES wrapping_key(wrapping_key_id), wrapped BLOB NOT NULL) STRICT;
CREATE TABLE erasure_request(first_index INT PRIMARY KEY, request_mac BLOB NOT NULL, expires_at INT NOT NULL) STRICT;
"""

_ERASING = {"secure_delete": 1, "temp_store": 2}
"""Beside the settings of the log: what is deleted is overwritten, and VACUUM's copy (2: in memory) is in no file."""

_KEY = "SELECT key_id, part, wrapping_key_id, wrapped, created_at, hold_index FROM data_key"


class SqliteKeys:
    """The store: `KeyRows` in one file. Other processes may use the file at the same time."""

    def __init__(self, path: Path, *, vfs: str | None = None) -> None:
        """Open the file, making it if need be.

        Raises:
            UnsafeStoreError: SQLite, the place, the file's mode, a setting or the tables are not as they have to be.
            StoreBusyError: it cannot be opened.
            StoreBrokenError: it is no key store.

        """
        check_version()
        check_place(path)
        _make_private(path)
        self._lock = threading.Lock()
        self._broken = ""  # why, in words: an error that is raised again keeps every frame that it ever passed
        self._found: dict[Owner, DataKeyRow] = {}
        self._version = -1
        self._trusted_until = 0.0
        self._connection = connect(path, is_writer=True, vfs=vfs, autocheckpoint=AUTOCHECKPOINT_PAGES)
        try:
            with mapped():
                self._prepare()
        except BaseException:
            self._connection.close(force=True)
            raise

    def data_key(self, key_id: bytes) -> DataKeyRow | None:
        """Find a data key by its id."""
        with self._guarded():
            return self._find_key(f"{_KEY} WHERE key_id=?", (key_id,))

    def key_of(self, owner: Owner) -> DataKeyRow | None:
        """Find an owner's data key.

        A row that was found is remembered for as long as nobody has changed the file; a change by another process is
        seen after at most `TRUSTED_SECONDS`.
        """
        with self._guarded():
            self._forget_what_changed()
            row = self._found.get(owner)
            if row is None:
                row = self._key_of(owner)
                if row is not None:
                    self._found[owner] = row
            return row

    def _forget_what_changed(self) -> None:
        now = time.monotonic()
        if now < self._trusted_until and len(self._found) <= REMEMBERED:
            return
        self._trusted_until = now + TRUSTED_SECONDS
        version = self._connection.execute("PRAGMA data_version").get
        if version != self._version or len(self._found) > REMEMBERED:
            self._found.clear()
            self._version = version

    def key_ids_of(self, pseudonym: bytes) -> list[bytes]:
        """Give the ids of a patient's data keys, by period."""
        with self._guarded():
            return self._ids("SELECT key_id FROM subject WHERE pseudonym=? ORDER BY period", (pseudonym,))

    def patient_keys_before(self, created_at: int) -> list[bytes]:
        """Give the ids of the patients' data keys that were made before a time and are under no hold."""
        query = "SELECT key_id FROM data_key WHERE part=1 AND created_at<? AND hold_index IS NULL ORDER BY created_at"
        with self._guarded():
            return self._ids(query, (created_at,))

    def owners_of(self, key_id: bytes) -> list[bytes]:
        """Give the pseudonyms of the patients whose data key this is."""
        with self._guarded():
            return self._ids("SELECT DISTINCT pseudonym FROM subject WHERE key_id=? ORDER BY pseudonym", (key_id,))

    def patient_keys(self, *, is_owned: bool) -> list[bytes]:
        """Give the ids of all patients' data keys that have an owner, or of all that have none."""
        query = "SELECT key_id FROM data_key WHERE part=1 AND (key_id IN (SELECT key_id FROM subject))=? ORDER BY 1"
        with self._guarded():
            return self._ids(query, (is_owned,))

    def add_key(self, row: DataKeyRow, owner: Owner | None) -> DataKeyRow:
        """Add a data key and its owner's row; give it, or the one that the owner has by now."""
        with self._guarded(), self._transaction():
            there = self._key_of(owner) if owner is not None else None
            if there is not None:
                return there
            self._connection.execute("INSERT INTO data_key VALUES(?,?,?,?,?,?)", row)
            if owner is not None:
                table = "subject" if isinstance(owner, Subject) else "caller"
                self._connection.execute(f"INSERT INTO {table} VALUES(?,?,?)", (*owner, row.key_id))
            return row

    def delete_keys(self, key_ids: Sequence[bytes]) -> list[bytes]:
        """Delete data keys and their owners' rows without a trace; if some are under a hold, give those instead."""
        ids = [(key_id,) for key_id in key_ids]
        with self._guarded():
            with self._transaction():
                query = "SELECT key_id FROM data_key WHERE key_id=? AND hold_index IS NOT NULL"
                held = [key_id for one in ids for key_id in self._ids(query, one)]
                if held:
                    return held
                for table in ("subject", "caller", "data_key"):
                    self._connection.executemany(f"DELETE FROM {table} WHERE key_id=?", ids)  # noqa: S608 - fixed text
            if ids:  # also if none of them was there: a crash may have come between the two the last time
                self._scrub()
        return []

    def set_hold(self, key_ids: Sequence[bytes], index: int | None) -> None:
        """Put data keys under the hold of an entry, or (None) under none."""
        rows = [(index, key_id) for key_id in key_ids]
        with self._guarded(), self._transaction():
            self._connection.executemany("UPDATE data_key SET hold_index=? WHERE key_id=?", rows)

    def activate_wrapping_key(self, wrapping_key_id: bytes, provider: str) -> None:
        """Register a wrapping key and make it the only active one; write nothing where that is so already."""
        with self._guarded():
            active = self._rows("SELECT wrapping_key_id, provider FROM wrapping_key WHERE active=1")
            if active == [(wrapping_key_id, provider)]:
                return
            with self._transaction():
                self._connection.execute("UPDATE wrapping_key SET active=0")
                self._connection.execute(
                    "INSERT INTO wrapping_key VALUES(?,?,1) "
                    "ON CONFLICT DO UPDATE SET provider=excluded.provider, active=1",
                    (wrapping_key_id, provider),
                )

    def drop_wrapping_keys(self) -> None:
        """Delete the wrapping keys that are neither active nor named by any row."""
        with self._guarded(), self._transaction():
            self._connection.execute(
                "DELETE FROM wrapping_key WHERE active=0 AND wrapping_key_id NOT IN "
                "(SELECT wrapping_key_id FROM data_key UNION SELECT wrapping_key_id FROM secret)"
            )

    def count_to_rewrap(self, wrapping_key_id: bytes) -> int:
        """Count the data keys that are wrapped by another key than this."""
        with self._guarded():
            ((count,),) = self._rows("SELECT count(*) FROM data_key WHERE wrapping_key_id<>?", (wrapping_key_id,))
            return int(count)

    def keys_to_rewrap(self, wrapping_key_id: bytes, limit: int) -> list[DataKeyRow]:
        """Give some of the data keys that are wrapped by another key than this."""
        with self._guarded():
            found = self._rows(f"{_KEY} WHERE wrapping_key_id<>? LIMIT ?", (wrapping_key_id, limit))
            return [DataKeyRow(*row) for row in found]

    def rewrap_key(self, key_id: bytes, wrapping_key_id: bytes, wrapped: bytes) -> None:
        """Replace the wrapping of a data key; nothing happens if it was deleted meanwhile."""
        query = "UPDATE data_key SET wrapping_key_id=?, wrapped=? WHERE key_id=?"
        with self._guarded(), self._transaction():
            self._connection.execute(query, (wrapping_key_id, wrapped, key_id))

    def secret(self, name: str) -> SecretRow | None:
        """Find a secret."""
        with self._guarded():
            return self._secret(name)

    def add_secret(self, row: SecretRow) -> SecretRow:
        """Add a secret and give it; if there is one of this name by now, add nothing and give that one."""
        with self._guarded(), self._transaction():
            self._connection.execute("INSERT INTO secret VALUES(?,?,?) ON CONFLICT DO NOTHING", row)
            return self._secret(row.name) or row

    def rewrap_secret(self, row: SecretRow) -> None:
        """Replace the wrapping of the secret of this name."""
        query = "UPDATE secret SET wrapping_key_id=?, wrapped=? WHERE name=?"
        with self._guarded(), self._transaction():
            self._connection.execute(query, (row.wrapping_key_id, row.wrapped, row.name))

    def add_erasure_request(self, row: ErasureRequest) -> None:
        """Keep an erasure request."""
        with self._guarded(), self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO erasure_request VALUES(?,?,?)", row)

    def take_erasure_request(self, first_index: int, request_mac: bytes, now: int) -> bool:
        """Delete the request of this index and MAC that expires after `now`, and say whether there was one."""
        with self._guarded(), self._transaction():
            self._connection.execute("DELETE FROM erasure_request WHERE expires_at<=?", (now,))
            query = "DELETE FROM erasure_request WHERE first_index=? AND request_mac=? RETURNING 1"
            return bool(self._rows(query, (first_index, request_mac)))

    def close(self) -> None:
        """Let go of the file."""
        with self._lock, suppress(apsw.Error):
            self._connection.close(force=True)

    def _prepare(self) -> None:
        for name, value in _ERASING.items():
            self._connection.pragma(name, value)
            found = self._connection.pragma(name)
            if found != value:
                message = f"SQLite's `{name}` is `{found}` where `{value}` is needed to erase keys"
                raise UnsafeStoreError(message)
        with self._transaction():
            if not _tables(self._connection):
                self._connection.execute(KEYS_SCHEMA)
        fresh = apsw.Connection(":memory:")
        fresh.execute(KEYS_SCHEMA)
        if _tables(self._connection) != _tables(fresh):
            message = "the key store's tables, indexes, triggers or views are not those that this build makes"
            raise UnsafeStoreError(message)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Hold the connection.

        Raises:
            LogUnavailableError: a constraint refused a row, such as one whose wrapping key is not registered.
            StoreBusyError, StoreBrokenError: as `mapped` names them.

        """
        with self._lock:
            if self._broken:
                raise StoreBrokenError(self._broken)
            try:
                with mapped():
                    yield
            except StoreBrokenError as error:
                self._broken = str(error)
                raise
            except BatchRejectedError:
                message = "the key store refused a row; its wrapping key may have been dropped meanwhile: try again"
                raise LogUnavailableError(message) from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._found.clear()  # what this connection changes does not show in `data_version`
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                with suppress(apsw.Error):
                    self._connection.execute("ROLLBACK")
            raise

    def _scrub(self) -> None:
        """Leave nothing of deleted rows in the file, in pages that are free, or in the write-ahead log."""
        self._connection.execute("VACUUM")
        self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def _key_of(self, owner: Owner) -> DataKeyRow | None:
        table, column = ("subject", "pseudonym") if isinstance(owner, Subject) else ("caller", "tenant")
        query = f"{_KEY} WHERE key_id=(SELECT key_id FROM {table} WHERE {column}=? AND period=?)"  # noqa: S608 - fixed text
        return self._find_key(query, owner)

    def _find_key(self, query: str, values: Sequence[object]) -> DataKeyRow | None:
        rows = self._rows(query, values)
        return DataKeyRow(*rows[0]) if rows else None

    def _secret(self, name: str) -> SecretRow | None:
        rows = self._rows("SELECT name, wrapping_key_id, wrapped FROM secret WHERE name=?", (name,))
        return SecretRow(*rows[0]) if rows else None

    def _ids(self, query: str, values: Sequence[object]) -> list[bytes]:
        return [row[0] for row in self._rows(query, values)]

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, tuple(values)).fetchall()


def _tables(connection: apsw.Connection) -> list[Any]:
    return connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2").fetchall()


def _make_private(path: Path) -> None:
    """Make the file, and its name in the folder durable, if it is not there; refuse one that others may open."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    except OSError as error:
        message = f"the key store cannot be opened: {os.strerror(error.errno or 0).lower()}"
        raise LogUnavailableError(message) from None
    try:
        mode = os.fstat(descriptor).st_mode & 0o777
    finally:
        os.close(descriptor)
    if mode & ~PRIVATE:
        message = f"others than its owner may use the key store (mode {mode:o}); give it mode 600"
        raise UnsafeStoreError(message)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
