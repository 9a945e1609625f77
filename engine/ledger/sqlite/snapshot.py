"""The log as it was at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import EntryNotFoundError
from engine.ledger.sqlite.schema import BATCHES, TILE, expected_schema, read_head, schema_of
from engine.ledger.store import BatchRow, BlobRow, Head, IdempotencyRow, SealedRow, SearchRow, Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    import apsw

LAST = 2**63 - 1
_SEARCHED = "entry_index, kind, logged_at, tenant, pack_digest, key_id, entry_id"


class SqliteSnapshot:
    """A read transaction."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._cursors: list[apsw.Cursor] = []

    def close(self) -> None:
        """End every reading that was left half way: an open one would keep this snapshot's view alive."""
        for cursor in self._cursors:
            cursor.close(force=True)

    def damage(self) -> list[str]:
        """Name what SQLite finds wrong with the file, and what in the schema is not this build's."""
        found = [str(row[0]) for row in self._connection.execute("PRAGMA integrity_check").fetchall()]
        wanted, there = expected_schema(), schema_of(self._connection)
        strange = sorted({row[1] for row in (*wanted, *there) if (row in wanted) != (row in there)})
        return [fault for fault in found if fault != "ok"] + [
            f"`{name}` is not as this build makes it" for name in strange
        ]

    def head(self) -> Head:
        """Give the head."""
        return read_head(self._connection)

    def meta(self) -> dict[str, bytes]:
        """Give schema version, origin, log_id and the genesis verifier key."""
        return dict(self._connection.execute("SELECT k, v FROM meta"))

    def leaf(self, index: int) -> bytes:
        """Give one entry's leaf_data. Raises: EntryNotFoundError."""
        query = "SELECT leaf_data FROM entry WHERE entry_index=?"
        row = self._connection.execute(query, (index,)).fetchone() if 0 <= index <= LAST else None
        if row is None:
            message = f"the log has no entry {index}"
            raise EntryNotFoundError(message)
        return bytes(row[0])

    def leaves(self, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Give index and leaf_data of a range of entries, in order."""
        query = "SELECT entry_index, leaf_data FROM entry WHERE entry_index>=? AND entry_index<? ORDER BY entry_index"
        return self._iterate(query, first, end)

    def sealed(self, index: int, part: int) -> bytes | None:
        """Give a sealed body; None where there is none or it was erased."""
        query = "SELECT body FROM sealed WHERE entry_index=? AND part=?"
        row = self._connection.execute(query, (index, part)).fetchone()
        return row[0] if row else None

    def sealed_rows(self, first: int, end: int) -> Iterator[SealedRow]:
        """Give the sealed rows of a range of entries, by index and part."""
        query = "SELECT entry_index, part, body FROM sealed WHERE entry_index>=? AND entry_index<? ORDER BY 1, 2"
        return map(SealedRow._make, self._iterate(query, first, end))

    def tile(self, level: int, number: int) -> bytes:
        """Give a tile's hashes; empty where there is no such tile."""
        row = self._connection.execute(TILE, (level, number)).fetchone()
        return bytes(row[0]) if row else b""

    def tiles(self) -> Iterator[tuple[int, int, bytes]]:
        """Give every tile as level, number, hashes, in order."""
        return self._iterate("SELECT level, tile_index, hashes FROM tile ORDER BY level, tile_index")

    def checkpoint(self, tree_size: int | None = None) -> tuple[int, bytes] | None:
        """Give the latest checkpoint and its size; with `tree_size` the smallest one of at least that size."""
        order = "ORDER BY size DESC" if tree_size is None else "WHERE size>=? ORDER BY size"
        values = () if tree_size is None else (tree_size,)
        row: Any = self._connection.execute(f"SELECT size, note FROM checkpoint {order} LIMIT 1", values).fetchone()  # noqa: S608 - fixed text
        return (row[0], bytes(row[1])) if row else None

    def checkpoints(self, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Give every checkpoint up to and with size `end`, smallest first."""
        query = "SELECT size, note FROM checkpoint WHERE size<=? ORDER BY size"
        return self._iterate(query, LAST if end is None else min(end, LAST))

    def cosigned(self) -> Iterator[int]:
        """Give the sizes of the checkpoints that have cosignatures."""
        return (row[0] for row in self._iterate("SELECT size FROM cosignature ORDER BY size"))

    def blob(self, digest: bytes) -> BlobRow | None:
        """Give a blob."""
        row = self._connection.execute("SELECT digest, kind, body FROM blob WHERE digest=?", (digest,)).fetchone()
        return BlobRow(*row) if row else None

    def blobs(self) -> Iterator[BlobRow]:
        """Give every blob, by digest."""
        return (BlobRow(*r) for r in self._iterate("SELECT digest, kind, body FROM blob ORDER BY digest"))

    def index_of(self, entry_id: bytes) -> int | None:
        """Find an entry by its id; None if there is none."""
        row = self._connection.execute("SELECT entry_index FROM search WHERE entry_id=?", (entry_id,)).fetchone()
        return row[0] if row else None

    def find(self, wanted: Wanted) -> list[SearchRow]:
        """Find entries, in order."""
        conditions = ["entry_index>=?", "entry_index<?"]
        values: list[int | bytes] = [min(wanted.first, LAST), min(wanted.end, LAST)]
        for column, allowed in (("kind", wanted.possible_kinds()), ("key_id", wanted.distinct_key_ids())):
            if allowed is not None:
                conditions.append(f"{column} IN ({','.join('?' * len(allowed))})")
                values += allowed
        for condition, bound in (("logged_at>=?", wanted.since), ("logged_at<?", wanted.until)):
            if bound is not None:
                conditions.append(condition)
                values.append(bound)
        query = f"SELECT {_SEARCHED} FROM search WHERE {' AND '.join(conditions)} ORDER BY entry_index LIMIT ?"  # noqa: S608 - fixed texts
        return [SearchRow(*row) for row in self._connection.execute(query, (*values, min(wanted.limit, LAST)))]

    def search_rows(self) -> Iterator[SearchRow]:
        """Give every search row, in order."""
        query = f"SELECT {_SEARCHED} FROM search ORDER BY entry_index"  # noqa: S608 - fixed text
        return map(SearchRow._make, self._iterate(query))

    def idempotency_rows(self) -> Iterator[IdempotencyRow]:
        """Give every idempotency row."""
        query = "SELECT tenant, key_mac, entry_index, request_mac FROM idempotency"
        return (IdempotencyRow(*row) for row in self._iterate(query))

    def batch_rows(self) -> Iterator[BatchRow]:
        """Give every batch row."""
        return (BatchRow(*row) for row in self._iterate(BATCHES))

    def _iterate(self, query: str, *values: int) -> Iterator[Any]:
        cursor = self._connection.cursor()
        self._cursors.append(cursor)
        return cursor.execute(query, tuple(min(value, LAST) for value in values))
