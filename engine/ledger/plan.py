"""What one commit adds, worked out from the durable head and the drafts that wait. Pure: nothing is read or written.

INVARIANT: indexes come from the head that the transaction holds, never from memory: after a failed sync a store may go
on as if nothing were, and memory would leave a gap.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from engine.errors import IntegrityError, LedgerError, RequestConflictError
from engine.ledger import entry
from engine.ledger.clock import REGRESSED
from engine.ledger.entry import ZERO_DIGEST, Header, Kind
from engine.ledger.merkle import GrowingTree, leaf_hash, right_edge
from engine.ledger.store import Batch, IdempotencyRow, SealedRow

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from engine.ledger.store import Appending, BlobRow, Seen, TileId

KEPT_MICROSECONDS = 24 * 3600 * 1_000_000
"""How long a repeated request is answered by the entry it made."""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """What makes a request the same one: MACs of its id and of its bytes."""

    tenant: int
    key_mac: bytes
    request_mac: bytes


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry before it has a place. `header` went through `entry.check_draft`; `sealed` are parts and bodies."""

    header: Header
    sealed: tuple[tuple[int, bytes], ...] = ()
    idempotency: Idempotency | None = None
    blobs: tuple[BlobRow, ...] = ()
    deadline: float | None = None

    @property
    def size(self) -> int:
        """How many bytes it brings, about."""
        return 512 + sum(len(body) for _, body in self.sealed) + sum(len(blob.body) for blob in self.blobs)


@dataclass(frozen=True, slots=True)
class Placed:
    """The draft became this entry."""

    index: int
    leaf_data: bytes


@dataclass(frozen=True, slots=True)
class Repeated:
    """The request has this entry already; nothing was added for the draft."""

    index: int


Outcome: TypeAlias = Placed | Repeated | LedgerError


@dataclass(slots=True)
class Plan:
    """The batch to write (None if nothing is to be added), the tree after it, and what becomes of each draft."""

    batch: Batch | None
    tree: GrowingTree
    outcomes: list[Outcome] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a batch is written: µs UTC, flags of the system's clock, and the random id of the batch."""

    now: int
    clock_flags: int
    batch_id: bytes


def make_plan(
    appending: Appending,
    drafts: Sequence[Draft],
    moment: Moment,
    known_blobs: Collection[bytes],
    checkpoints: Sequence[tuple[int, bytes]] = (),
    edge: Mapping[TileId, bytes] | None = None,
) -> Plan:
    """Work out a commit.

    Args:
        appending: the transaction that holds the head.
        drafts: at least one.
        moment: when.
        known_blobs: digests that are certainly stored; others are looked up.
        checkpoints: released notes that are to be stored with the batch.
        edge: the partial tiles as the batch before left them; used if they are those of the durable head, else read.

    Raises:
        IntegrityError: head and tiles do not fit each other.

    """
    head = appending.head
    tree = _tree_at(appending, edge)
    logged_at = max(moment.now, head.last_time)
    flags = moment.clock_flags | (REGRESSED if moment.now < head.last_time else 0)
    keys = [(d.idempotency.tenant, d.idempotency.key_mac) for d in drafts if d.idempotency is not None]
    seen = {key: row for key, row in appending.seen(keys).items() if row.expires_at >= logged_at} if keys else {}
    unknown = _missing_blobs(appending, drafts, known_blobs)
    batch = Batch(moment.batch_id, head.size, [], b"", logged_at, logged_at + KEPT_MICROSECONDS, {})
    plan = Plan(batch, tree)
    earlier: dict[tuple[int, bytes], tuple[int, bytes]] = {}
    for draft in drafts:
        outcome = _settled(draft, seen, earlier, unknown)
        if outcome is None:
            outcome = _place(draft, tree.size, logged_at, flags, moment.batch_id)
        plan.outcomes.append(outcome)
        if isinstance(outcome, Placed):
            _add(batch, draft, outcome, earlier)
            tree.add(leaf_hash(outcome.leaf_data))
    batch.state, batch.tiles = tree.state, tree.changed
    batch.checkpoints = list(checkpoints)
    if not batch.leaves:
        plan.batch = None
    return plan


def _tree_at(appending: Appending, edge: Mapping[TileId, bytes] | None) -> GrowingTree:
    head = appending.head
    if edge is not None:
        with suppress(IntegrityError):  # the head is another than memory has: what is durable counts
            return GrowingTree(head.size, head.state, edge)
    return GrowingTree(head.size, head.state, appending.tiles(right_edge(head.size)))


def _missing_blobs(appending: Appending, drafts: Sequence[Draft], known: Collection[bytes]) -> set[bytes]:
    brought = {blob.digest for draft in drafts for blob in draft.blobs}
    asked = {digest for draft in drafts for digest in _named(draft.header)} - brought
    asked -= set(known)
    return asked - appending.known_blobs(asked) if asked else asked


def _named(header: Header) -> set[bytes]:
    named = {header.pack_digest, header.engine_digest, header.schema_digest, header.reference_digest}
    return named - {ZERO_DIGEST}


def _settled(
    draft: Draft,
    seen: dict[tuple[int, bytes], Seen],
    earlier: dict[tuple[int, bytes], tuple[int, bytes]],
    unknown: set[bytes],
) -> Outcome | None:
    """Tell what becomes of a draft that is not to be placed. Of an erased request, the MAC is empty."""
    if unknown and unknown & _named(draft.header):
        message = "the entry names a blob that was never registered"
        return IntegrityError(message)
    if draft.idempotency is None:
        return None
    key = (draft.idempotency.tenant, draft.idempotency.key_mac)
    row = seen.get(key)
    found = earlier.get(key) or ((row.entry_index, row.request_mac) if row else None)
    if found is None:
        return None
    if found[1] and found[1] != draft.idempotency.request_mac:
        message = "this request_id was used for another request; take a new one"
        return RequestConflictError(message)
    return Repeated(found[0])


def _place(draft: Draft, index: int, logged_at: int, flags: int, batch_id: bytes) -> Outcome:
    try:
        return Placed(index, entry.finish(draft.header, index, logged_at, flags, batch_id))
    except IntegrityError as error:
        return error


def _add(batch: Batch, draft: Draft, placed: Placed, earlier: dict[tuple[int, bytes], tuple[int, bytes]]) -> None:
    batch.leaves.append(placed.leaf_data)
    batch.sealed += [SealedRow(placed.index, part, body) for part, body in draft.sealed]
    batch.blobs += draft.blobs
    batch.named_blobs |= _named(draft.header)
    if draft.idempotency is not None and draft.header.kind is not Kind.DECISION_ERROR:
        given = draft.idempotency
        batch.idempotency.append(IdempotencyRow(given.tenant, given.key_mac, placed.index, given.request_mac))
        earlier[given.tenant, given.key_mac] = (placed.index, given.request_mac)
