"""A small log with an entry of every kind, and the hands of somebody who edits its files."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from engine.errors import IntegrityError
from engine.ledger import entry, erasure, fsck, offline
from engine.ledger.body import (
    UNKNOWN_DECISION,
    Access,
    BlobKind,
    CheckpointGap,
    Correction,
    DecisionError,
    Feedback,
    Report,
    SettingChanged,
)
from engine.ledger.checkpoint import parse_receipt, verify_receipt
from engine.ledger.entry import Kind
from engine.ledger.export import write_export
from engine.ledger.keys import KeyStore
from engine.ledger.log import Blob
from engine.ledger.merkle import GrowingTree, leaf_hash, root_of
from engine.ledger.seal import CallerPart, MessagePart
from engine.ledger.sqlite.keys import SqliteKeys
from engine.ledger.sqlite.log import SqliteLog
from engine.ledger.store import search_row
from engine.ledger.wrapping import FileWrappingKeys
from tests.conformance.ledger_world import KEY, METHOD, VKEY, World, account, register

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from engine.ledger.checkpoint import SigningKey
    from engine.ledger.findings import Findings
    from engine.ledger.log import DecisionLog, Logged

OFFICER = CallerPart("officer", "key_officer", "", "", "", "", 0, "OK")
REPORT = Blob(BlobKind.REPORT, b"what would change", "a report")
ERASED, KEPT = b"the erased patient", b"the patient who is kept"


@dataclass
class Written:
    """What was logged: entries by what they are, and the receipts that their callers got."""

    size: int = 0
    indexes: dict[str, int] = field(default_factory=dict)
    receipts: dict[str, bytes] = field(default_factory=dict)

    def add(self, name: str, logged: Logged) -> int:
        """Keep what was logged under a name; give its index."""
        self.indexes[name], self.receipts[name] = logged.index, logged.receipt
        return logged.index


def write_full_log(world: World) -> Written:
    """Write a log with an entry of each kind, and close it."""
    written = Written()
    with world.opened() as log:
        _write(log, written)
        with log.reading() as snapshot:
            written.size = snapshot.head().size
            kinds = {entry.decode(leaf_data).kind for _, leaf_data in snapshot.leaves(0, written.size)}
        assert kinds == set(Kind)
    return written


def _write(log: DecisionLog, written: Written) -> None:
    add = written.add
    register(log)
    message = MessagePart(METHOD, b"what was wrong", b"noted")
    decision = add("kept", log.append(account(1, "kept", KEPT)))
    add("erased", log.append(account(2, "erased", ERASED)))
    add("another", log.append(account(3, "", KEPT)))
    refused = replace(account(4, "refused"), kind=Kind.DECISION_ERROR, patient=None, body=DecisionError("no-rules"))
    add("error", log.append(refused))
    told = replace(account(5, "correction", KEPT), kind=Kind.CORRECTION, content=message)
    add("correction", log.append(replace(told, body=Correction(decision, "typing"))))
    told = replace(account(6, "feedback", KEPT), kind=Kind.FEEDBACK, content=message)
    add("feedback", log.append(replace(told, body=Feedback(decision))))
    add("unknown feedback", log.append(replace(told, caller=refused.caller, body=Feedback(UNKNOWN_DECISION))))
    add("access", log.tell(Access("get", 0, 3, 4), OFFICER))
    add("setting", log.tell(SettingChanged("clock", "looked at")))
    log.register([REPORT])
    add("report", log.tell(Report("impact", decision, bytes(32), REPORT.digest)))
    add("gap", log.tell(CheckpointGap(1, 2, "signer-down")))
    written.indexes["hold"] = erasure.hold(log, KEPT, "court 1", OFFICER, is_on=True)
    wanted = erasure.ErasureRequest(ERASED, "request", "case 1")
    asked = erasure.request(log, wanted, OFFICER)
    done = erasure.approve(log, wanted, asked.index, replace(OFFICER, caller="another"))
    written.indexes["tombstone"] = done.tombstone_index
    add("last", log.append(account(7, "last", KEPT)))


def keys_of(folder: Path) -> KeyStore:
    """Open the keys of a log beside it."""
    return KeyStore(SqliteKeys(folder / "keys.db"), FileWrappingKeys.open(folder / "wrapping"), bytes, lambda: 0)


def verified(
    folder: Path,
    *,
    vkey: str = KEY.vkey,
    since: bytes | None = None,
    remembered: tuple[int, bytes] | None = None,
) -> Findings:
    """Verify a log that is closed, with its keys."""
    store, keys = SqliteLog(folder / "log.db", is_writer=False), keys_of(folder)
    try:
        with store.reading() as snapshot:
            return fsck.verify(snapshot, vkey, keys=keys, since=since, remembered=remembered)
    finally:
        store.close()
        keys.close()


def rebuilt(folder: Path) -> Findings:
    """Let the derived tables of a log be made again; give what was wrong before."""
    store = SqliteLog(folder / "log.db")
    try:
        return fsck.rebuild(store, KEY.vkey)
    finally:
        store.close()


def unlock(connection: apsw.Connection) -> None:
    """Take away what keeps an edit from happening."""
    connection.pragma("foreign_keys", 0)
    connection.pragma("ignore_check_constraints", 1)
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)


@contextmanager
def edited(path: Path) -> Iterator[apsw.Connection]:
    """Give a database that is closed to somebody who can write the file, and leave no trace but the edit."""
    connection = apsw.Connection(str(path))
    try:
        unlock(connection)
        yield connection
    finally:
        connection.close()


def leaf(connection: apsw.Connection, index: int) -> bytes:
    """Give an entry's header."""
    found: Any = connection.execute("SELECT leaf_data FROM entry WHERE entry_index=?", (index,)).get
    return bytes(found)


def set_leaf(connection: apsw.Connection, index: int, leaf_data: bytes) -> None:
    """Replace an entry's header."""
    connection.execute("UPDATE entry SET leaf_data=? WHERE entry_index=?", (leaf_data, index))


def with_field(leaf_data: bytes, offset: int, value: bytes) -> bytes:
    """Give a header with other bytes at a place."""
    return leaf_data[:offset] + value + leaf_data[offset + len(value) :]


def recompute(connection: apsw.Connection, key: SigningKey | None = None) -> None:
    """Make tiles, head and search fit the entries again, as a thorough forger would; with the key, checkpoints too."""
    tree = GrowingTree(0, b"", {})
    rows: list[Any] = connection.execute("SELECT * FROM entry ORDER BY entry_index").fetchall()
    notes: list[Any] = connection.execute("SELECT size, note FROM checkpoint").fetchall()
    last_time, changed = 0, dict(notes)
    for table in ("tile", "search"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - fixed text
    for index, leaf_data in rows:
        tree.add(leaf_hash(leaf_data))
        connection.execute("INSERT OR IGNORE INTO search VALUES(?,?,?,?,?,?,?)", row := search_row(index, leaf_data))
        last_time = row.logged_at
        if key is not None and tree.size in changed:
            changed[tree.size] = key.sign_checkpoint(tree.size, tree.root())
    for (level, number), hashes in tree.changed.items():
        connection.execute("INSERT INTO tile VALUES(?,?,?)", (level, number, hashes))
    connection.execute("UPDATE head SET size=?, state=?, last_time=?", (tree.size, tree.state, last_time))
    for size, note in changed.items():
        connection.execute("UPDATE checkpoint SET note=? WHERE size=?", (note, size))


def forget(connection: apsw.Connection, first: int, end: int, blobs: Sequence[Blob] = ()) -> None:
    """Delete entries and all that hangs on them; `recompute` has to follow."""
    connection.execute("DELETE FROM entry WHERE entry_index>=? AND entry_index<?", (first, end))
    connection.execute("DELETE FROM sealed WHERE entry_index>=? AND entry_index<?", (first, end))
    connection.execute("DELETE FROM idempotency WHERE entry_index>=? AND entry_index<?", (first, end))
    connection.execute("DELETE FROM batch WHERE first_index>=? AND first_index<?", (first, end))
    for blob in blobs:
        connection.execute("DELETE FROM blob WHERE digest=?", (blob.digest,))


@dataclass
class FullLog:
    """A log whose files may be edited, and what was told when it was written."""

    folder: Path
    written: Written

    @property
    def path(self) -> Path:
        """The log's file."""
        return self.folder / "log.db"

    def index(self, name: str) -> int:
        """Give the index of an entry by its name."""
        return self.written.indexes[name]

    def world(self) -> World:
        """Give it to a server."""
        return World(self.folder, seed=5)

    def faults(self, **options: Any) -> dict[str, str]:  # noqa: ANN401 - passed on
        """Verify it; give what is wrong, by place."""
        return {fault.place: fault.message for fault in verified(self.folder, **options).faults}

    def exported(self, folder: Path) -> int:
        """Export it and verify the export with the verifier that stands alone; give that one's exit code."""
        store = SqliteLog(self.path, is_writer=False)
        try:
            with store.reading() as snapshot:
                write_export(snapshot, folder)
        finally:
            store.close()
        return offline.main([str(folder), "--vkey", KEY.vkey])

    def refused_at_start(self, message: str) -> None:
        """Check that no server takes it, however often it is tried."""
        for _ in range(2):
            with pytest.raises(IntegrityError, match=message):
                self.world().open()

    def receipt(self, name: str) -> tuple[int, bytes]:
        """Verify a receipt that a caller kept; give size and root of the tree that was signed then."""
        checkpoint = verify_receipt(parse_receipt(self.written.receipts[name]), VKEY)
        return checkpoint.tree_size, checkpoint.root_hash

    def contradicts(self, name: str) -> bool:
        """Say whether a receipt that a caller kept shows that the log is another one now."""
        size, root = self.receipt(name)
        store = SqliteLog(self.path, is_writer=False)
        try:
            with store.reading() as snapshot:
                return snapshot.head().size < size or root_of(snapshot.tile, size) != root
        finally:
            store.close()
