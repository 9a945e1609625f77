"""One suite over both stores of the log: what a batch writes, what is refused, and what a snapshot sees."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from engine.errors import EntryNotFoundError, IntegrityError
from engine.ledger.merkle import leaf_hash
from engine.ledger.store import (
    BatchRejectedError,
    BlobRow,
    Head,
    LogStore,
    QueryTooLargeError,
    RetryBatchError,
    SealedRow,
    Seen,
    UnsafeStoreError,
    Wanted,
    search_row,
)
from tests.conformance.batches import (
    BLOB,
    CALLER,
    DAY,
    META,
    PATIENT,
    append,
    decision,
    decisions,
    erasure_done,
    tombstone,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.ledger.store import Batch
    from tests.conformance.places import Place

REFUSED = (BatchRejectedError, RetryBatchError)
KEY_A, KEY_B = b"A" * 16, b"B" * 16


@pytest.fixture
def store(place: Place) -> LogStore:
    return place.create()


def everything(store: LogStore) -> list[object]:
    """Give all that a log holds."""
    with store.reading() as now:
        size = now.head().size
        rows = [now.leaves(0, size), now.sealed_rows(0, size), now.tiles(), now.checkpoints(), now.blobs()]
        derived = [now.search_rows(), now.idempotency_rows(), now.batch_rows()]
        return [now.head(), now.meta(), *(sorted(each) for each in (*rows, *derived))]


def test_a_log_is_created_once(place: Place) -> None:
    store = place.open()

    assert store.create(META)
    assert not store.create({**META, "origin": b"another"})

    store.check()
    with store.reading() as snapshot:
        assert snapshot.head() == Head(0, b"", 0, 0)
        assert snapshot.meta() == META
        assert snapshot.checkpoint() is None
        assert snapshot.tile(0, 0) == b""
        assert list(snapshot.leaves(0, 2**63 - 1)) == []


def test_what_a_batch_brings_is_there_after_it_and_after_opening_again(place: Place, store: LogStore) -> None:
    requests = [decision(key_id=KEY_A, tenant=2**32 - 1, key_mac=b"m" * 32), decision()]
    batch = append(store, requests, time=5_000)
    store.close()

    again = place.open()
    with again.reading() as snapshot:
        assert snapshot.head() == Head(2, batch.state, 5_000, 0)
        assert list(snapshot.leaves(0, 9)) == list(enumerate(batch.leaves))
        assert [snapshot.leaf(index) for index in (0, 1)] == batch.leaves
        assert snapshot.tile(0, 0) == b"".join(map(leaf_hash, batch.leaves))
        assert list(snapshot.sealed_rows(0, 2)) == sorted(batch.sealed)
        assert snapshot.sealed(1, PATIENT) == requests[1].sealed[PATIENT]
        assert list(snapshot.search_rows()) == [search_row(index, leaf) for index, leaf in enumerate(batch.leaves)]
        assert list(snapshot.idempotency_rows()) == batch.idempotency
        assert snapshot.blob(BLOB.digest) == BLOB
        assert list(snapshot.blobs()) == [BLOB]
        assert [tuple(row) for row in snapshot.batch_rows()] == [(batch.batch_id, 0, 2, batch.expires_at)]
    assert again.find_batch(batch.batch_id) == (batch.batch_id, 0, 2, batch.expires_at)
    assert again.find_batch(os.urandom(16)) is None


def test_a_log_grows_over_the_edges_of_tiles_and_pages(store: LogStore) -> None:
    leaves: list[bytes] = []
    for count in (1, 254, 1, 1, 256, 2, 70):
        leaves += append(store, decisions(count)).leaves

    with store.reading() as snapshot:
        assert list(snapshot.leaves(0, 2**63 - 1)) == list(enumerate(leaves))
        assert list(snapshot.leaves(250, 300)) == list(enumerate(leaves))[250:300]
        hashes = b"".join(map(leaf_hash, leaves))
        assert [snapshot.tile(0, n) for n in range(3)] == [hashes[at : at + 8192] for at in range(0, len(hashes), 8192)]
        assert [(level, n) for level, n, _ in snapshot.tiles()] == [(0, 0), (0, 1), (0, 2), (1, 0)]
        assert [row.entry_index for row in snapshot.sealed_rows(100, 400)] == [i for i in range(100, 400) for _ in "ab"]


def test_an_exception_rolls_everything_back(store: LogStore) -> None:
    append(store, decisions(3))
    before = everything(store)

    with pytest.raises(ZeroDivisionError):
        append(store, [decision(key_mac=b"k" * 32)], after=lambda _: 1 // 0)

    assert everything(store) == before
    append(store, decisions(1))


def test_a_transaction_without_a_batch_changes_nothing(store: LogStore) -> None:
    append(store, decisions(1))
    before = everything(store)

    with store.appending() as appending:
        assert appending.head.size == 1

    assert everything(store) == before


def spoil_index(batch: Batch) -> None:
    batch.leaves[0] = batch.leaves[0][:43] + (77).to_bytes(8, "big") + batch.leaves[0][51:]


def spoil_tile(batch: Batch) -> None:
    batch.tiles = {tile: b"x" * 32 + hashes[32:] for tile, hashes in batch.tiles.items()}


def shorten_tile(batch: Batch) -> None:
    batch.tiles = {tile: hashes[:32] for tile, hashes in batch.tiles.items()}


def spoil_sealed(batch: Batch) -> None:
    batch.sealed.append(SealedRow(batch.first_index + 5, PATIENT, b"of an entry that is not there"))


def reuse_entry_id(batch: Batch) -> None:
    batch.leaves[1] = batch.leaves[1][:60] + batch.leaves[0][60:76] + batch.leaves[1][76:]


def go_back_in_time(batch: Batch) -> None:
    batch.last_time -= 2


def go_back_in_the_log(batch: Batch) -> None:
    batch.first_index -= 1


def leave_a_gap(batch: Batch) -> None:
    batch.first_index += 1
    batch.leaves = [leaf[:43] + (at + 4).to_bytes(8, "big") + leaf[51:] for at, leaf in enumerate(batch.leaves)]
    batch.sealed.clear()


def name_an_unknown_blob(batch: Batch) -> None:
    batch.named_blobs.add(b"?" * 32)


def bring_a_blob_under_another_name(batch: Batch) -> None:
    batch.blobs.append(BlobRow(b"?" * 32, 1, b"other bytes"))


def be_too_short(batch: Batch) -> None:
    batch.leaves[0] = batch.leaves[0][:396]


SPOILED = [
    spoil_index,
    spoil_tile,
    shorten_tile,
    spoil_sealed,
    reuse_entry_id,
    go_back_in_time,
    go_back_in_the_log,
    leave_a_gap,
    name_an_unknown_blob,
    bring_a_blob_under_another_name,
    be_too_short,
]


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_c43_a_batch_that_does_not_fit_is_refused_and_leaves_no_trace(
    store: LogStore, spoil: Callable[[Batch], None]
) -> None:
    append(store, decisions(3))
    before = everything(store)

    with pytest.raises(REFUSED):
        append(store, decisions(2), change=spoil)

    assert everything(store) == before
    append(store, decisions(2))
    with store.reading() as snapshot:
        assert snapshot.head().size == 5


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET leaf_data = leaf_data",
        "DELETE FROM entry WHERE entry_index = 1",
        "UPDATE checkpoint SET note = note",
        "DELETE FROM checkpoint",
        "DELETE FROM sealed WHERE entry_index = 1",
        "UPDATE sealed SET body = leaf_data FROM entry WHERE entry.entry_index = sealed.entry_index",
        "UPDATE sealed SET part = 3 - part",
        "UPDATE tile SET hashes = leaf_data FROM entry WHERE entry_index = 0",
        "UPDATE head SET size = size - 1",
        "UPDATE head SET last_time = last_time - 1",
    ],
)
def test_nothing_that_is_written_can_be_changed(place: Place, store: LogStore, statement: str) -> None:
    append(store, decisions(2), change=lambda batch: batch.checkpoints.append((1, b"a note")))
    before = everything(store)

    with pytest.raises(place.refusal):
        place.execute_as_writer(statement)

    assert everything(store) == before


def test_what_a_transaction_reads_is_what_its_batch_stands_on(store: LogStore) -> None:
    known, unknown = (7, b"k" * 32), (8, b"k" * 32)
    batch = append(store, [*decisions(255), decision(tenant=7, key_mac=b"k" * 32), *decisions(44)], time=1_000)

    with store.appending() as appending:
        assert appending.head == Head(300, batch.state, 1_000, 0)
        wanted = [(0, 0), (0, 1), (1, 0), (0, 2), (5, 5)]
        assert appending.tiles(wanted) == batch.tiles
        assert appending.tiles([(0, 0)]) == {(0, 0): batch.tiles[0, 0]}
        assert appending.tiles([]) == {}
        assert appending.known_blobs([BLOB.digest, b"?" * 32]) == {BLOB.digest}
        assert appending.known_blobs([]) == set()
        assert appending.seen([]) == {}
        request_mac = batch.idempotency[0].request_mac
        assert appending.seen([known, unknown]) == {known: Seen(255, request_mac, 1_000 + DAY)}


def test_c39_a_request_id_is_free_again_once_it_expired_and_not_before(store: LogStore) -> None:
    first = append(store, [decision(tenant=1, key_mac=b"k" * 32)], time=1_000)
    before = everything(store)

    with pytest.raises(BatchRejectedError):
        append(store, [decision(tenant=1, key_mac=b"k" * 32)], time=first.expires_at)
    assert everything(store) == before

    append(store, [decision(tenant=1, key_mac=b"k" * 32)], time=first.expires_at + 1)
    with store.reading() as snapshot:
        assert [row.entry_index for row in snapshot.idempotency_rows()] == [1]


def test_rows_expire(store: LogStore) -> None:
    old = append(store, [decision(key_mac=b"o" * 32)], time=1_000)
    new = append(store, [decision(key_mac=b"n" * 32)], time=old.expires_at + 10)

    store.expire(old.expires_at)
    assert store.find_batch(old.batch_id) is not None

    store.expire(old.expires_at + 1)
    assert store.find_batch(old.batch_id) is None
    assert store.find_batch(new.batch_id) is not None
    with store.reading() as snapshot:
        assert [row.key_mac for row in snapshot.idempotency_rows()] == [b"n" * 32]
        assert snapshot.head().size == 2


def test_a_blob_is_stored_once_and_before_what_names_it(store: LogStore) -> None:
    report = BlobRow(bytes.fromhex("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"), 5, b"test")

    def bring(batch: Batch) -> None:
        batch.blobs.append(report)
        batch.named_blobs.add(report.digest)

    append(store, decisions(1), change=bring)
    append(store, decisions(1), change=bring)

    with store.reading() as snapshot:
        assert sorted(snapshot.blobs()) == sorted([BLOB, report])


def test_checkpoints_are_kept_once_and_never_beyond_the_head(store: LogStore) -> None:
    append(store, decisions(3))
    append(store, decisions(2), change=lambda batch: batch.checkpoints.append((3, b"three")))

    store.add_checkpoints([(5, b"five"), (1, b"one"), (3, b"another three"), (6, b"six")])
    store.add_checkpoints([(5, b"another five")])
    store.add_checkpoints([])

    with store.reading() as snapshot:
        assert list(snapshot.checkpoints()) == [(1, b"one"), (3, b"three"), (5, b"five")]
        assert list(snapshot.checkpoints(end=3)) == [(1, b"one"), (3, b"three")]
        assert snapshot.checkpoint() == (5, b"five")
        assert [snapshot.checkpoint(size) for size in (0, 1, 2, 4)] == [
            (1, b"one"),
            (1, b"one"),
            (3, b"three"),
            (5, b"five"),
        ]
        assert snapshot.checkpoint(6) is None


def test_what_is_not_there_is_not_found(store: LogStore) -> None:
    append(store, decisions(2))

    with store.reading() as snapshot:
        for index in (2, -1, 2**63, 2**64):
            with pytest.raises(EntryNotFoundError):
                snapshot.leaf(index)
        assert snapshot.sealed(2, PATIENT) is None
        assert snapshot.sealed(0, 3) is None
        assert snapshot.tile(0, 1) == b""
        assert snapshot.blob(b"?" * 32) is None
        assert snapshot.index_of(b"?" * 16) is None
        assert list(snapshot.leaves(2, 1)) == []
        assert list(snapshot.sealed_rows(2, 2**64)) == []


def test_entries_are_found_by_id_and_by_every_filter(store: LogStore) -> None:
    append(store, [decision(key_id=KEY_A), decision(key_id=KEY_B)], time=100)
    append(store, [tombstone(KEY_A), decision(key_id=KEY_A)], time=200)
    append(store, [erasure_done(2), *decisions(2)], time=300)

    with store.reading() as snapshot:
        rows = [search_row(index, leaf) for index, leaf in snapshot.leaves(0, 9)]
        assert [snapshot.index_of(row.entry_id) for row in rows] == list(range(7))

        def find(wanted: Wanted) -> list[int]:
            found = snapshot.find(wanted)
            assert found == [rows[row.entry_index] for row in found]
            return [row.entry_index for row in found]

        every = Wanted(first=0, end=2**64, limit=100)
        assert find(every) == list(range(7))
        assert find(every._replace(first=2, end=5)) == [2, 3, 4]
        assert find(every._replace(first=2, limit=2)) == [2, 3]
        assert find(every._replace(limit=0)) == []
        assert find(every._replace(kinds=(7, 8))) == [2, 4]
        assert find(every._replace(key_ids=(KEY_A,))) == [0, 3]
        assert find(every._replace(key_ids=(KEY_A, KEY_B), kinds=(4,))) == [0, 1, 3]
        assert find(every._replace(since=200)) == [2, 3, 4, 5, 6]
        assert find(every._replace(until=200)) == [0, 1]
        assert find(every._replace(since=200, until=300, kinds=(4,))) == [3]
        assert find(every._replace(key_ids=(b"?" * 16,))) == []
        assert find(every._replace(kinds=(8, 7, 7, 8, 300, -1))) == [2, 4]
        assert find(every._replace(kinds=(300, -1))) == [], "what no entry is of is no filter that lets all through"


def test_a_question_of_any_size_leaves_the_store_well(store: LogStore) -> None:
    """SQLite takes 32,766 values at once, and says of more what it says of a damaged schema."""
    append(store, decisions(2), time=100)
    every = Wanted(first=0, end=9, limit=9)
    with store.reading() as snapshot:
        assert len(snapshot.find(every._replace(kinds=tuple(range(40_000))))) == 2
        assert len(snapshot.find(every._replace(kinds=(4,) * 40_000))) == 2
    key_ids = tuple(number.to_bytes(16, "big") for number in range(40_000))
    with suppress(QueryTooLargeError), store.reading() as snapshot:
        assert snapshot.find(every._replace(key_ids=key_ids)) == []
    append(store, decisions(1), time=200)
    with store.reading() as snapshot:
        assert snapshot.head().size == 3


def test_probing_changes_nothing(store: LogStore) -> None:
    batch = append(store, [decision()], time=5_000)
    store.probe()

    with store.reading() as snapshot:
        assert snapshot.head() == Head(1, batch.state, 5_000, 0)
        assert len(list(snapshot.batch_rows())) == 1


def test_a_snapshot_stays_at_its_moment(store: LogStore) -> None:
    append(store, decisions(3), change=lambda batch: batch.checkpoints.append((1, b"one")))

    with store.reading() as old:
        append(store, decisions(2), change=lambda batch: batch.checkpoints.append((3, b"three")))
        with store.reading() as new:
            assert (old.head().size, new.head().size) == (3, 5)
            assert [len(list(each.leaves(0, 9))) for each in (old, new)] == [3, 5]
            assert [len(each.tile(0, 0)) // 32 for each in (old, new)] == [3, 5]
            assert [each.checkpoint() for each in (old, new)] == [(1, b"one"), (3, b"three")]


def test_a_reader_who_stops_half_way_disturbs_nobody(store: LogStore) -> None:
    append(store, decisions(200))

    with store.reading() as snapshot:
        half_way = snapshot.sealed_rows(0, 200)
        assert next(half_way).entry_index == 0
    append(store, decisions(1))
    with store.reading() as snapshot:
        assert snapshot.head().size == 201
    del half_way
    append(store, decisions(1))


def test_bodies_are_erased_only_for_a_tombstone_that_names_the_key(store: LogStore) -> None:
    straddling = KEY_B[:8] + KEY_A[:8]
    erased = [decision(key_id=KEY_A, key_mac=b"a" * 32), decision(key_id=KEY_A), decision(key_id=KEY_B)]
    append(store, erased)
    append(store, [tombstone(KEY_B, KEY_A, authority="C" * 16), decision(key_id=KEY_B)])
    before = everything(store)

    for index, key_id in [(3, b"C" * 16), (3, straddling), (3, b""), (4, KEY_B), (0, KEY_A), (9, KEY_A)]:
        with pytest.raises(IntegrityError, match=f"entry {index}"):
            store.erase_bodies(index, key_id)
    assert everything(store) == before

    assert store.erase_bodies(3, KEY_A) == 2
    assert store.erase_bodies(3, KEY_A) == 0
    store.scrub()
    with store.reading() as snapshot:
        assert [snapshot.sealed(index, PATIENT) is None for index in range(5)] == [True, True, False, True, False]
        assert snapshot.sealed(0, CALLER) == erased[0].sealed[CALLER]
        assert [row.request_mac for row in snapshot.idempotency_rows()] == [b""]
        assert [row.body is None for row in snapshot.sealed_rows(0, 1)] == [True, False]
        assert len(list(snapshot.leaves(0, 9))) == 5


def test_c56_derived_tables_are_replaced(place: Place, store: LogStore) -> None:
    append(store, decisions(300))
    before = everything(store)
    with store.reading() as snapshot:
        head, rows = snapshot.head(), list(snapshot.search_rows())
        tiles = {(level, number): hashes for level, number, hashes in snapshot.tiles()}

    place.execute("DELETE FROM tile")
    place.execute("DELETE FROM search WHERE entry_index > 5")
    place.execute("DELETE FROM head")
    with store.reading() as snapshot, pytest.raises(IntegrityError, match="head"):
        snapshot.head()
    with pytest.raises(IntegrityError, match="head"), store.appending():
        pass

    store.rebuild(head, tiles, iter(rows))
    assert everything(store) == before
    store.check()
    append(store, decisions(1))


def test_several_threads_append_one_after_the_other(store: LogStore) -> None:
    batches: list[Batch] = []

    def work() -> None:
        batches.extend(append(store, decisions(2)) for _ in range(8))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(batch.first_index for batch in batches) == list(range(0, 48, 2))
    by_place = sorted(batches, key=lambda batch: batch.first_index)
    with store.reading() as snapshot:
        assert [leaf for _, leaf in snapshot.leaves(0, 99)] == [leaf for batch in by_place for leaf in batch.leaves]
        assert snapshot.head().state == by_place[-1].state


def test_a_writer_of_an_old_epoch_is_fenced_off(place: Place, store: LogStore) -> None:
    append(store, decisions(1))
    place.execute("UPDATE head SET epoch = epoch + 1")
    before = everything(store)

    with pytest.raises(UnsafeStoreError, match="fenced"):
        append(store, decisions(1))

    assert everything(store) == before
    store.close()
    append(place.open(epoch=1), decisions(1))


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE extra(a int)",
        "CREATE VIEW extra AS SELECT * FROM entry",
        "CREATE INDEX extra ON batch(first_index)",
        "DROP INDEX search_time",
        "ALTER TABLE checkpoint ADD COLUMN extra int",
        "CREATE TRIGGER extra AFTER INSERT ON entry {body}",
    ],
)
def test_c70_a_schema_that_is_not_this_builds_is_refused(place: Place, store: LogStore, statement: str) -> None:
    append(store, decisions(1))
    store.check()
    is_sqlite = place.refusal.__module__ == "apsw"
    postgres_body = "FOR EACH STATEMENT EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    place.execute(statement.format(body="BEGIN SELECT 1; END" if is_sqlite else postgres_body))

    with pytest.raises(UnsafeStoreError, match="this build makes"):
        store.check()
