"""Batches as a writer would make them, of entries that are made up."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from engine.ledger import entry
from engine.ledger.body import ErasureDone, Tombstone, write_body
from engine.ledger.entry import Header, Kind, Part
from engine.ledger.merkle import GrowingTree, leaf_hash, right_edge
from engine.ledger.seal import PartKind
from engine.ledger.store import Batch, BlobRow, IdempotencyRow, SealedRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.ledger.store import Appending, LogStore

LOG_ID = sha256(b"the log of the tests").digest()
META = {"schema": b"1", "origin": b"tests.example/log", "log_id": LOG_ID, "vkey": b"a verifier key"}
BLOB = BlobRow(sha256(b"a pack set").digest(), 1, b"a pack set")
PATIENT, CALLER = PartKind.PATIENT.value, PartKind.CALLER.value
DAY = 24 * 3600 * 1_000_000


@dataclass(frozen=True)
class Draft:
    """An entry without a place, its sealed bodies by part, and the request that it answers."""

    header: Header
    sealed: dict[int, bytes] = field(default_factory=dict)
    request: tuple[int, bytes, bytes] | None = None


def decision(*, key_id: bytes = b"", tenant: int = 0, key_mac: bytes = b"", size: int = 796) -> Draft:
    """Make up a decision; with `key_mac` one that answers a request with an id."""
    sealed = {PATIENT: os.urandom(size), CALLER: os.urandom(284)}
    patient, caller = (Part(len(body), sha256(body).digest(), os.urandom(32)) for body in sealed.values())
    header = Header(
        kind=Kind.DECISION,
        log_id=LOG_ID,
        entry_id=os.urandom(16),
        tenant=tenant,
        pack_digest=BLOB.digest,
        engine_digest=BLOB.digest,
        schema_digest=BLOB.digest,
        reference_digest=BLOB.digest,
        key_id=key_id or os.urandom(16),
        caller_key_id=os.urandom(16),
        seal_algorithm=1,
        patient=patient,
        caller=caller,
    )
    return Draft(header, sealed, (tenant, key_mac, sha256(key_mac).digest()) if key_mac else None)


def tombstone(*key_ids: bytes, authority: str = "a court") -> Draft:
    """Make up a tombstone of these keys."""
    body = write_body(Tombstone(key_ids, "request", authority))
    return Draft(Header(kind=Kind.TOMBSTONE, log_id=LOG_ID, entry_id=os.urandom(16), body=body))


def erasure_done(index: int) -> Draft:
    """Make up the end of an erasure."""
    body = write_body(ErasureDone(index))
    return Draft(Header(kind=Kind.ERASURE_DONE, log_id=LOG_ID, entry_id=os.urandom(16), body=body))


def decisions(count: int) -> list[Draft]:
    """Make up some decisions."""
    return [decision() for _ in range(count)]


def build(appending: Appending, drafts: Sequence[Draft], time: int = 0) -> Batch:
    """Place drafts after the head, at a time, or at once after the last entry."""
    head = appending.head
    tree = GrowingTree(head.size, head.state, appending.tiles(right_edge(head.size)))
    logged_at = max(time, head.last_time + 1)
    batch = Batch(os.urandom(16), head.size, [], b"", logged_at, logged_at + DAY, {})
    for index, draft in enumerate(drafts, head.size):
        header = draft.header
        if not batch.leaves and not appending.known_blobs([BLOB.digest]):
            batch.blobs.append(BLOB)
        leaf = entry.encode(replace(header, index=index, logged_at=logged_at, batch_id=batch.batch_id))
        batch.leaves.append(leaf)
        tree.add(leaf_hash(leaf))
        batch.sealed += [SealedRow(index, part, body) for part, body in draft.sealed.items()]
        if draft.request is not None:
            tenant, key_mac, request_mac = draft.request
            batch.idempotency.append(IdempotencyRow(tenant, key_mac, index, request_mac))
        if header.kind is Kind.DECISION:
            batch.named_blobs.add(header.pack_digest)
    batch.state, batch.tiles = tree.state, tree.changed
    return batch


def append(
    store: LogStore,
    drafts: Sequence[Draft],
    time: int = 0,
    change: Callable[[Batch], object] = lambda _: None,
    after: Callable[[Batch], object] = lambda _: None,
) -> Batch:
    """Write drafts in one batch; give it.

    `change` may spoil the batch before it is written, and `after` comes between that and the commit.
    """
    with store.appending() as appending:
        batch = build(appending, drafts, time)
        change(batch)
        appending.write(batch)
        after(batch)
    return batch
