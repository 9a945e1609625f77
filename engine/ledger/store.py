"""What a store of the log offers, in plain data: no SQL here, and no store knows what an entry means.

Two stores implement `LogStore`: `engine.ledger.sqlite` and `engine.ledger.postgres`; one suite of tests runs over both.

A column that `fsck` does not recompute from `leaf_data` is unprotected. Primary are meta, blob, entry, sealed,
checkpoint and cosignature; tile, head, idempotency, batch and search are derived, and `rebuild` makes tile, head and
search again.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from engine.errors import LedgerError, LogUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

SCHEMA_VERSION = "1"
LARGEST_KIND = 255

TileId: TypeAlias = tuple[int, int]
"""Level and number of a tile."""


class StoreBusyError(LogUnavailableError):
    """The store could not take the batch now (locked, full, read-only, unreachable); nothing of it was written."""


class StoreBrokenError(LogUnavailableError):
    """A read, write or sync failed, so nothing that the open store says may be trusted: the process has to exit.

    Source: PostgreSQL's fsync errors of 2018; after a failed sync the page cache may drop what it did not write.
    """


class CommitUnknownError(LogUnavailableError):
    """The connection was lost while committing: `find_batch` tells whether the batch was written."""


class RetryBatchError(LedgerError):
    """A deadlock, a serialization failure or a moved head: nothing was written, and the same batch may go again."""


class BatchRejectedError(LedgerError):
    """A constraint refused the batch: one of its drafts is at fault; nothing was written."""


class QueryTooLargeError(LedgerError):
    """A question asks for more at once than the store takes. The fault is the question's: the store is well."""


class UnsafeStoreError(LedgerError):
    """The store is not as safe as it has to be, or not of this build: settings, schema, versions, a second writer."""


@dataclass(frozen=True, slots=True)
class Head:
    """The integrated log: entries, compact range, the last entry's time (µs UTC), and what fences old writers."""

    size: int
    state: bytes
    last_time: int
    epoch: int


class Seen(NamedTuple):
    """An idempotency row. INVARIANT: a hint only; the sealed request decides."""

    entry_index: int
    request_mac: bytes
    expires_at: int


class IdempotencyRow(NamedTuple):
    """A request that is answered from now on by the entry it made."""

    tenant: int
    key_mac: bytes
    entry_index: int
    request_mac: bytes


class BlobRow(NamedTuple):
    """Content under its SHA-256."""

    digest: bytes
    kind: int
    body: bytes


class SealedRow(NamedTuple):
    """A sealed part beside its entry; the body is None once erased."""

    entry_index: int
    part: int
    body: bytes | None


class SearchRow(NamedTuple):
    """What lists are made from, derived from one entry's header."""

    entry_index: int
    kind: int
    logged_at: int
    tenant: int
    pack_digest: bytes
    key_id: bytes
    entry_id: bytes


class Wanted(NamedTuple):
    """Which entries a search gives: at most `limit` from index `first` up to before `end`.

    Empty `kinds` and `key_ids` mean any; `since` and `until` are µs UTC, `until` excluded, None without a bound.
    A kind is one byte of a header, so what is no byte finds nothing.
    """

    first: int
    end: int
    limit: int
    kinds: tuple[int, ...] = ()
    key_ids: tuple[bytes, ...] = ()
    since: int | None = None
    until: int | None = None

    def possible_kinds(self) -> list[int] | None:
        """Give the kinds to look for, each once; None for any."""
        return sorted({kind for kind in self.kinds if 0 <= kind <= LARGEST_KIND}) if self.kinds else None

    def distinct_key_ids(self) -> list[bytes] | None:
        """Give the key ids to look for, each once; None for any."""
        return sorted(set(self.key_ids)) if self.key_ids else None


class BatchRow(NamedTuple):
    """One commit: which entries it wrote; settles whether a commit whose answer was lost took place."""

    batch_id: bytes
    first_index: int
    entry_count: int
    expires_at: int


@dataclass(slots=True)
class Batch:
    """Everything that one transaction adds. `state` and `last_time` are those of the head after it."""

    batch_id: bytes
    first_index: int
    leaves: list[bytes]
    state: bytes
    last_time: int
    expires_at: int
    tiles: Mapping[TileId, bytes]
    sealed: list[SealedRow] = field(default_factory=list)
    idempotency: list[IdempotencyRow] = field(default_factory=list)
    blobs: list[BlobRow] = field(default_factory=list)
    named_blobs: set[bytes] = field(default_factory=set)
    checkpoints: list[tuple[int, bytes]] = field(default_factory=list)


class Appending(Protocol):
    """A transaction that holds the head: what it reads is what its batch will stand on."""

    @property
    def head(self) -> Head:
        """The head, locked against every other writer."""

    def tiles(self, wanted: Sequence[TileId]) -> dict[TileId, bytes]:
        """Give the tiles that exist among those wanted."""

    def seen(self, keys: Sequence[tuple[int, bytes]]) -> dict[tuple[int, bytes], Seen]:
        """Give the idempotency rows of (tenant, key_mac) pairs; read after the lock, so those of other writers too."""

    def known_blobs(self, digests: Iterable[bytes]) -> set[bytes]:
        """Give those of the digests that are stored."""

    def write(self, batch: Batch) -> None:
        """Write the batch, blobs before what names them. Raises: BatchRejectedError, RetryBatchError."""


class Snapshot(Protocol):
    """The log as it was at one moment; proofs and roots read here belong together."""

    def damage(self) -> list[str]:
        """Name what the store's own check finds wrong with its tables, indexes and schema; takes as long as a scan."""

    def head(self) -> Head:
        """Give the head."""

    def meta(self) -> dict[str, bytes]:
        """Give schema version, origin, log_id and the genesis verifier key."""

    def leaf(self, index: int) -> bytes:
        """Give one entry's leaf_data. Raises: EntryNotFoundError."""

    def leaves(self, first: int, end: int) -> Iterator[tuple[int, bytes]]:
        """Give index and leaf_data of the entries from `first` up to before `end`, as far as they exist, in order."""

    def sealed(self, index: int, part: int) -> bytes | None:
        """Give a sealed body; None where there is none or it was erased."""

    def sealed_rows(self, first: int, end: int) -> Iterator[SealedRow]:
        """Give the sealed rows of a range of entries, by index and part."""

    def tile(self, level: int, number: int) -> bytes:
        """Give a tile's hashes; empty where there is no such tile."""

    def tiles(self) -> Iterator[tuple[int, int, bytes]]:
        """Give every tile as level, number, hashes, in order."""

    def checkpoint(self, tree_size: int | None = None) -> tuple[int, bytes] | None:
        """Give the latest checkpoint and its size; with `tree_size` the smallest one of at least that size."""

    def checkpoints(self, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Give every checkpoint up to and with size `end`, smallest first."""

    def cosigned(self) -> Iterator[int]:
        """Give the sizes of the checkpoints that have cosignatures."""

    def blob(self, digest: bytes) -> BlobRow | None:
        """Give a blob."""

    def blobs(self) -> Iterator[BlobRow]:
        """Give every blob, by digest."""

    def index_of(self, entry_id: bytes) -> int | None:
        """Find an entry by its id; None if there is none."""

    def find(self, wanted: Wanted) -> list[SearchRow]:
        """Find entries, in order. Raises: QueryTooLargeError."""

    def search_rows(self) -> Iterator[SearchRow]:
        """Give every search row, in order."""

    def idempotency_rows(self) -> Iterator[IdempotencyRow]:
        """Give every idempotency row."""

    def batch_rows(self) -> Iterator[BatchRow]:
        """Give every batch row."""


class LogStore(Protocol):
    """One log. `appending` and `reading` may be called from many threads; a store has one writer at a time.

    Every call may raise StoreBusyError or StoreBrokenError.
    """

    def create(self, meta: Mapping[str, bytes]) -> bool:
        """Make the tables, the head of an empty log and meta in one transaction; False if they exist already."""

    def check(self) -> None:
        """Refuse settings that lose entries and a schema that is not this build's. Raises: UnsafeStoreError."""

    def alarms(self) -> tuple[str, ...]:
        """Name what is wrong although the log can still be written, such as `wal`; empty while all is well."""

    def appending(self) -> AbstractContextManager[Appending]:
        """Hold the head; leaving commits, an exception rolls back.

        Raises: StoreBusyError, RetryBatchError, CommitUnknownError, UnsafeStoreError.
        """

    def find_batch(self, batch_id: bytes) -> BatchRow | None:
        """Find a batch, after taking the head: a dying connection may still be committing it."""

    def probe(self) -> None:
        """Find out whether the log can be written again, changing nothing. Raises: as `appending`."""

    def reading(self) -> AbstractContextManager[Snapshot]:
        """Read in one snapshot."""

    def add_checkpoints(self, notes: Sequence[tuple[int, bytes]]) -> None:
        """Keep released checkpoints, each under its size; one that is kept already stays."""

    def expire(self, now: int) -> None:
        """Drop idempotency and batch rows that expired before `now` (µs UTC)."""

    def erase_bodies(self, tombstone_index: int, key_id: bytes) -> int:
        """Empty the patient bodies of a key that a tombstone names; give how many.

        Of their idempotency rows the MAC of the request goes and that of the request id stays until it expires: a late
        retry must be told that its answer was erased, and not bring the patient back.

        Raises: IntegrityError when the entry is no tombstone that names the key.
        """

    def scrub(self) -> None:
        """Overwrite what erased rows left behind in files of this store."""

    def rebuild(self, head: Head, tiles: Mapping[TileId, bytes], rows: Iterable[SearchRow]) -> None:
        """Replace the derived tables tile, head and search by these, in one transaction."""

    def close(self) -> None:
        """Let go of the store."""


_SEARCHED = struct.Struct(">10xB40xq1x16sI16x32s96x16s")


def search_row(index: int, leaf_data: bytes) -> SearchRow:
    """Derive an entry's search row from its header."""
    kind, logged_at, entry_id, tenant, pack_digest, key_id = _SEARCHED.unpack_from(leaf_data)
    return SearchRow(index, kind, logged_at, tenant, pack_digest, key_id, entry_id)
