"""C46 to C58: somebody edits rows, tree or checkpoints. Verification tells, or else start or a receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from engine.errors import IntegrityError
from engine.ledger import fsck
from engine.ledger.checkpoint import SigningKey, open_note, parse_receipt
from engine.ledger.sqlite.log import SqliteLog
from tests.conformance.full_log import (
    FullLog,
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
from tests.conformance.ledger_world import KEY, VKEY, World, account, check_whole, copy_files

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


def test_a_log_that_nobody_edited_is_whole_everywhere(log: FullLog, tmp_path: Path) -> None:
    assert log.faults() == {}
    assert log.exported(tmp_path / "export") == 0
    assert not any(log.contradicts(name) for name in log.written.receipts)
    with log.world().opened() as again:
        check_whole(again)


def test_c46_two_rows_swapped(log: FullLog) -> None:
    one, other = log.index("kept"), log.index("another")
    with edited(log.path) as connection:
        first, second = leaf(connection, one), leaf(connection, other)
        set_leaf(connection, one, second)
        set_leaf(connection, other, first)
    assert {f"entry {one}", f"entry {other}"} <= log.faults().keys()
    log.refused_at_start(f"entry {one}")


def test_c47_sealed_bodies_of_two_rows_swapped(log: FullLog, tmp_path: Path) -> None:
    one, other = log.index("kept"), log.index("another")
    with edited(log.path) as connection:
        bodies: list[Any] = [
            connection.execute("SELECT body FROM sealed WHERE entry_index=? AND part=1", (index,)).get
            for index in (one, other)
        ]
        for index, body in zip((other, one), bodies, strict=True):
            connection.execute("UPDATE sealed SET body=? WHERE entry_index=? AND part=1", (body, index))
    assert log.faults().keys() == {f"entry {one}", f"entry {other}", f"table idempotency, entry {one}"}
    assert log.exported(tmp_path / "export") == 0, "in an export a body lies under its digest, and is where it belongs"


def test_c48_keys_swapped(log: FullLog) -> None:
    with edited(log.folder / "keys.db") as connection:
        rows: list[Any] = connection.execute("SELECT key_id, wrapped FROM data_key WHERE part=1").fetchall()
        (one, first), (other, second) = rows[:2]
        connection.execute("UPDATE data_key SET wrapped=? WHERE key_id=?", (second, one))
        connection.execute("UPDATE data_key SET wrapped=? WHERE key_id=?", (first, other))
    faults = log.faults()
    named = [name for name in ("kept", "another", "error", "last") if f"entry {log.index(name)}" in faults]
    assert named
    assert all("does not open under this key" in message for message in faults.values() if "sealed" in message)


def test_c49_a_row_duplicated(log: FullLog) -> None:
    size = log.written.size
    with edited(log.path) as connection:
        connection.execute("INSERT INTO entry VALUES(?,?)", (size, leaf(connection, log.index("kept"))))
    assert f"entry {size}" in log.faults()
    with edited(log.path) as connection:
        set_leaf(connection, size, with_field(leaf(connection, size), INDEX, size.to_bytes(8, "big")))
        recompute(connection)
    assert f"entry {size}" in log.faults()  # the sealed parts are missing, and it is older than the one before


def test_c50_the_last_rows_deleted_and_all_fixed_up(log: FullLog, tmp_path: Path) -> None:
    first = log.index("last")
    with edited(log.path) as connection:
        forget(connection, first, first + 1)
        recompute(connection)
    assert log.faults().keys() == {f"checkpoint {first + 1}"}
    log.refused_at_start("rolled back or lost data")
    with edited(log.path) as connection:
        connection.execute("DELETE FROM checkpoint WHERE size>?", (first,))
    assert log.faults() == {}, "a log that ends earlier is whole in itself"
    assert log.exported(tmp_path / "export") == 0
    log.refused_at_start("rolled back or lost data")
    assert log.contradicts("last")
    since = parse_receipt(log.written.receipts["last"]).checkpoint
    assert log.faults(since=since).keys() == {f"checkpoint {first + 1}"}


def test_c42_c51_a_middle_row_deleted(log: FullLog) -> None:
    gone = log.index("another")
    with edited(log.path) as connection:
        forget(connection, gone, gone + 1)
    assert f"entry {gone}" in log.faults()
    log.refused_at_start(f"entry {gone}")


def test_c51_a_middle_row_deleted_and_the_rest_renumbered(log: FullLog, tmp_path: Path) -> None:
    gone = log.index("setting")
    with edited(log.path) as connection:
        forget(connection, gone, gone + 1)
        for index in range(gone + 1, log.written.size):
            renumbered = with_field(leaf(connection, index), INDEX, (index - 1).to_bytes(8, "big"))
            set_leaf(connection, index, renumbered)
            connection.execute("UPDATE entry SET entry_index=? WHERE entry_index=?", (index - 1, index))
            connection.execute("UPDATE sealed SET entry_index=? WHERE entry_index=?", (index - 1, index))
        recompute(connection)
    faults = log.faults()
    assert faults[f"checkpoint {gone + 1}"].endswith(f"agree up to entry {gone - 1}")
    assert f"checkpoint {log.written.size}" in faults
    log.refused_at_start("was signed|were signed")
    assert log.exported(tmp_path / "export") == 3


def test_c52_a_row_replaced_and_all_recomputed_without_the_key(log: FullLog, tmp_path: Path) -> None:
    index = log.index("setting")
    with edited(log.path) as connection:
        set_leaf(connection, index, leaf(connection, index).replace(b"looked at", b"forgotten"))
        recompute(connection)
    faults = log.faults()
    assert faults[f"checkpoint {index + 1}"].endswith(f"agree up to entry {index - 1}")
    assert f"checkpoint {index}" not in faults
    log.refused_at_start("not the one that was signed")
    assert log.exported(tmp_path / "export") == 3
    with edited(log.path) as connection:
        recompute(connection, SigningKey(VKEY.name, bytes(32)))
    assert f"checkpoint {index + 1}" in log.faults()


def test_c52_an_entry_that_no_checkpoint_covers_is_not_taken_for_the_truth(log: FullLog) -> None:
    """Entry and tile disagree, and nothing signed says which of them is right: nothing is made again."""
    index = log.index("last")
    with edited(log.path) as connection:
        connection.execute("DELETE FROM checkpoint WHERE size>?", (index,))
        set_leaf(connection, index, with_field(leaf(connection, index), LOGGED_AT + 8, b"\2"))
    assert {f"entry {index}", "tile 0/0"} <= log.faults().keys()
    assert not rebuilt(log.folder).is_mendable
    assert f"entry {index}" in log.faults()


def rewrite(log: FullLog, kept: int) -> None:
    """Change an entry's header and make all fit that needs no key; checkpoints above a size are taken away."""
    index = log.index("setting")
    with edited(log.path) as connection:
        set_leaf(connection, index, with_field(leaf(connection, index), LOGGED_AT + 8, b"\2"))
        connection.execute("DELETE FROM checkpoint WHERE size>?", (kept,))
        recompute(connection)


@pytest.mark.parametrize("is_all", [True, False])
def test_c52_c58_a_log_rewritten_where_its_checkpoints_were_taken_away_is_not_good(
    log: FullLog, *, is_all: bool
) -> None:
    index, size = log.index("setting"), log.written.size
    _, root = log.receipt("last")
    kept = 0 if is_all else index
    rewrite(log, kept)
    findings = verified(log.folder)
    assert findings.faults == []
    assert (findings.is_complete, findings.signed_size) == (False, kept)
    (gap,) = findings.gaps
    assert (gap.place, gap.code) == (f"entry {kept}", "unsigned")
    assert gap.message.startswith(f"{size - kept} entries from here to the end")

    faults = log.faults(remembered=(log.receipt("last")[0], root))
    assert faults == {"signer": f"remembers another root of the tree of {size} entries"}


def test_c8_what_a_killed_server_did_not_sign_is_incomplete_until_the_next_start(log: FullLog) -> None:
    with edited(log.path) as connection:
        connection.execute("DELETE FROM checkpoint WHERE size>?", (log.index("last"),))
    findings = verified(log.folder)
    assert (findings.is_whole, findings.is_complete) == (True, False)
    with log.world().opened() as again:
        check_whole(again)
    assert verified(log.folder).is_complete


def test_what_a_server_at_work_signs_a_moment_later_is_complete(log: FullLog) -> None:
    size = log.written.size
    with edited(log.path) as connection:
        note: Any = connection.execute("SELECT note FROM checkpoint WHERE size=?", (size,)).get
        connection.execute("DELETE FROM checkpoint WHERE size=?", (size,))
    findings = verified(log.folder)
    store = SqliteLog(log.path)
    try:
        with store.reading() as snapshot:
            fsck.cover(snapshot, KEY.vkey, findings)
        assert not findings.is_complete, "there is no checkpoint yet"
        store.add_checkpoints([(size, note)])
        with store.reading() as snapshot:
            fsck.cover(snapshot, KEY.vkey, findings)
        assert (findings.is_complete, findings.signed_size) == (True, size)
    finally:
        store.close()


def test_c78_a_later_checkpoint_that_does_not_extend_what_was_verified_is_refused(log: FullLog) -> None:
    with edited(log.path) as connection:
        connection.execute("DELETE FROM checkpoint WHERE size>?", (log.index("last"),))
    findings = verified(log.folder)
    findings.root_hash = bytes(32)
    with log.world().opened() as again:
        again.append(account(9))
        with again.reading() as snapshot, pytest.raises(IntegrityError):
            fsck.cover(snapshot, KEY.vkey, findings)


def test_c50_a_log_that_is_behind_what_its_signer_remembers(log: FullLog) -> None:
    size, root = log.receipt("last")
    assert log.faults(remembered=(size, root)) == {}
    first = log.index("last")
    with edited(log.path) as connection:
        forget(connection, first, first + 1)
        connection.execute("DELETE FROM checkpoint WHERE size>?", (first,))
        recompute(connection)
    message = f"has signed {size} entries, but the log has only {first}: it was rolled back or lost data"
    assert log.faults(remembered=(size, root)) == {"signer": message}


def test_an_older_note_that_says_nothing_is_no_proof_of_growth(log: FullLog) -> None:
    with pytest.raises(IntegrityError):
        log.faults(since=b"")


def test_c53_a_row_replaced_and_all_signed_again_with_the_key(log: FullLog) -> None:
    """A fork: whole in itself. The signer remembers, and so does every caller who kept a receipt."""
    index = log.index("setting")
    with edited(log.path) as connection:
        set_leaf(connection, index, leaf(connection, index).replace(b"looked at", b"forgotten"))
        recompute(connection, KEY)
    assert log.faults() == {}
    log.refused_at_start("not the one that was signed")
    assert log.contradicts("setting")
    assert log.contradicts("last")
    assert not log.contradicts("access")
    since = parse_receipt(log.written.receipts["last"]).checkpoint
    assert log.faults(since=since).keys() == {f"checkpoint {log.index('last') + 1}"}


def test_c54_an_entry_dated_back_in_a_recomputed_tree(log: FullLog) -> None:
    index = log.index("setting")
    with edited(log.path) as connection:
        earlier = (1_600_000_000_000_000).to_bytes(8, "big")
        set_leaf(connection, index, with_field(leaf(connection, index), LOGGED_AT, earlier))
        recompute(connection, KEY)
    assert log.faults() == {f"entry {index}": "is older than the entry before it"}
    with edited(log.path) as connection:
        for other in range(index):
            set_leaf(connection, other, with_field(leaf(connection, other), LOGGED_AT, earlier))
        recompute(connection, KEY)
    assert log.contradicts("setting")
    log.refused_at_start("not the one that was signed")


TILES = {
    "truncated": "UPDATE tile SET hashes=substr(hashes, 1, length(hashes)-32)",
    "much shorter": "UPDATE tile SET hashes=substr(hashes, 1, 32)",
    "with another prefix": "UPDATE tile SET hashes=CAST(zeroblob(32)||substr(hashes, 33) AS BLOB)",
    "edited": "UPDATE tile SET hashes=CAST(substr(hashes, 1, 64)||zeroblob(32)||substr(hashes, 97) AS BLOB)",
    "longer": "UPDATE tile SET hashes=CAST(hashes||zeroblob(32) AS BLOB)",
    "gone": "DELETE FROM tile",
    "one too many": "INSERT INTO tile VALUES(1, 0, zeroblob(32))",
}


@pytest.mark.parametrize("edit", TILES)
def test_c55_c56_a_tile_is_named_and_made_again(log: FullLog, edit: str) -> None:
    with edited(log.path) as connection:
        connection.execute(TILES[edit])
    place = "tile 1/0" if edit == "one too many" else "tile 0/0"
    assert place in log.faults()
    assert rebuilt(log.folder).is_mendable
    assert log.faults() == {}
    with log.world().opened() as again:
        check_whole(again)


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE head SET state=zeroblob(length(state))",
        "UPDATE head SET state=substr(state, 33)",
        "UPDATE head SET size=size-1",
        "UPDATE head SET size=size+1",
        "UPDATE head SET last_time=last_time+1",
        "DELETE FROM head",
    ],
)
def test_c57_a_head_is_named_and_made_again(log: FullLog, edit: str) -> None:
    with edited(log.path) as connection:
        connection.execute(edit)
    assert "table head" in log.faults()
    if "last_time" not in edit:
        with pytest.raises(IntegrityError):
            log.world().open()
    rebuilt(log.folder)
    assert log.faults() == {}
    with log.world().opened() as again:
        check_whole(again)


def test_c58_a_checkpoint_deleted_or_an_older_one_served_again(log: FullLog) -> None:
    with edited(log.path) as connection:
        connection.execute("DELETE FROM checkpoint WHERE size>?", (log.index("setting"),))
    size, _ = log.receipt("last")
    with log.world().opened() as again:
        assert open_note(again.checkpoint(), VKEY).tree_size == size, "the signer has the last one"
        check_whole(again)
    with edited(log.path) as connection:
        old: Any = connection.execute("SELECT note FROM checkpoint ORDER BY size LIMIT 1").get
        connection.execute("UPDATE checkpoint SET note=? WHERE size=?", (old, size))
    assert log.faults().keys() == {f"checkpoint {size}"}
    log.refused_at_start(f"checkpoint {size}")
