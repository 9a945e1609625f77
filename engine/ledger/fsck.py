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
from engine.ledger.fsck_entries import CHUNK, Claim, EntryCheck, continued
from engine.ledger.merkle import GrowingTree, consistency_proof, leaf_hash, verify_consistency
from engine.ledger.store import SCHEMA_VERSION, Head, search_row

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.ledger.checkpoint import VerifierKey
    from engine.ledger.keys import KeyStore
    from engine.ledger.store import LogStore, SearchRow, Snapshot, TileId
    from engine.ledger.subjects import SubjectOf

UNSIGNED = "unsigned"


def verify(  # noqa: PLR0913 - what is looked at, by name
    snapshot: Snapshot,
    vkey: str,
    *,
    keys: KeyStore | None = None,
    subject_of: SubjectOf | None = None,
    since: bytes | None = None,
    remembered: tuple[int, bytes] | None = None,
    is_deep: bool = True,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Findings:
    """Verify a log.

    Entries after the last valid checkpoint are no fault but a gap: nobody signed them yet, or their checkpoint was
    taken away.

    Args:
        snapshot: the log at one moment.
        vkey: the pinned verifier key; what the log says of its key is not trusted.
        keys: where given, all that is sealed is opened, and keys are held against tombstones.
        subject_of: names the patient of a request, so that the owners of keys are held against what is sealed.
        since: an older note that has to be consistent with the log.
        remembered: size and root hash that the signer signed last, read before the snapshot was taken.
        is_deep: hash what is sealed too; without, only headers, tree, notes and tables are verified.
        progress: hears how many entries of how many are done.

    Raises:
        IntegrityError: the verifier key or the older note cannot be read.

    """
    key = parse_vkey(vkey)
    claims = []
    if since is not None and (older := open_note(since, key)).tree_size:
        claims.append(Claim(older.tree_size, older.root_hash, f"checkpoint {older.tree_size}", is_signed=True))
    if remembered is not None:
        claims.append(Claim(*remembered, "signer", is_signed=False))
    findings = Findings()
    with suppress(Ended):
        for message in snapshot.damage():
            findings.add("store", "store", message)
        _check_meta(snapshot, key, findings)
        check = EntryCheck(snapshot, key, findings, keys=keys, subject_of=subject_of, claims=claims, is_deep=is_deep)
        tree = check.run(progress)
        fsck_tables.check_head(snapshot, tree, check.told, findings)
        fsck_tables.check_blobs(snapshot, check.told, findings)
        fsck_tables.check_erasures(check.told, findings)
        fsck_tables.check_hints(snapshot, check.told, findings)
        if keys is not None and fsck_tables.check_keys(keys, check.told, findings):
            fsck_tables.check_requests(snapshot, keys, check.told, findings)
    unsigned = findings.tree_size - findings.signed_size
    if unsigned > 0:
        message = f"{unsigned} entries from here to the end are under no checkpoint that is there and valid"
        findings.lack(UNSIGNED, f"entry {findings.signed_size}", message)
    return findings


def cover(snapshot: Snapshot, vkey: str, findings: Findings) -> None:
    """Take back that the last entries are not signed, if a later snapshot has the checkpoint over them.

    A server at work keeps the checkpoint of each batch a moment after the batch.

    Raises: IntegrityError: what was signed since does not extend what was verified.
    """
    found = snapshot.checkpoint(findings.tree_size)
    if found is None:
        return
    later = open_note(found[1], parse_vkey(vkey))
    old, new = findings.tree_size, later.tree_size
    proof = consistency_proof(snapshot.tile, old, new) if new > old else []
    verify_consistency(old, new, proof, findings.root_hash, later.root_hash)
    findings.signed_size = old
    findings.gaps = [gap for gap in findings.gaps if gap.code != UNSIGNED]


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
