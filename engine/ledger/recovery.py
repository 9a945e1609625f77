"""Opening a log: making a new one, or proving that an old one is all there before it takes another entry.

A store that is ahead of its signer is an ordinary crash: what was committed is signed now. A store that is behind, or
different, has lost or changed entries: it is refused, nothing is overwritten, and an operator has to begin a new log
whose genesis names the old checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.errors import IntegrityError
from engine.ledger import entry, erasure
from engine.ledger.body import Genesis, Tombstone, write_body
from engine.ledger.checkpoint import open_note, parse_vkey
from engine.ledger.entry import Header, Kind
from engine.ledger.log import DecisionLog
from engine.ledger.merkle import GrowingTree, consistency_proof, leaf_hash, right_edge, root_of
from engine.ledger.plan import Draft, Moment, make_plan
from engine.ledger.seal import PartKind
from engine.ledger.store import SCHEMA_VERSION, UnsafeStoreError, Wanted
from engine.ledger.writer import LogWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.errors import LedgerError
    from engine.ledger.checkpoint import VerifierKey
    from engine.ledger.clock import Clock
    from engine.ledger.keys import KeyStore
    from engine.ledger.store import LogStore, Snapshot
    from engine.ledger.subjects import SubjectOf
    from engine.ledger.writer import Ack, CheckpointSigner, Limits

EDGE = 1000
"""How many of the last entries are hashed again before anything is appended."""

NEWEST_KEYS = 64
"""How many keys of those entries are looked for."""

FORGOTTEN = (
    "the log has {} entries, but its signer remembers only {}, fewer than it signed: its state was lost or restored, "
    "and nothing would show whether the log was rolled back; keep the log, and begin a new one that names its last "
    "checkpoint (--replaces)"
)
NO_KEY = (
    "the key of what is sealed is gone, and no tombstone says why: --keys is another log's, or was lost; restore it, "
    "or begin a new log that names the last checkpoint of this one (--replaces)"
)


def open_log(  # noqa: PLR0913 - its collaborators, by name
    *,
    store: LogStore,
    keys: KeyStore,
    signer: CheckpointSigner,
    vkey: str,
    origin: str,
    clock: Clock,
    random: Callable[[int], bytes],
    ack: Ack = "signed",
    limits: Limits | None = None,
    on_alarm: Callable[[str], None] = lambda _: None,
    on_stop: Callable[[LedgerError], None] = lambda _: None,
    old_checkpoint: bytes = b"",
    subject_of: SubjectOf | None = None,
) -> DecisionLog:
    """Open a log, making it where there is none, and begin to write.

    Args:
        store: the store of the log.
        keys: the keys of patients and callers.
        signer: what signs checkpoints.
        vkey: the signer's verifier key; its name is the log's origin.
        origin: the log's unique name.
        clock: the time.
        random: gives so many random bytes.
        ack: what an answer waits for.
        limits: how much may wait, and how long.
        on_alarm: hears what begins to be wrong while the log is in work.
        on_stop: hears why nothing more can be written; the process then has to exit.
        old_checkpoint: for a new log, the last note of the log that it replaces.
        subject_of: names the patient of a logged request; without it an erasure believes what the key store says.

    Raises:
        IntegrityError: entries were lost or changed, or the log is another one; signer or key store forgot it.
        UnsafeStoreError: the store may lose what is acknowledged.
        LogUnavailableError: store, keys or signer cannot be reached.

    """
    key = parse_vkey(vkey)
    log_id = entry.log_id(origin, key.public_key)
    meta = {
        "schema": SCHEMA_VERSION.encode(),
        "origin": origin.encode(),
        "log_id": log_id,
        "vkey": vkey.encode(),
    }
    store.create(meta)
    store.check()
    latest = signer.latest()
    signed_size = latest.tree_size if latest else 0
    with store.reading() as snapshot:
        _check_meta(snapshot.meta(), meta)
        size, found = snapshot.head().size, snapshot.checkpoint()
    known_size = found[0] if found else int(size > 1)  # nothing follows the genesis before that is signed
    if signed_size < known_size:
        latest = signer.latest()  # another server may have had more signed since it was asked
        signed_size = latest.tree_size if latest else 0
    if not size:
        if signed_size:
            message = f"the log is empty, but its signer has signed {signed_size} entries: it was lost or replaced"
            raise IntegrityError(message)
        _begin(store, log_id, Genesis(origin, vkey, old_checkpoint), clock, random)
    with store.reading() as snapshot:
        check_edge(snapshot, log_id, origin, vkey)
        check_checkpoints(snapshot, key, (latest.tree_size, latest.root_hash) if latest else None)
        if signed_size < known_size:
            raise IntegrityError(FORGOTTEN.format(size, signed_size), "signer")
        check_newest_keys(snapshot, keys)
        if latest is not None and latest.note:
            store.add_checkpoints([(latest.tree_size, latest.note)])  # a crash may have come between note and row
        signed_size = _sign_ahead(store, snapshot, signer, signed_size)
    writer = LogWriter(
        store=store,
        signer=signer,
        clock=clock,
        random=random,
        ack=ack,
        limits=limits,
        on_alarm=on_alarm,
        on_stop=on_stop,
    )
    log = DecisionLog(
        origin=origin,
        log_id=log_id,
        vkey=vkey,
        store=store,
        keys=keys,
        writer=writer,
        clock=clock,
        random=random,
        subject_of=subject_of,
    )
    writer.start(signed_size, latest.signed_at if latest else None)
    try:
        erasure.finish(log)
    except BaseException:
        writer.close()
        raise
    return log


def check_edge(snapshot: Snapshot, log_id: bytes, origin: str, vkey: str) -> None:
    """Check genesis, that compact range and tiles belong together, and the last entries against them.

    Raises: IntegrityError.
    """
    head = snapshot.head()
    tiles = {tile: snapshot.tile(*tile) for tile in right_edge(head.size)}
    GrowingTree(head.size, head.state, tiles)
    first = entry.decode(snapshot.leaf(0))
    if first.kind is not Kind.GENESIS or first.log_id != log_id:
        message = "the log does not begin with its own genesis"
        raise IntegrityError(message, "entry 0")
    told = entry.read_body(first)
    if not isinstance(told, Genesis) or (told.origin, told.vkey) != (origin, vkey):
        message = "the genesis names another origin or key"
        raise IntegrityError(message, "entry 0")
    begin = max(0, head.size - EDGE)
    expected = begin
    for index, leaf_data in snapshot.leaves(begin, head.size):
        hashes = snapshot.tile(0, index // 256)
        place = index % 256 * 32
        if index != expected or hashes[place : place + 32] != leaf_hash(leaf_data):
            message = "the entry is not the one that was integrated"
            raise IntegrityError(message, f"entry {expected}")
        header = entry.decode(leaf_data)
        if header.index != index or header.log_id != log_id:
            message = "the entry belongs elsewhere"
            raise IntegrityError(message, f"entry {index}")
        expected += 1
    if expected != head.size:
        message = "the last entries are gone"
        raise IntegrityError(message, f"entry {expected}")


def check_newest_keys(snapshot: Snapshot, keys: KeyStore) -> None:
    """Check that the newest of what is sealed can be opened, or was erased: a lost key store is found out at once.

    Raises: IntegrityError, LogUnavailableError.
    """
    size, looked = snapshot.head().size, set[bytes]()
    rows = snapshot.sealed_rows(max(0, size - EDGE), size)
    newest = [(row.entry_index, row.part) for row in rows if row.body is not None]
    for index, part in reversed(newest):
        header = entry.decode(snapshot.leaf(index))
        key_id = header.key_id if part == PartKind.PATIENT else header.caller_key_id
        if key_id in looked:
            continue
        if len(looked) == NEWEST_KEYS:
            break
        looked.add(key_id)
        if keys.open_key(key_id) is None and key_id not in _erased_keys(snapshot):
            raise IntegrityError(NO_KEY, f"entry {index}")


def _erased_keys(snapshot: Snapshot) -> set[bytes]:
    size = snapshot.head().size
    rows = snapshot.find(Wanted(0, size, size, kinds=(Kind.TOMBSTONE,)))
    bodies = (entry.read_body(entry.decode(snapshot.leaf(row.entry_index))) for row in rows)
    return {key_id for body in bodies if isinstance(body, Tombstone) for key_id in body.key_ids}


def check_checkpoints(snapshot: Snapshot, key: VerifierKey, signed: tuple[int, bytes] | None) -> None:
    """Check the log against its last checkpoint and against what the signer remembers, a size and a root.

    Raises: IntegrityError.
    """
    size = snapshot.head().size
    found = snapshot.checkpoint()
    claims = [signed] if signed else []
    if found is not None:
        checkpoint = open_note(found[1], key)
        if checkpoint.tree_size != found[0]:
            message = f"its note is of size {checkpoint.tree_size}"
            raise IntegrityError(message, f"checkpoint {found[0]}")
        claims.append((checkpoint.tree_size, checkpoint.root_hash))
    for claimed, root in claims:
        if claimed > size:
            message = f"the log has {size} entries, but {claimed} were signed: it was rolled back or lost data"
            raise IntegrityError(message)
        if claimed and root_of(snapshot.tile, claimed) != root:
            message = "the log is not the one that was signed"
            raise IntegrityError(message, f"checkpoint {claimed}")


def _check_meta(found: dict[str, bytes], wanted: dict[str, bytes]) -> None:
    if found.get("schema") != wanted["schema"]:
        message = "the log has another schema than this build makes; migrate it first"
        raise UnsafeStoreError(message)
    if found != wanted:
        different = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
        message = f"this is another log: {', '.join(different)} differ from what was given"
        raise IntegrityError(message, "table meta")


def _begin(store: LogStore, log_id: bytes, genesis: Genesis, clock: Clock, random: Callable[[int], bytes]) -> None:
    header = Header(kind=Kind.GENESIS, log_id=log_id, entry_id=random(16), body=write_body(genesis))
    entry.check_draft(header)
    with store.appending() as appending:
        if appending.head.size:
            return  # another server was faster
        plan = make_plan(appending, [Draft(header)], Moment(clock.now(), clock.flags(), random(16)), ())
        if plan.batch is None:
            message = "the genesis entry could not be made"
            raise IntegrityError(message, "entry 0")
        appending.write(plan.batch)


def _sign_ahead(store: LogStore, snapshot: Snapshot, signer: CheckpointSigner, signed_size: int) -> int:
    """Sign what was committed and not signed when the process before this one ended; give the signed size."""
    size = snapshot.head().size
    while signed_size < size:
        proof = consistency_proof(snapshot.tile, signed_size, size) if signed_size else []
        reply = signer.sign(signed_size, proof, size, root_of(snapshot.tile, size))
        if reply.note and reply.tree_size <= size:
            store.add_checkpoints([(reply.tree_size, reply.note)])
        if reply.tree_size == signed_size:
            message = "the signer does not take the log's tree"
            raise IntegrityError(message)
        signed_size = reply.tree_size
    return signed_size
