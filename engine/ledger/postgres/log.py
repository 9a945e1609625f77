"""The log in PostgreSQL, for several servers that append to one log."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.errors import IntegrityError
from engine.ledger.entry import ZERO_ID
from engine.ledger.postgres import catalog, schema, snapshot
from engine.ledger.postgres.appending import (
    ADD_CHECKPOINTS,
    PostgresAppending,
    begin_appending,
    begin_holding,
)
from engine.ledger.postgres.connection import DEFAULT_LIMITS, Limits, begin_writing, vacuum
from engine.ledger.postgres.session import Session, Sessions
from engine.ledger.postgres.snapshot import PostgresSnapshot
from engine.ledger.store import BatchRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from engine.ledger.postgres.session import Transaction
    from engine.ledger.store import Head, SearchRow, TileId

_FIND_BATCH = "SELECT batch_id, first_index, entry_count, expires_at FROM log.batch WHERE batch_id = %s"


class PostgresLog:
    """The store.

    Args:
        url: where the log is, as `log_writer`; while developing, anybody who may do everything.
        epoch: the epoch that this server writes in; an operator raises that of the head to fence older servers off.
        eraser_url: the same place as `log_eraser`; by default `url`.
        owner_url: the same place as somebody who may become `log_owner`; by default `url`.
        has_standby: refuse a server that acknowledges before a standby has the entry.
        limits: how long things may take.

    """

    def __init__(
        self,
        url: str,
        *,
        epoch: int = 0,
        eraser_url: str | None = None,
        owner_url: str | None = None,
        has_standby: bool = False,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._url = url
        self._epoch = epoch
        self._eraser_url = eraser_url or url
        self._owner_url = owner_url or url
        self._has_standby = has_standby
        self._limits = limits
        self._patient = replace(limits, statement=limits.read)
        self._writer = Session(url, limits)
        self._readers = Sessions(url, limits)

    def create(self, meta: Mapping[str, bytes]) -> bool:
        """Make the tables, the head of an empty log and meta in one transaction; False if they exist already."""
        with self._once(self._owner_url) as session, session.transaction(begin_writing(self._patient)) as transaction:
            return schema.create(transaction, meta, self._epoch)

    def migrate(self) -> None:
        """Bring the tables of an older build to this one's."""
        with self._once(self._owner_url) as session, session.transaction(begin_writing(self._patient)) as transaction:
            schema.migrate(transaction)

    def check(self) -> None:
        """Refuse settings that lose entries and a schema that is not this build's. Raises: UnsafeStoreError."""
        with self._once(self._url) as session, session.transaction(catalog.BEGIN) as transaction:
            catalog.check_settings(transaction, has_standby=self._has_standby)
            catalog.check_schema(transaction, "log")

    def alarms(self) -> tuple[str, ...]:
        """Name what is wrong although the log can still be written: nothing that `check` would not refuse."""
        return ()

    @contextmanager
    def appending(self) -> Iterator[PostgresAppending]:
        """Hold the head; leaving commits, an exception rolls back."""
        with self._writer.transaction(begin_appending(self._limits, self._epoch)) as transaction:
            yield PostgresAppending(transaction)

    def find_batch(self, batch_id: bytes) -> BatchRow | None:
        """Find a batch, after taking the head."""
        with self._writer.transaction(begin_holding(self._limits, self._epoch)) as transaction:
            rows = transaction.ask(_FIND_BATCH, batch_id)
            # With a standby, this commit comes back only once the standby has all that was committed before it.
            transaction.has_written = True
        return BatchRow(*rows[0]) if rows else None

    def probe(self) -> None:
        """Find out whether the log can be written again: hold the head as an appender does, and commit."""
        self.find_batch(ZERO_ID)

    @contextmanager
    def reading(self) -> Iterator[PostgresSnapshot]:
        """Read in one snapshot."""
        begin = snapshot.BEGIN.format(read=round(self._limits.read * 1000))
        with self._readers.one() as session, session.transaction(begin) as transaction:
            yield PostgresSnapshot(transaction)

    def add_checkpoints(self, notes: Sequence[tuple[int, bytes]]) -> None:
        """Keep released checkpoints, each under its size; one that is kept already stays."""
        with self._writing() as transaction:
            transaction.ask(ADD_CHECKPOINTS, [size for size, _ in notes], [note for _, note in notes])

    def expire(self, now: int) -> None:
        """Drop idempotency and batch rows that expired before `now` and before the last entry."""
        with self._writing() as transaction:
            transaction.ask("SELECT log.expire(%b::bigint)", now)

    def erase_bodies(self, tombstone_index: int, key_id: bytes) -> int:
        """Empty the patient bodies of a key that a tombstone names; give how many."""
        begin = begin_writing(self._patient)
        try:
            with self._once(self._eraser_url) as session, session.transaction(begin) as transaction:
                ((count,),) = transaction.ask("SELECT log.erase_bodies(%b::bigint, %b)", tombstone_index, key_id)
                transaction.has_written = True
        except IntegrityError as error:
            raise IntegrityError(str(error), f"entry {tombstone_index}") from None
        return int(count)

    def scrub(self) -> None:
        """Let PostgreSQL use the room of erased rows again; until it does, it holds ciphertext without a key."""
        vacuum(self._owner_url, self._limits, "log.sealed, log.idempotency")

    def rebuild(self, head: Head, tiles: Mapping[TileId, bytes], rows: Iterable[SearchRow]) -> None:
        """Replace the derived tables tile, head and search by these, in one transaction."""
        row = (1, head.size, head.state, head.last_time, head.epoch)
        begin = f"{begin_writing(self._patient)}; SET LOCAL statement_timeout = 0; SET LOCAL ROLE log_owner"
        with self._once(self._owner_url) as session, session.transaction(begin) as transaction:
            transaction.run("LOCK TABLE log.head IN EXCLUSIVE MODE; DELETE FROM log.head")  # from all who write
            transaction.run("DELETE FROM log.tile; DELETE FROM log.search")
            transaction.copy("log.head", ("int2", "int8", "bytea", "int8", "int8"), [row])
            transaction.copy("log.tile", ("int2", "int8", "bytea"), ((*tile, hashes) for tile, hashes in tiles.items()))
            transaction.copy("log.search", ("int8", "int2", "int8", "int8", "bytea", "bytea", "bytea"), rows)
            transaction.has_written = True

    def close(self) -> None:
        """Let go of every connection; a reader that still reads keeps its own until it is done."""
        self._writer.close()
        self._readers.close()

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        """Write something that needs no head."""
        with self._writer.transaction(begin_writing(self._limits)) as transaction:
            yield transaction
            transaction.has_written = True

    @contextmanager
    def _once(self, url: str) -> Iterator[Session]:
        """Give a session of its own."""
        session = Session(url, self._limits)
        try:
            yield session
        finally:
            session.close()
