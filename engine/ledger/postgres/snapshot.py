"""Reading the log at one moment.

What may be long is read page by page, each page beginning after the last key of the one before: inside one REPEATABLE
READ transaction that is one answer, and a reader who stops half-way leaves nothing open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import EntryNotFoundError
from engine.ledger.postgres.faults import headless
from engine.ledger.store import BatchRow, BlobRow, Head, IdempotencyRow, SealedRow, SearchRow, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.ledger.postgres.session import Transaction

BEGIN = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {read:d}; "
    "SELECT size, state, last_time, epoch FROM log.head"
)
"""The head is read with it: a snapshot begins with its first read. `read` is in milliseconds."""

LAST = 2**63 - 1
_ROWS, _BODIES = 2048, 64
"""How many rows, and rows that may be large, come at once."""


class PostgresSnapshot:
    """A read transaction that began with `BEGIN`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        first = transaction.first
        first.set_result(-1)
        self._head = first.fetchone()

    def damage(self) -> list[str]:
        """Name nothing: the server checks its own pages, and `check` the schema."""
        return []

    def head(self) -> Head:
        """Give the head."""
        if self._head is None:
            raise headless()
        return Head(*self._head)

    def meta(self) -> dict[str, bytes]:
        """Give schema version, origin, log_id and the genesis verifier key."""
        return dict(self._rows("SELECT k, v FROM log.meta"))

    def leaf(self, index: int) -> bytes:
        """Give one entry's leaf_data. Raises: EntryNotFoundError."""
        row = self._row("SELECT leaf_data FROM log.entry WHERE entry_index = %s", _number(index))
        if row is None:
            message = f"the log has no entry {index}"
            raise EntryNotFoundError(message)
        return bytes(row[0])

    def leaves(self, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Give index and leaf_data of a range of entries, in order."""
        query = (
            "SELECT entry_index, leaf_data FROM log.entry WHERE entry_index >= %s AND entry_index < %s "
            "ORDER BY entry_index LIMIT %s"
        )
        at, stop = _number(first), _number(end)
        while rows := self._rows(query, at, stop, _ROWS):
            yield from rows
            at = rows[-1][0] + 1

    def sealed(self, index: int, part: int) -> bytes | None:
        """Give a sealed body; None where there is none or it was erased."""
        row = self._row("SELECT body FROM log.sealed WHERE entry_index = %s AND part = %s", _number(index), part)
        return row[0] if row else None

    def sealed_rows(self, first: int, end: int) -> Iterator[SealedRow]:
        """Give the sealed rows of a range of entries, by index and part."""
        query = (
            "SELECT entry_index, part, body FROM log.sealed WHERE entry_index < %s AND (entry_index, part) > (%s, %s) "
            "ORDER BY entry_index, part LIMIT %s"
        )
        after: tuple[int, int] = (_number(first), -1)
        while rows := self._rows(query, _number(end), *after, _BODIES):
            yield from (SealedRow(*row) for row in rows)
            after = rows[-1][:2]

    def tile(self, level: int, number: int) -> bytes:
        """Give a tile's hashes; empty where there is no such tile."""
        query = "SELECT hashes FROM log.tile WHERE level = %s AND tile_index = %s"
        row = self._row(query, level, _number(number))
        return bytes(row[0]) if row else b""

    def tiles(self) -> Iterator[tuple[int, int, bytes]]:
        """Give every tile as level, number, hashes, in order."""
        query = (
            "SELECT level, tile_index, hashes FROM log.tile WHERE (level, tile_index) > (%s, %s) "
            "ORDER BY level, tile_index LIMIT %s"
        )
        after: tuple[int, int] = (-1, -1)
        while rows := self._rows(query, *after, _BODIES):
            yield from rows
            after = rows[-1][:2]

    def checkpoint(self, tree_size: int | None = None) -> tuple[int, bytes] | None:
        """Give the latest checkpoint and its size; with `tree_size` the smallest one of at least that size."""
        if tree_size is None:
            row = self._row("SELECT size, note FROM log.checkpoint ORDER BY size DESC LIMIT 1")
        else:
            query = "SELECT size, note FROM log.checkpoint WHERE size >= %s ORDER BY size LIMIT 1"
            row = self._row(query, _number(tree_size))
        return (row[0], row[1]) if row else None

    def checkpoints(self, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Give every checkpoint up to and with size `end`, smallest first."""
        query = "SELECT size, note FROM log.checkpoint WHERE size > %s AND size <= %s ORDER BY size LIMIT %s"
        after, stop = -1, LAST if end is None else _number(end)
        while rows := self._rows(query, after, stop, _ROWS):
            yield from rows
            after = rows[-1][0]

    def cosigned(self) -> Iterator[int]:
        """Give the sizes of the checkpoints that have cosignatures."""
        return (row[0] for row in self._rows("SELECT size FROM log.cosignature ORDER BY size"))

    def blob(self, digest: bytes) -> BlobRow | None:
        """Give a blob."""
        row = self._row("SELECT digest, kind, body FROM log.blob WHERE digest = %s", digest)
        return BlobRow(*row) if row else None

    def blobs(self) -> Iterator[BlobRow]:
        """Give every blob, by digest."""
        query = "SELECT digest, kind, body FROM log.blob WHERE digest > %s ORDER BY digest LIMIT 1"
        after = b""
        while row := self._row(query, after):
            yield BlobRow(*row)
            after = row[0]

    def index_of(self, entry_id: bytes) -> int | None:
        """Find an entry by its id; None if there is none."""
        row = self._row("SELECT entry_index FROM log.search WHERE entry_id = %s", entry_id)
        return row[0] if row else None

    def find(self, wanted: Wanted) -> list[SearchRow]:
        """Find entries, in order."""
        conditions = ["entry_index >= %s", "entry_index < %s"]
        values: list[object] = [_number(wanted.first), _number(wanted.end)]
        for condition, value in (
            ("kind = ANY(%s)", wanted.possible_kinds()),
            ("key_id = ANY(%s)", wanted.distinct_key_ids()),
            ("logged_at >= %s", wanted.since),
            ("logged_at < %s", wanted.until),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        return [SearchRow(*row) for row in self._search(" AND ".join(conditions), values, _number(wanted.limit))]

    def search_rows(self) -> Iterator[SearchRow]:
        """Give every search row, in order."""
        after = -1
        while rows := self._search("entry_index > %s", [after], _ROWS):
            yield from (SearchRow(*row) for row in rows)
            after = rows[-1][0]

    def idempotency_rows(self) -> Iterator[IdempotencyRow]:
        """Give every idempotency row."""
        query = (
            "SELECT tenant, key_mac, entry_index, request_mac FROM log.idempotency WHERE (tenant, key_mac) > (%s, %s) "
            "ORDER BY tenant, key_mac LIMIT %s"
        )
        after: tuple[int, bytes] = (-1, b"")
        while rows := self._rows(query, *after, _ROWS):
            yield from (IdempotencyRow(*row) for row in rows)
            after = rows[-1][:2]

    def batch_rows(self) -> Iterator[BatchRow]:
        """Give every batch row."""
        query = (
            "SELECT batch_id, first_index, entry_count, expires_at FROM log.batch WHERE batch_id > %s "
            "ORDER BY batch_id LIMIT %s"
        )
        after = b""
        while rows := self._rows(query, after, _ROWS):
            yield from (BatchRow(*row) for row in rows)
            after = rows[-1][0]

    def _search(self, conditions: str, values: Sequence[object], limit: int) -> list[Any]:
        query = (
            "SELECT entry_index, kind, logged_at, tenant, pack_digest, key_id, entry_id FROM log.search "  # noqa: S608 - fixed texts
            f"WHERE {conditions} ORDER BY entry_index LIMIT %s"
        )
        return self._rows(query, *values, limit)

    def _row(self, query: str, *values: object) -> Any:  # noqa: ANN401 - a row of whatever was asked for
        rows = self._rows(query, *values)
        return rows[0] if rows else None

    def _rows(self, query: str, *values: object) -> list[Any]:
        return self._transaction.ask(query, *values)


def _number(value: int) -> int:
    """Bring a number into what bigint holds: no index or size lies beyond, and a larger type would read every row."""
    return min(max(value, -1), LAST)
