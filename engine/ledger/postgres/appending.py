"""The transaction that adds a batch: four round trips while the head is held (three where no request has an id)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.ledger.merkle import right_edge
from engine.ledger.postgres.connection import begin_writing
from engine.ledger.postgres.faults import headless
from engine.ledger.store import Head, Seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine.ledger.postgres.connection import Limits
    from engine.ledger.postgres.session import Transaction
    from engine.ledger.store import Batch, TileId

_HEAD = "SELECT size, state, last_time, epoch FROM log.lock_head({epoch:d})"
_RIGHT_EDGE = "SELECT level, tile_index, hashes FROM log.right_edge()"
_TILES = (
    "SELECT level, tile_index, hashes FROM log.tile JOIN unnest(%b::smallint[], %b::bigint[]) u(level, tile_index) "
    "USING (level, tile_index)"
)
_SEEN = (
    "SELECT tenant, key_mac, entry_index, request_mac, expires_at FROM log.idempotency "
    "JOIN unnest(%b::bigint[], %b::bytea[]) u(tenant, key_mac) USING (tenant, key_mac)"
)
_BLOBS = "SELECT digest FROM log.blob WHERE digest = ANY(%b::bytea[])"
_PUT_BLOB = "SELECT log.put_blob(%b::bytea, %b::smallint, %b::bytea)"
ADD_CHECKPOINTS = "SELECT log.add_checkpoints(%b::bigint[], %b::bytea[])"
_APPEND = (
    "SELECT log.append_batch(%b::bigint, %b::bigint, %b::bytea[], %b::bytea, %b::bigint, "
    "%b::bigint[], %b::smallint[], %b::bytea[], %b::smallint[], %b::bigint[], %b::bytea[], "
    "%b::bigint[], %b::bytea[], %b::bigint[], %b::bytea[], %b::bytea, %b::bigint, %b::bytea[]), "
    "log.add_checkpoints(%b::bigint[], %b::bytea[])"
)


def begin_holding(limits: Limits, epoch: int) -> str:
    """Give the statements that begin a transaction that holds the head."""
    return f"{begin_writing(limits)}; {_HEAD.format(epoch=epoch)}"


def begin_appending(limits: Limits, epoch: int) -> str:
    """Give the statements that hold the head and read the right edge that it has, in one round trip."""
    return f"{begin_holding(limits, epoch)}; {_RIGHT_EDGE}"


class PostgresAppending:
    """A transaction that began with `begin_appending`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        first = transaction.first
        first.set_result(-2)
        row = first.fetchone()
        if row is None:
            raise headless()
        self.head = Head(*row)
        first.set_result(-1)
        self._edge: dict[TileId, bytes] = {(level, number): hashes for level, number, hashes in first}

    def tiles(self, wanted: Sequence[TileId]) -> dict[TileId, bytes]:
        """Give the tiles that exist among those wanted; those at the right edge came with the head."""
        found = {tile: self._edge[tile] for tile in wanted if tile in self._edge}
        edge = set(right_edge(self.head.size))
        others = [tile for tile in wanted if tile not in edge]
        if others:
            rows = self._ask(_TILES, *_columns(others, 2))
            found |= {(level, number): hashes for level, number, hashes in rows}
        return found

    def seen(self, keys: Sequence[tuple[int, bytes]]) -> dict[tuple[int, bytes], Seen]:
        """Give the idempotency rows of (tenant, key_mac) pairs."""
        rows = self._ask(_SEEN, *_columns(keys, 2)) if keys else []
        return {(tenant, key_mac): Seen(*rest) for tenant, key_mac, *rest in rows}

    def known_blobs(self, digests: Iterable[bytes]) -> set[bytes]:
        """Give those of the digests that are stored."""
        return {digest for (digest,) in self._ask(_BLOBS, list(digests))}

    def write(self, batch: Batch) -> None:
        """Write the batch, blobs before what names them. Raises: BatchRejectedError, RetryBatchError."""
        tiles = [(*tile, hashes) for tile, hashes in batch.tiles.items()]
        for blob in batch.blobs:
            self._ask(_PUT_BLOB, *blob)
        self._ask(
            _APPEND,
            self.head.epoch,
            batch.first_index,
            batch.leaves,
            batch.state,
            batch.last_time,
            *_columns(batch.sealed, 3),
            *_columns(tiles, 3),
            *_columns(batch.idempotency, 4),
            batch.batch_id,
            batch.expires_at,
            list(batch.named_blobs),
            *_columns(batch.checkpoints, 2),
        )
        self._transaction.has_written = True

    def _ask(self, query: str, *values: object) -> list[Any]:
        return self._transaction.ask(query, *values)


def _columns(rows: Sequence[Sequence[object]], count: int) -> list[list[object]]:
    """Turn rows into one list a column, as unnest takes them."""
    return [[row[column] for row in rows] for column in range(count)]
