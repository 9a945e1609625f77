"""A log as files that outlive its store: what an auditor takes away and verifies with nothing but the public key.

    checkpoint            the note of the exported tree
    checkpoints/SIZE      every released note up to it
    tile/L/N[.p/W]        hashes; tile/entries/N[.p/W] headers, each after its length (u16)
    sealed/SHA256         sealed bodies: ciphertext, as it lies in the log
    blob/SHA256           rule packs, data dictionary, contract, engine manifest, reports
    manifest              for people; nothing is verified by it

`checkpoint` is written last, so that a broken-off export is seen to be one. Source: C2SP tlog-tiles.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from engine.errors import EntryNotFoundError, LedgerError
from engine.ledger import entry
from engine.ledger.entry import Kind
from engine.ledger.fhir_audit import audit_event, provenance
from engine.ledger.merkle import TILE_HEIGHT, TILE_WIDTH, tile_path

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engine.ledger.store import Snapshot

_HASH_SIZE = 32


class ExportError(LedgerError):
    """The export cannot be written there."""


def write_export(
    snapshot: Snapshot,
    folder: Path,
    tree_size: int | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> int:
    """Write an export; give the size of the tree that was exported, which is that of a released checkpoint.

    Args:
        snapshot: the log.
        folder: where to; made if need be, and empty.
        tree_size: export the largest released tree of at most so many entries; None for the latest.
        progress: hears how many entries of how many are written.

    Raises:
        ExportError: the folder holds something already.
        EntryNotFoundError: no checkpoint was released yet, or none so small.
        IntegrityError: a tile is too short for the tree.

    """
    size, released = _prepared(snapshot, folder, tree_size)
    for each, note in released.items():
        _write(folder / "checkpoints" / str(each), note)
    _write_entries(snapshot, folder, size, progress)
    _write_tiles(snapshot, folder, size)
    blobs = 0
    for blob in snapshot.blobs():
        _write(folder / "blob" / blob.digest.hex(), blob.body)
        blobs += 1
    told = [f"origin {snapshot.meta()['origin'].decode()}", f"tree_size {size}", f"checkpoints {len(released)}"]
    _write(folder / "manifest", "".join(f"{line}\n" for line in (*told, f"blobs {blobs}")).encode())
    _write(folder / "checkpoint", released[size])
    return size


def write_fhir(
    snapshot: Snapshot,
    folder: Path,
    tree_size: int | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> int:
    """Write the entries as FHIR R4: `audit-events.ndjson`, and `provenance.ndjson` for decisions.

    Arguments, result and what is raised are those of `write_export`. Nothing sealed is opened.
    """
    size, _ = _prepared(snapshot, folder, tree_size)
    origin = snapshot.meta()["origin"].decode()
    with (folder / "audit-events.ndjson").open("x") as events, (folder / "provenance.ndjson").open("x") as sources:
        for index, leaf_data in snapshot.leaves(0, size):
            header = entry.decode(leaf_data)
            events.write(json.dumps(audit_event(header, leaf_data, origin, None)) + "\n")
            if header.kind is Kind.DECISION:
                sources.write(json.dumps(provenance(header, leaf_data, origin, None)) + "\n")
            progress(index + 1, size)
    return size


def _prepared(snapshot: Snapshot, folder: Path, tree_size: int | None) -> tuple[int, dict[int, bytes]]:
    """Make the folder; give the size to export and the notes up to it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        message = f"`{folder}` is not empty; give a new folder"
        raise ExportError(message)
    released = dict(snapshot.checkpoints(tree_size))
    if not released:
        message = "no checkpoint of that size was released yet"
        raise EntryNotFoundError(message)
    return max(released), released


def _write_entries(snapshot: Snapshot, folder: Path, size: int, progress: Callable[[int, int], None]) -> None:
    for first in range(0, size, TILE_WIDTH):
        end = min(size, first + TILE_WIDTH)
        bundle = b"".join(len(leaf).to_bytes(2, "big") + leaf for _, leaf in snapshot.leaves(first, end))
        _write(folder / tile_path("entries", first // TILE_WIDTH, end - first), bundle)
        for row in snapshot.sealed_rows(first, end):
            if row.body is not None:
                _write(folder / "sealed" / hashlib.sha256(row.body).hexdigest(), row.body)
        progress(end, size)


def _write_tiles(snapshot: Snapshot, folder: Path, size: int) -> None:
    level, nodes = 0, size
    while nodes:
        for number in range(-(-nodes // TILE_WIDTH)):
            width = min(TILE_WIDTH, nodes - number * TILE_WIDTH)
            hashes = snapshot.tile(level, number)[: width * _HASH_SIZE]
            _write(folder / tile_path(level, number, width), hashes)
        level, nodes = level + 1, nodes >> TILE_HEIGHT


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(content)
