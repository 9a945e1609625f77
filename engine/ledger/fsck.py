"""Verifying a log where it lies: everything is computed again from the entries and compared, table by table.

A fault of what is primary means that somebody changed the log. A fault of what is derived (tiles, head, search) is
reported too, and can be mended: `rebuild` makes the derived tables again from the entries, after the primary ones were
found whole. Columns that decide nothing but how long a row is kept (`expires_at`, `epoch`) are not checked.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from engine.errors import IntegrityError
from engine.ledger import entry, fsck_tables
from engine.ledger.checkpoint import open_note, parse_vkey
from engine.ledger.findings import Ended, Findings
from engine.ledger.fsck_entries import CHUNK, EntryCheck, continued
from engine.ledger.merkle import GrowingTree, leaf_hash
from engine.ledger.store import SCHEMA_VERSION, Head, search_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.ledger.checkpoint import VerifierKey
    from engine.ledger.keys import KeyStore
    from engine.ledger.store import LogStore, SearchRow, Snapshot, TileId


def verify(
    snapshot: Snapshot,
    vkey: str,
    *,
    keys: KeyStore | None = None,
    since: bytes = b"",
    is_deep: bool = True,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Findings:
    """Verify a log.

    Args:
        snapshot: the log at one moment.
        vkey: the pinned verifier key; what the log says of its key is not trusted.
        keys: where given, all that is sealed is opened, and keys are held against tombstones.
        since: an older note that has to be consistent with the log.
        is_deep: hash what is sealed too; without, only headers, tree, notes and tables are verified.
        progress: hears how many entries of how many are done.

    Raises:
        IntegrityError: the verifier key or the older note cannot be read.

    """
    key = parse_vkey(vkey)
    older = open_note(since, key) if since else None
    findings = Findings()
    with suppress(Ended):
        for message in snapshot.damage():
            findings.add("store", "store", message)
        _check_meta(snapshot, key, findings)
        check = EntryCheck(snapshot, key, findings, keys=keys, since=older, is_deep=is_deep)
        tree = check.run(progress)
        fsck_tables.check_head(snapshot, tree, check.told, findings)
        fsck_tables.check_blobs(snapshot, check.told, findings)
        fsck_tables.check_erasures(check.told, findings)
        fsck_tables.check_hints(snapshot, check.told, findings)
        if keys is not None:
            fsck_tables.check_keys(keys, check.told, findings)
            fsck_tables.check_requests(snapshot, keys, check.told, findings)
    return findings


def rebuild(store: LogStore, vkey: str) -> Findings:
    """Make tile, head and search again from the entries, if nothing primary is at fault; give what was found before."""
    with store.reading() as snapshot:
        findings = verify(snapshot, vkey)
        if not findings.is_mendable:
            return findings
        tree, last_time = GrowingTree(0, b"", {}), 0
        rows: list[SearchRow] = []
        tiles: dict[TileId, bytes] = {}
        for index, leaf_data in snapshot.leaves(0, 2**62):
            tree.add(leaf_hash(leaf_data))
            rows.append(search_row(index, leaf_data))
            last_time = rows[-1].logged_at
            if tree.size % CHUNK == 0:
                tiles |= tree.changed
                tree = continued(tree)
        tiles |= tree.changed
        try:
            epoch = snapshot.head().epoch
        except IntegrityError:
            epoch = 0
    store.rebuild(Head(tree.size, tree.state, last_time, epoch), tiles, rows)
    return findings


def _check_meta(snapshot: Snapshot, key: VerifierKey, findings: Findings) -> None:
    wanted = {
        "schema": SCHEMA_VERSION.encode(),
        "origin": key.name.encode(),
        "log_id": entry.log_id(key.name, key.public_key),
        "vkey": key.vkey.encode(),
    }
    found = snapshot.meta()
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            findings.add("meta", "table meta", f"`{name}` is not that of the verifier key")
