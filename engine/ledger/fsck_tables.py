"""The tables beside the entries, held against what the entries told."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from engine.errors import EntryNotFoundError, IntegrityError
from engine.ledger import entry
from engine.ledger.log import open_entry
from engine.ledger.merkle import HASH_SIZE, TILE_WIDTH

if TYPE_CHECKING:
    from engine.ledger.findings import Findings
    from engine.ledger.fsck_entries import Told
    from engine.ledger.keys import KeyStore
    from engine.ledger.merkle import GrowingTree
    from engine.ledger.store import Snapshot

TILE_LEVELS = 8  # of a log of 2^63 entries


def check_head(snapshot: Snapshot, tree: GrowingTree, told: Told, findings: Findings) -> None:
    """Check the width of every tile, and the head. What the tiles hold was compared while the tree grew."""
    widths = {(level, number): len(hashes) // HASH_SIZE for level, number, hashes in snapshot.tiles()}
    for (level, number), width in widths.items():
        is_tile = 0 <= level < TILE_LEVELS and number >= 0
        right = max(0, min(TILE_WIDTH, (tree.size >> 8 * level) - TILE_WIDTH * number)) if is_tile else 0
        if width != right:
            message = f"has {width} hashes where the log gives {right}"
            findings.add("tile", f"tile {level}/{number}", message, is_derived=True)
    try:
        head = snapshot.head()
    except IntegrityError:
        return
    if (head.size, head.state, head.last_time) != (tree.size, tree.state, told.last_time):
        findings.add("head", "table head", "is not what the entries give", is_derived=True)


def check_blobs(snapshot: Snapshot, told: Told, findings: Findings) -> None:
    """Check that blobs are what their digests say, and that they are those which were registered."""
    found: set[bytes] = set()
    for row in snapshot.blobs():
        found.add(row.digest)
        place = f"blob {row.digest.hex()}"
        if hashlib.sha256(row.body).digest() != row.digest:
            findings.add("blob", place, "is not what its digest says")
        if row.kind not in told.registered.get(row.digest, ()):
            findings.add("blob", place, "was never registered as this kind")
    for digest in sorted(told.registered.keys() - found):
        findings.add("blob", f"blob {digest.hex()}", "was registered but is missing")


def check_erasures(told: Told, findings: Findings) -> None:
    """Check that what lacks has a tombstone, and that every erasure was ended."""
    erased = told.erased_keys()
    for index, key_id in told.lacking:
        if key_id not in erased:
            findings.add("sealed", f"entry {index}", "a sealed part was erased without a tombstone")
    for index in told.half_done():
        findings.add("erasure", f"entry {index}", "the erasure has not been ended", is_derived=True)


def check_hints(snapshot: Snapshot, told: Told, findings: Findings) -> None:
    """Check the tables that only help to find things: idempotency, batch, cosignature."""
    for row in snapshot.idempotency_rows():
        if not 0 <= row.entry_index < findings.tree_size:
            findings.add("idempotency", "table idempotency", f"names entry {row.entry_index}, which is not there")
    for batch in snapshot.batch_rows():
        if told.batches.get(batch.batch_id) != [batch.first_index, batch.entry_count]:
            findings.add("batch", "table batch", f"does not fit the entries from {batch.first_index} on")
    for claimed in snapshot.cosigned():
        findings.add("cosignature", f"checkpoint {claimed}", "has a cosignature, and this build takes none")


def check_keys(keys: KeyStore, told: Told, findings: Findings) -> bool:
    """Check that keys are gone if, and only if, a tombstone names them; False where the store is not this log's.

    A store that has none of the keys was lost, or is another log's, and that is a gap: nothing is known to be wrong.
    """
    erased = told.erased_keys()
    named = told.named_keys - {entry.ZERO_ID}
    kept = {key_id for key_id in named if _is_kept(keys, key_id)}
    gone = named - erased - kept
    if gone and not kept:
        message = f"has none of the {len(gone)} keys that open what is sealed, and no tombstone says why: it is lost"
        findings.lack("keys", "key store", message)
        return False
    for key_id in sorted(gone):
        findings.add("key", f"key {key_id.hex()}", "is gone without a tombstone")
    for key_id in sorted(kept & erased):
        findings.add("key", f"key {key_id.hex()}", "is still there after its tombstone", is_derived=True)
    return True


def _is_kept(keys: KeyStore, key_id: bytes) -> bool:
    try:
        return keys.open_key(key_id) is not None
    except IntegrityError:
        return True  # it is there and does not open, which is told where it is needed


def check_requests(snapshot: Snapshot, keys: KeyStore, told: Told, findings: Findings) -> None:
    """Compute the MACs of repeated requests again from what is sealed."""
    half_erased = {key_id for index in told.half_done() for key_id in told.tombstones[index]}
    for row in snapshot.idempotency_rows():
        place = f"table idempotency, entry {row.entry_index}"
        try:
            opened = open_entry(snapshot, keys, row.entry_index)
        except (EntryNotFoundError, IntegrityError) as error:
            findings.add("idempotency", place, f"its entry cannot be opened: {error}")
            continue
        if row.tenant != opened.header.tenant:
            findings.add("idempotency", place, "is of another tenant")
            continue
        if opened.content is None and row.request_mac and opened.header.key_id not in half_erased:
            findings.add("idempotency", place, "still knows a request that was erased")
        asked = opened.caller
        if asked is None:
            continue
        request = opened.content.request if opened.content else b""
        macs = keys.request_macs(row.tenant, asked.method, asked.request_id, request)
        if macs[0] != row.key_mac or (opened.content and macs[1] != row.request_mac):
            findings.add("idempotency", place, "is of another request")
