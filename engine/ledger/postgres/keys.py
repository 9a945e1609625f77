"""The wrapped data keys in a PostgreSQL database of their own: not the log's, with other backups and another role."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine.errors import LedgerError, LogUnavailableError
from engine.ledger.keys import DataKeyRow, SecretRow, Subject
from engine.ledger.postgres import catalog
from engine.ledger.postgres.connection import DEFAULT_LIMITS, Limits, begin_writing, vacuum
from engine.ledger.postgres.session import Sessions
from engine.ledger.store import StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from engine.ledger.keys import ErasureRequest, Owner
    from engine.ledger.postgres.session import Transaction

KEYS_SCHEMA = """
CREATE SCHEMA keys;
SET LOCAL search_path = keys;
CREATE TABLE wrapping_key(wrapping_key_id bytea PRIMARY KEY CHECK(octet_length(wrapping_key_id) = 16),
  provider text NOT NULL, active boolean NOT NULL);
CREATE TABLE data_key(key_id bytea PRIMARY KEY CHECK(octet_length(key_id) = 16),
  part smallint NOT NULL CHECK(part IN (1, 2)), wrapping_key_id bytea NOT NULL REFERENCES wrapping_key,
  wrapped bytea NOT NULL, created_at bigint NOT NULL, hold_index bigint);
CREATE INDEX data_key_wrapping ON data_key(wrapping_key_id);
CREATE TABLE subject(pseudonym bytea NOT NULL CHECK(octet_length(pseudonym) = 32), period int NOT NULL,
  key_id bytea NOT NULL REFERENCES data_key, PRIMARY KEY(pseudonym, period));
CREATE INDEX subject_key ON subject(key_id);
CREATE TABLE caller(tenant bigint NOT NULL, period int NOT NULL, key_id bytea NOT NULL REFERENCES data_key,
  PRIMARY KEY(tenant, period));
CREATE INDEX caller_key ON caller(key_id);
CREATE TABLE secret(name text PRIMARY KEY, wrapping_key_id bytea NOT NULL REFERENCES wrapping_key,
  wrapped bytea NOT NULL);
CREATE TABLE erasure_request(first_index bigint PRIMARY KEY, request_mac bytea NOT NULL, expires_at bigint NOT NULL);
ALTER TABLE data_key ALTER key_id SET STATISTICS 0, ALTER wrapped SET STATISTICS 0;
ALTER TABLE subject ALTER pseudonym SET STATISTICS 0, ALTER key_id SET STATISTICS 0;
"""
"""Without statistics on them: ANALYZE would copy wrapped keys to where no deletion reaches."""

_KEY = "SELECT key_id, part, wrapping_key_id, wrapped, created_at, hold_index FROM keys.data_key"


class PostgresKeys:
    """The store: `KeyRows` in one database, for several servers.

    Args:
        url: where it is, as the role that owns the schema `keys`, or may make it.
        has_standby: refuse a server that acknowledges before a standby has the row.
        limits: how long things may take.

    Raises:
        UnsafeStoreError: settings, tables or rights are not as they have to be.
        StoreBusyError: it cannot be reached.

    """

    def __init__(self, url: str, *, has_standby: bool = False, limits: Limits = DEFAULT_LIMITS) -> None:
        self._url = url
        self._limits = limits
        self._sessions = Sessions(url, limits)
        try:
            with self._sessions.one() as session, session.transaction(begin_writing(limits)) as transaction:
                _create(transaction)
            with self._sessions.one() as session, session.transaction(catalog.BEGIN) as transaction:
                catalog.check_settings(transaction, has_standby=has_standby)
                catalog.check_schema(transaction, "keys")
        except BaseException:
            self._sessions.close()
            raise

    def data_key(self, key_id: bytes) -> DataKeyRow | None:
        """Find a data key by its id."""
        return _key(self._read(f"{_KEY} WHERE key_id = %s", key_id))

    def key_of(self, owner: Owner) -> DataKeyRow | None:
        """Find an owner's data key."""
        table, column = _place(owner)
        query = f"{_KEY} WHERE key_id = (SELECT key_id FROM {table} WHERE {column} = %s AND period = %s)"  # noqa: S608 - fixed texts
        return _key(self._read(query, *owner))

    def key_ids_of(self, pseudonym: bytes) -> list[bytes]:
        """Give the ids of a patient's data keys, by period."""
        query = "SELECT key_id FROM keys.subject WHERE pseudonym = %s ORDER BY period"
        return [key_id for (key_id,) in self._read(query, pseudonym)]

    def patient_keys_before(self, created_at: int) -> list[bytes]:
        """Give the ids of the patients' data keys that were made before a time and are under no hold."""
        query = (
            "SELECT key_id FROM keys.data_key WHERE part = 1 AND created_at < %s AND hold_index IS NULL "
            "ORDER BY created_at"
        )
        return [key_id for (key_id,) in self._read(query, created_at)]

    def owners_of(self, key_id: bytes) -> list[bytes]:
        """Give the pseudonyms of the patients whose data key this is."""
        query = "SELECT DISTINCT pseudonym FROM keys.subject WHERE key_id = %s ORDER BY pseudonym"
        return [pseudonym for (pseudonym,) in self._read(query, key_id)]

    def patient_keys(self, *, is_owned: bool) -> list[bytes]:
        """Give the ids of all patients' data keys that have an owner, or of all that have none."""
        query = (
            "SELECT key_id FROM keys.data_key WHERE part = 1 "
            "AND (key_id IN (SELECT key_id FROM keys.subject)) = %s ORDER BY key_id"
        )
        return [key_id for (key_id,) in self._read(query, is_owned)]

    def add_key(self, row: DataKeyRow, owner: Owner | None) -> DataKeyRow:
        """Add a data key and its owner's row; give it, or the one that the owner has by now."""
        with self._writing() as transaction:
            transaction.ask("INSERT INTO keys.data_key VALUES (%b, %b, %b, %b, %b, %b)", *row)
            if owner is None:
                return row
            table, _ = _place(owner)
            query = f"INSERT INTO {table} VALUES (%b, %b, %b) ON CONFLICT DO NOTHING RETURNING true"  # noqa: S608 - fixed text
            if transaction.ask(query, *owner, row.key_id):
                return row
            transaction.has_written = False
        there = self.key_of(owner)
        if there is None:
            message = "the owner's key was made and erased at the same moment; try again"
            raise StoreBusyError(message)
        return there

    def delete_keys(self, key_ids: Sequence[bytes]) -> list[bytes]:
        """Delete data keys and their owners' rows without a trace; if some are under a hold, give those instead."""
        with self._writing() as transaction:
            query = "SELECT key_id, hold_index FROM keys.data_key WHERE key_id = ANY(%b) ORDER BY key_id FOR UPDATE"
            found = transaction.ask(query, list(key_ids))
            held = [key_id for key_id, hold_index in found if hold_index is not None]
            if held:
                transaction.has_written = False
                return held
            for table in ("subject", "caller", "data_key"):
                transaction.ask(f"DELETE FROM keys.{table} WHERE key_id = ANY(%b)", list(key_ids))  # noqa: S608 - fixed text
        if key_ids:  # also if none of them was there: a crash may have come between the two the last time
            with _unavailable():
                vacuum(self._url, self._limits, "(FULL) keys.data_key, keys.subject, keys.caller")
        return []

    def set_hold(self, key_ids: Sequence[bytes], index: int | None) -> None:
        """Put data keys under the hold of an entry, or (None) under none."""
        self._write("UPDATE keys.data_key SET hold_index = %b WHERE key_id = ANY(%b)", index, list(key_ids))

    def activate_wrapping_key(self, wrapping_key_id: bytes, provider: str) -> None:
        """Register a wrapping key and make it the only active one; write nothing where that is so already."""
        active = self._read("SELECT wrapping_key_id, provider FROM keys.wrapping_key WHERE active")
        if active == [(wrapping_key_id, provider)]:
            return
        with self._writing() as transaction:
            transaction.run("LOCK TABLE keys.wrapping_key IN SHARE ROW EXCLUSIVE MODE")
            transaction.run("UPDATE keys.wrapping_key SET active = false WHERE active")
            query = (
                "INSERT INTO keys.wrapping_key VALUES (%b, %b, true) ON CONFLICT (wrapping_key_id) "
                "DO UPDATE SET provider = excluded.provider, active = true"
            )
            transaction.ask(query, wrapping_key_id, provider)

    def drop_wrapping_keys(self) -> None:
        """Delete the wrapping keys that are neither active nor named by any row."""
        self._write(
            "DELETE FROM keys.wrapping_key WHERE NOT active AND wrapping_key_id NOT IN "
            "(SELECT wrapping_key_id FROM keys.data_key UNION SELECT wrapping_key_id FROM keys.secret)"
        )

    def count_to_rewrap(self, wrapping_key_id: bytes) -> int:
        """Count the data keys that are wrapped by another key than this."""
        query = "SELECT count(*) FROM keys.data_key WHERE wrapping_key_id <> %s"
        ((count,),) = self._read(query, wrapping_key_id)
        return int(count)

    def keys_to_rewrap(self, wrapping_key_id: bytes, limit: int) -> list[DataKeyRow]:
        """Give some of the data keys that are wrapped by another key than this."""
        found = self._read(f"{_KEY} WHERE wrapping_key_id <> %s LIMIT %s", wrapping_key_id, limit)
        return [DataKeyRow(*row) for row in found]

    def rewrap_key(self, key_id: bytes, wrapping_key_id: bytes, wrapped: bytes) -> None:
        """Replace the wrapping of a data key; nothing happens if it was deleted meanwhile."""
        query = "UPDATE keys.data_key SET wrapping_key_id = %b, wrapped = %b WHERE key_id = %b"
        self._write(query, wrapping_key_id, wrapped, key_id)

    def secret(self, name: str) -> SecretRow | None:
        """Find a secret."""
        found = self._read("SELECT name, wrapping_key_id, wrapped FROM keys.secret WHERE name = %s", name)
        return SecretRow(*found[0]) if found else None

    def add_secret(self, row: SecretRow) -> SecretRow:
        """Add a secret and give it; if there is one of this name by now, add nothing and give that one."""
        self._write("INSERT INTO keys.secret VALUES (%b, %b, %b) ON CONFLICT DO NOTHING", *row)
        return self.secret(row.name) or row

    def rewrap_secret(self, row: SecretRow) -> None:
        """Replace the wrapping of the secret of this name."""
        query = "UPDATE keys.secret SET wrapping_key_id = %b, wrapped = %b WHERE name = %b"
        self._write(query, row.wrapping_key_id, row.wrapped, row.name)

    def add_erasure_request(self, row: ErasureRequest) -> None:
        """Keep an erasure request."""
        self._write(
            "INSERT INTO keys.erasure_request VALUES (%b, %b, %b) ON CONFLICT (first_index) "
            "DO UPDATE SET request_mac = excluded.request_mac, expires_at = excluded.expires_at",
            *row,
        )

    def take_erasure_request(self, first_index: int, request_mac: bytes, now: int) -> bool:
        """Delete the request of this index and MAC that expires after `now`, and say whether there was one."""
        with self._writing() as transaction:
            transaction.ask("DELETE FROM keys.erasure_request WHERE expires_at <= %b::bigint", now)
            query = "DELETE FROM keys.erasure_request WHERE first_index = %b AND request_mac = %b RETURNING true"
            return bool(transaction.ask(query, first_index, request_mac))

    def close(self) -> None:
        """Let go of every connection."""
        self._sessions.close()

    def _read(self, query: str, *values: object) -> list[Any]:
        with _unavailable(), self._sessions.one() as session:
            return session.read(query, *values)

    def _write(self, query: str, *values: object) -> None:
        with self._writing() as transaction:
            transaction.ask(query, *values)

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        begin = begin_writing(self._limits)
        with _unavailable(), self._sessions.one() as session, session.transaction(begin) as transaction:
            transaction.has_written = True
            yield transaction


def _create(transaction: Transaction) -> None:
    """Make the tables if they are not there."""
    transaction.run("SELECT pg_advisory_xact_lock(7161448)")
    ((is_there,),) = transaction.ask("SELECT to_regclass('keys.data_key') IS NOT NULL")
    if not is_there:
        transaction.run(KEYS_SCHEMA)
        transaction.has_written = True


@contextmanager
def _unavailable() -> Iterator[None]:
    """Turn every fault of this store into one that keeps decisions from being made, and that a second try may heal."""
    try:
        yield
    except LogUnavailableError:
        raise
    except LedgerError as error:
        raise LogUnavailableError(f"the key store refused: {error}") from None


def _place(owner: Owner) -> tuple[str, str]:
    """Name the table of an owner, and the column beside `period`."""
    return ("keys.subject", "pseudonym") if isinstance(owner, Subject) else ("keys.caller", "tenant")


def _key(rows: list[Any]) -> DataKeyRow | None:
    return DataKeyRow(*rows[0]) if rows else None
