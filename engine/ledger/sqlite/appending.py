"""The one transaction that holds the head, and what it writes.

Each table takes one statement for a whole batch: between statements other threads get the interpreter, and the writer
would wait for it as many times as there are rows.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import apsw

from engine.ledger.sqlite.schema import TILE, read_head
from engine.ledger.store import BatchRejectedError, RetryBatchError, Seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine.ledger.store import Batch, IdempotencyRow, TileId

TENANT = slice(76, 80)
PARTS = (1, 2)

_SEEN = """SELECT i.key_mac, i.entry_index, i.request_mac, i.expires_at FROM carray(?1) AS c
  CROSS JOIN idempotency AS i WHERE i.tenant=?2 AND i.key_mac=c.value"""
_SEARCH = """INSERT INTO search SELECT ?1 + rowid - 1, unicode(substr(value,11,1)), ?2, ?3,
  substr(value,97,32), substr(value,225,16), substr(value,61,16) FROM carray(?4) WHERE substr(value,77,4)=?5"""
_SEALED = """INSERT INTO sealed SELECT ?1 + rowid - 1, 1, value FROM carray(?2) WHERE length(value) > 0
  UNION ALL SELECT ?1 + rowid - 1, 2, value FROM carray(?3) WHERE length(value) > 0"""
_TILES = "INSERT INTO tile VALUES(?,?,?) ON CONFLICT DO UPDATE SET hashes=excluded.hashes"
_IDEMPOTENCY = """INSERT INTO idempotency SELECT ?3, substr(value,1,32), ?1 + rowid - 1, substr(value,33), ?2
  FROM carray(?4) WHERE length(value) > 0
  ON CONFLICT DO UPDATE SET entry_index=excluded.entry_index, request_mac=excluded.request_mac,
  expires_at=excluded.expires_at WHERE idempotency.expires_at < ?5"""
_BLOBS = "SELECT c.value FROM carray(?) AS c CROSS JOIN blob AS b WHERE b.digest=c.value"


class SqliteAppending:
    """The open transaction of the one writer. `known` are digests that are certainly stored; it grows."""

    def __init__(self, connection: apsw.Connection, known: set[bytes]) -> None:
        self._connection = connection
        self._known = known
        self.head = read_head(connection)

    def tiles(self, wanted: Sequence[TileId]) -> dict[TileId, bytes]:
        """Give the tiles that exist among those wanted."""
        found = {tile: self._connection.execute(TILE, tile).get for tile in wanted}
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
        wanted = set(digests)
        asked = wanted - self._known
        if asked:
            self._known.update(row[0] for row in self._connection.execute(_BLOBS, (apsw.carray(tuple(asked)),)))
        return wanted & self._known

    def write(self, batch: Batch) -> None:
        """Write the batch, blobs before what names them. Raises: BatchRejectedError, RetryBatchError."""
        execute = self._connection.execute
        first, count = batch.first_index, len(batch.leaves)
        if (first, count > 0) != (self.head.size, True):
            message = "the batch does not begin where the log ends"
            raise RetryBatchError(message)
        self._write_blobs(batch)
        leaves = apsw.carray(tuple(batch.leaves))
        execute("INSERT INTO entry SELECT ?1 + rowid - 1, value FROM carray(?2)", (first, leaves))
        for tenant in {leaf[TENANT] for leaf in batch.leaves}:
            execute(_SEARCH, (first, batch.last_time, int.from_bytes(tenant, "big"), leaves, tenant))
        self._write_sealed(batch)
        tiles = [(level, number, hashes) for (level, number), hashes in batch.tiles.items()]
        self._connection.executemany(_TILES, tiles)
        for owner in {row.tenant for row in batch.idempotency}:
            self._write_idempotency(batch, owner, [row for row in batch.idempotency if row.tenant == owner])
        execute("INSERT INTO batch VALUES(?,?,?,?)", (batch.batch_id, first, count, batch.expires_at))
        execute("UPDATE head SET size=?, state=?, last_time=?", (first + count, batch.state, batch.last_time))
        add_checkpoints(self._connection, batch.checkpoints)

    def _write_blobs(self, batch: Batch) -> None:
        if any(hashlib.sha256(blob.body).digest() != blob.digest for blob in batch.blobs):
            message = "a blob is not what its digest says"
            raise BatchRejectedError(message)
        brought = {blob.digest for blob in batch.blobs}
        if batch.blobs:
            self._connection.executemany("INSERT INTO blob VALUES(?,?,?) ON CONFLICT DO NOTHING", batch.blobs)
        if self.known_blobs(batch.named_blobs - brought) != batch.named_blobs - brought:
            message = "an entry names a blob that is not stored"
            raise BatchRejectedError(message)

    def _write_sealed(self, batch: Batch) -> None:
        bodies = {part: [b""] * len(batch.leaves) for part in PARTS}
        for index, part, body in batch.sealed:
            place = index - batch.first_index
            if part not in bodies or not body or not 0 <= place < len(batch.leaves) or bodies[part][place]:
                message = "a sealed part belongs to no entry of the batch, is there twice, or is empty"
                raise BatchRejectedError(message)
            bodies[part][place] = body
        self._connection.execute(_SEALED, (batch.first_index, *(apsw.carray(tuple(bodies[part])) for part in PARTS)))

    def _write_idempotency(self, batch: Batch, tenant: int, rows: Sequence[IdempotencyRow]) -> None:
        macs = [b""] * len(batch.leaves)
        for row in rows:
            macs[row.entry_index - batch.first_index] = row.key_mac + row.request_mac
        before = self._connection.total_changes()
        values = (batch.first_index, batch.expires_at, tenant, apsw.carray(tuple(macs)), batch.last_time)
        self._connection.execute(_IDEMPOTENCY, values)
        if self._connection.total_changes() - before != len(rows):
            message = "a request id is in use for another entry"
            raise BatchRejectedError(message)


def add_checkpoints(connection: apsw.Connection, notes: Sequence[tuple[int, bytes]]) -> None:
    """Keep released checkpoints that the log has reached; those that are kept already stay."""
    query = "INSERT INTO checkpoint SELECT ?1, ?2 FROM head WHERE size >= ?1 ON CONFLICT DO NOTHING"
    connection.executemany(query, notes)
