"""C59 to C70: somebody edits what hangs on the entries, or what they say. Verification, start or use tell of it."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from engine.errors import IntegrityError, LogUnavailableError
from engine.ledger import entry, erasure
from engine.ledger.checkpoint import SigningKey
from engine.ledger.entry import Kind
from engine.ledger.seal import PartKind, Sealed, seal
from engine.ledger.sqlite.log import SqliteLog
from engine.ledger.store import StoreBrokenError, UnsafeStoreError
from tests.conformance.full_log import (
    ERASED,
    KEPT,
    REPORT,
    FullLog,
    Written,
    edited,
    forget,
    leaf,
    rebuilt,
    recompute,
    set_leaf,
    verified,
    with_field,
    write_full_log,
)
from tests.conformance.ledger_world import BLOBS, KEY, World, account, check_whole, copy_files

if TYPE_CHECKING:
    from pathlib import Path


KIND, INDEX, LOGGED_AT, FORMAT, SEAL_ALGORITHM, BODY = 10, 43, 51, 8, 256, 397
PAGE = 4096


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> FullLog:
    """Give a log that nobody edits."""
    folder = tmp_path_factory.mktemp("pristine")
    return FullLog(folder, write_full_log(World(folder)))


@pytest.fixture
def log(pristine: FullLog, tmp_path: Path) -> FullLog:
    """Give a copy to edit."""
    copy_files(pristine.folder, tmp_path / "log")
    return FullLog(tmp_path / "log", pristine.written)


def test_c59_a_blob_edited_deleted_or_replaced(log: FullLog) -> None:
    digest = BLOBS[0].digest
    for edit, values in (
        ("UPDATE blob SET body=? WHERE digest=?", (b"other rules", digest)),
        ("DELETE FROM blob WHERE digest=?", (digest,)),
        ("INSERT INTO blob VALUES(?, 1, ?)", (digest, b"the same name")),
    ):
        with edited(log.path) as connection:
            connection.execute(edit, values)
        assert log.faults().keys() == {f"blob {digest.hex()}"}
    other = hashlib.sha256(b"the same name").digest()
    with edited(log.path) as connection:
        connection.execute("UPDATE blob SET digest=? WHERE digest=?", (other, digest))
    assert log.faults().keys() == {f"blob {digest.hex()}", f"blob {other.hex()}"}


def test_c59_a_report_taken_away_with_its_entry_named(log: FullLog) -> None:
    with edited(log.path) as connection:
        forget(connection, log.index("report"), log.index("report") + 1, [REPORT])
    assert f"entry {log.index('report')}" in log.faults()


def test_c60_an_idempotency_row_that_points_elsewhere_is_caught_at_use_and_by_verify(log: FullLog) -> None:
    with edited(log.path) as connection:
        connection.execute(
            "UPDATE idempotency SET entry_index=? WHERE entry_index=?", (log.index("another"), log.index("kept"))
        )
    assert log.faults().keys() == {f"table idempotency, entry {log.index('another')}"}
    with log.world().opened() as again, pytest.raises(IntegrityError, match="an entry of another request"):
        again.append(account(1, "kept", KEPT))


def test_c61_a_search_row_dropped_to_hide_an_entry(log: FullLog) -> None:
    with edited(log.path) as connection:
        connection.execute("DELETE FROM search WHERE entry_index=?", (log.index("another"),))
    assert log.faults().keys() == {f"table search, row {log.index('another')}"}
    rebuilt(log.folder)
    assert log.faults() == {}


def test_c62_a_tombstone_put_over_another_entry(log: FullLog) -> None:
    index = log.index("setting")
    with edited(log.path) as connection:
        old = leaf(connection, index)
        tombstone = leaf(connection, log.index("tombstone"))
        body = tombstone[BODY:]
        forged = with_field(old[: BODY - 4] + len(body).to_bytes(4, "big") + body, KIND, bytes([Kind.TOMBSTONE]))
        assert entry.decode(forged).kind is Kind.TOMBSTONE
        set_leaf(connection, index, forged)
        recompute(connection)
    faults = log.faults()
    assert faults[f"checkpoint {index + 1}"].endswith(f"agree up to entry {index - 1}")
    log.refused_at_start("not the one that was signed")


def test_c62_a_key_deleted_without_a_tombstone(log: FullLog) -> None:
    with edited(log.folder / "keys.db") as connection:
        gone: Any = connection.execute("SELECT key_id FROM data_key WHERE part=1 LIMIT 1").get
        connection.execute("DELETE FROM data_key WHERE key_id=?", (gone,))
    faults = log.faults()
    assert faults[f"key {gone.hex()}"] == "is gone without a tombstone"


@pytest.mark.parametrize("table", ["data_key", "subject, caller, data_key, secret"])
def test_c62_a_key_store_with_none_of_the_keys_is_a_gap_and_no_tampering(log: FullLog, table: str) -> None:
    with edited(log.folder / "keys.db") as connection:
        for name in table.split(", "):
            connection.execute(f"DELETE FROM {name}")  # noqa: S608 - names of our own
    findings = verified(log.folder)
    assert findings.faults == []
    assert [(gap.code, gap.place) for gap in findings.gaps] == [("keys", "key store")]


def test_c48_a_key_that_was_replaced_by_no_key_is_named_once(log: FullLog) -> None:
    with edited(log.folder / "keys.db") as connection:
        key_id: Any = connection.execute("SELECT key_id FROM data_key WHERE part=1 LIMIT 1").get
        connection.execute("UPDATE data_key SET wrapped=zeroblob(40) WHERE key_id=?", (key_id,))
    assert "a wrapped key is not one of" in log.faults()[f"key {key_id.hex()}"]


def test_c62_a_body_emptied_without_a_tombstone(log: FullLog, tmp_path: Path) -> None:
    index = log.index("another")
    with edited(log.path) as connection:
        connection.execute("UPDATE sealed SET body=NULL WHERE entry_index=? AND part=1", (index,))
    assert log.faults().keys() == {f"entry {index}"}
    assert log.exported(tmp_path / "export") != 0


def test_c62_c63_a_tombstone_without_deletion_and_a_key_that_came_back(tmp_path: Path) -> None:
    """A backup of the keys from before the erasure is put back: the next start deletes the key again."""
    log = FullLog(tmp_path / "log", Written())
    log.folder.mkdir()
    world = World(log.folder)
    backup = tmp_path / "backup"
    with world.opened() as opened:
        opened.register(BLOBS)
        first = opened.append(account(1, "", ERASED))
        key_ids = opened.keys.key_ids_of(0, ERASED)
    copy_files(log.folder, backup)
    with world.opened() as opened:
        erasure.erase(opened, key_ids, "request", "case 1", None)
    assert log.faults() == {}
    shutil.copy(backup / "keys.db", log.folder / "keys.db")
    assert log.faults() == {f"key {key_ids[0].hex()}": "is still there after its tombstone"}
    with world.opened() as opened:
        assert opened.keys.open_key(key_ids[0]) is None
        with opened.reading() as snapshot:
            assert opened.open_entry(snapshot, first.index).content is None
        check_whole(opened)


def test_c64_a_ciphertext_replaced_by_another_of_the_same_patient(log: FullLog) -> None:
    index = log.index("another")
    with edited(log.path) as connection:
        kept: Any = connection.execute(
            "SELECT body FROM sealed WHERE entry_index=? AND part=1", (log.index("kept"),)
        ).get
        connection.execute("UPDATE sealed SET body=? WHERE entry_index=? AND part=1", (kept, index))
    assert log.faults().keys() == {f"entry {index}"}


def test_c65_a_plaintext_that_was_not_committed_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that lies when it seals: what opens is not what the header is committed to."""
    log = FullLog(tmp_path, Written())
    with log.world().opened() as opened:
        opened.register(BLOBS)
        with monkeypatch.context() as patch:

            def lie(content: bytes, **options: Any) -> Sealed:  # noqa: ANN401 - passed on
                sealed = seal(content, **options)
                is_patient = options["part"] == PartKind.PATIENT
                return Sealed(sealed.body, sealed.length, sealed.sha256, bytes(31) + b"x") if is_patient else sealed

            patch.setattr("engine.ledger.log.seal", lie)
            index = opened.append(account(1)).index
    assert log.faults() == {f"entry {index}": f"entry {index}: part 1 opens to something else than was committed to"}


def test_c66_a_log_transplanted_to_another_origin(log: FullLog) -> None:
    other = SigningKey("test.example.org/decisions", bytes(range(1, 33)))
    key = other.verifier
    assert "table meta" in log.faults(vkey=other.vkey)
    new_id = entry.log_id(key.name, key.public_key)
    with edited(log.path) as connection:
        for name, value in (("origin", key.name.encode()), ("vkey", other.vkey.encode()), ("log_id", new_id)):
            connection.execute("UPDATE meta SET v=? WHERE k=?", (value, name))
        recompute(connection, other)
    faults = log.faults(vkey=other.vkey)
    assert {f"entry {index}" for index in range(log.written.size)} <= faults.keys()
    assert "table meta" in log.faults()
    log.refused_at_start("this is another log")


def test_c67_an_error_made_a_decision(log: FullLog) -> None:
    index = log.index("error")
    with edited(log.path) as connection:
        old = leaf(connection, index)
        set_leaf(connection, index, with_field(old, KIND, bytes([Kind.DECISION])))
    assert f"entry {index}" in log.faults()
    with edited(log.path) as connection:
        without_body = with_field(old[: BODY - 4] + bytes(4), KIND, bytes([Kind.DECISION]))
        assert entry.decode(without_body).kind is Kind.DECISION
        set_leaf(connection, index, without_body)
        recompute(connection, KEY)
    assert log.faults().keys() == {f"entry {index}"}, "what is sealed opens beside no other kind"


@pytest.mark.parametrize(
    ("offset", "value"), [(FORMAT, b"\0\0"), (FORMAT, b"\0\2"), (SEAL_ALGORITHM, b"\0"), (0, b"CDSLOG0\n")]
)
def test_c68_a_format_or_seal_algorithm_downgraded(log: FullLog, offset: int, value: bytes) -> None:
    index = log.index("another")
    with edited(log.path) as connection:
        set_leaf(connection, index, with_field(leaf(connection, index), offset, value))
        recompute(connection, KEY)
    assert f"entry {index}" in log.faults()
    log.refused_at_start("entry|signed")


@pytest.mark.parametrize("forward", [0, 1, 1000])
def test_c69_a_correction_that_points_forward_or_to_itself(log: FullLog, forward: int) -> None:
    index = log.index("correction")
    with edited(log.path) as connection:
        target = (index + forward).to_bytes(8, "big")
        set_leaf(connection, index, with_field(leaf(connection, index), BODY + 4, target))
        recompute(connection, KEY)
    assert "points to entry" in log.faults()[f"entry {index}"]


def test_c69_a_correction_of_what_is_no_decision(log: FullLog) -> None:
    index = log.index("correction")
    with edited(log.path) as connection:
        target = log.index("error").to_bytes(8, "big")
        set_leaf(connection, index, with_field(leaf(connection, index), BODY + 4, target))
        recompute(connection, KEY)
    assert "which is no decision" in log.faults()[f"entry {index}"]


def seen(log: FullLog) -> bool:
    """Say whether verification sees that something is wrong, or cannot read the file at all."""
    try:
        return bool(log.faults())
    except (StoreBrokenError, UnsafeStoreError, LogUnavailableError, IntegrityError):
        return True


def test_c70_a_page_replaced_by_its_older_copy(log: FullLog) -> None:
    older = log.path.read_bytes()
    with log.world().opened() as opened:
        for number in range(3):
            opened.append(account(number))
    assert not seen(log)
    newer = log.path.read_bytes()
    changed = [
        at for at in range(0, len(newer), PAGE) if newer[at : at + PAGE] != older[at : at + PAGE].ljust(PAGE, b"\0")
    ]
    assert len(changed) > 5
    missed = []
    for at in changed:
        log.path.write_bytes(newer[:at] + older[at : at + PAGE].ljust(PAGE, b"\0") + newer[at + PAGE :])
        if not seen(log):
            missed.append(at // PAGE)
        log.path.write_bytes(newer)
    assert missed == []


STOWAWAYS = [
    "CREATE TABLE more(x)",
    "CREATE VIEW v AS SELECT * FROM entry",
    "CREATE TRIGGER t AFTER INSERT ON entry BEGIN DELETE FROM search; END",
    "CREATE INDEX i ON entry(leaf_data)",
    "DROP TRIGGER entry_u",
    "DROP INDEX search_key",
    "ALTER TABLE batch ADD COLUMN more INT",
]


@pytest.mark.parametrize("sql", STOWAWAYS)
def test_c70_what_is_added_to_the_schema_or_taken_from_it_is_refused(log: FullLog, sql: str) -> None:
    with edited(log.path) as connection:
        connection.execute(sql)
    assert log.faults()["store"].endswith("is not as this build makes it")
    with pytest.raises(UnsafeStoreError, match="tables, indexes, triggers or views"):
        log.world().open()
    store = SqliteLog(log.path, is_writer=False)
    try:
        with pytest.raises(UnsafeStoreError, match="tables, indexes, triggers or views"):
            store.check()
    finally:
        store.close()
