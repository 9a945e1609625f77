"""PostgreSQL crashes, hangs, disagrees and loses its connections: what was acknowledged is there, once, in order."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import psycopg
import pytest

from engine.errors import IntegrityError, LedgerError
from engine.ledger.merkle import GrowingTree, leaf_hash
from engine.ledger.store import (
    BatchRejectedError,
    CommitUnknownError,
    RetryBatchError,
    StoreBrokenError,
    StoreBusyError,
    UnsafeStoreError,
)
from tests.conformance.batches import append, build, decision, decisions
from tests.conformance.places import PATIENT
from tests.conformance.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.ledger.store import Batch, LogStore
    from tests.conformance.places import PostgresPlace

WAIT_SECONDS = 60


@pytest.fixture
def wire(postgres: PostgresPlace) -> Iterator[Wire]:
    wire = Wire(postgres.server, postgres.database, "log_writer")
    yield wire
    wire.close()


def leaves_of(store: LogStore) -> list[bytes]:
    """Give every entry, after checking that indexes, head and tree are those of the entries."""
    with store.reading() as snapshot:
        head = snapshot.head()
        found = list(snapshot.leaves(0, 2**63 - 1))
        tree = GrowingTree(0, b"", {})
        for _, leaf in found:
            tree.add(leaf_hash(leaf))
        assert [index for index, _ in found] == list(range(head.size))
        assert head.state == tree.state
        assert {(level, number): hashes for level, number, hashes in snapshot.tiles()} == tree.changed
        return [leaf for _, leaf in found]


@dataclass
class Writers:
    """Threads that append through stores of their own until `enough` is set, and what became of their batches."""

    stores: list[LogStore]
    acknowledged: list[Batch] = field(default_factory=list)
    unknown: int = 0
    faults: list[BaseException] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)
    is_up: threading.Event = field(default_factory=threading.Event)
    progress: threading.Condition = field(default_factory=threading.Condition)

    def start(self) -> None:
        self.is_up.set()
        self.threads = [threading.Thread(target=self._work, args=(store,)) for store in self.stores]
        for thread in self.threads:
            thread.start()

    def wait_for(self, count: int) -> None:
        """Wait until so many more batches were acknowledged."""
        with self.progress:
            wanted = len(self.acknowledged) + count
            assert self.progress.wait_for(lambda: self.faults or len(self.acknowledged) >= wanted, WAIT_SECONDS)
            assert not self.faults

    def stop(self) -> None:
        self.enough.set()
        for thread in self.threads:
            thread.join(WAIT_SECONDS)
        assert not self.faults

    def _work(self, store: LogStore) -> None:
        try:
            while not self.enough.is_set():
                batch = self._append(store)
                with self.progress:
                    if batch is not None:
                        self.acknowledged.append(batch)
                    self.progress.notify_all()
        except BaseException as error:  # noqa: BLE001 - the test says what it was
            with self.progress:
                self.faults.append(error)
                self.progress.notify_all()

    def _append(self, store: LogStore) -> Batch | None:
        """Append, as a writer does: None if nothing was written."""
        batch = None
        try:
            with store.appending() as appending:
                batch = build(appending, decisions(2))
                appending.write(batch)
        except CommitUnknownError:
            assert batch is not None
            self.unknown += 1
            return batch if self._is_written(store, batch) else None
        except StoreBusyError:
            self.is_up.wait(WAIT_SECONDS)
            return None
        return batch

    def _is_written(self, store: LogStore, batch: Batch) -> bool:
        while True:
            try:
                return store.find_batch(batch.batch_id) is not None
            except (StoreBusyError, CommitUnknownError):
                self.is_up.wait(WAIT_SECONDS)


@pytest.mark.parametrize("crash", ["backend", "stop", "kill"])
def test_c25_what_was_acknowledged_before_a_crash_is_there_after_it(postgres: PostgresPlace, crash: str) -> None:
    server = postgres.server
    postgres.create()
    writers = Writers([postgres.open() for _ in range(3)])
    writers.start()
    writers.wait_for(20)

    for _ in range(2):
        writers.is_up.clear()
        if crash == "backend":
            query = "SELECT pid FROM pg_stat_activity WHERE usename = 'log_writer' AND datname = %s"
            pid, *_ = (pid for (pid,) in server.execute(query, [postgres.database]))
            server.kill_backend(int(str(pid)))
        else:
            server.kill() if crash == "kill" else server.stop(is_immediate=True)
            server.start()
        writers.is_up.set()
        writers.wait_for(20)
    writers.stop()

    leaves = leaves_of(postgres.open())
    acknowledged = sorted(writers.acknowledged, key=lambda batch: batch.first_index)
    assert leaves == [leaf for batch in acknowledged for leaf in batch.leaves]


def test_c25_a_backend_that_is_killed_while_it_holds_the_head_leaves_no_trace(postgres: PostgresPlace) -> None:
    store = postgres.create()
    append(store, decisions(1))

    batches: list[Batch] = []

    def kill(batch: Batch) -> None:
        batches.append(batch)
        query = "SELECT pid FROM pg_stat_activity WHERE usename = 'log_writer' AND state = 'idle in transaction'"
        ((pid,),) = postgres.server.execute(query)
        postgres.server.kill_backend(int(str(pid)))

    with pytest.raises((StoreBusyError, CommitUnknownError)):
        append(store, decisions(1), after=kill)

    assert store.find_batch(batches[0].batch_id) is None
    append(store, decisions(1))
    assert len(leaves_of(store)) == 2


def test_c28_a_server_that_hangs_with_the_head_is_waited_for_shortly(postgres: PostgresPlace) -> None:
    hanging, impatient = postgres.create(), postgres.open(limits=replace(PATIENT, lock=0.1))

    def hang(_: Batch) -> None:
        with pytest.raises(StoreBusyError, match="55P03"):
            append(impatient, decisions(1))

    append(hanging, decisions(1), change=hang)

    append(impatient, decisions(1))
    assert len(leaves_of(hanging)) == 2


def test_c28_a_server_that_hangs_with_the_head_is_thrown_out(postgres: PostgresPlace) -> None:
    patient, hanging = postgres.create(), postgres.open(limits=replace(PATIENT, idle=0.1))

    with pytest.raises(StoreBusyError, match="25P03"):
        append(hanging, decisions(1), change=lambda _: append(patient, decisions(1)))

    append(hanging, decisions(1))
    assert len(leaves_of(patient)) == 2


@pytest.mark.parametrize("moment", ["before", "during", "after"])
def test_c29_a_connection_that_is_cut_in_commit_is_settled_by_the_batch_id(
    postgres: PostgresPlace, wire: Wire, moment: Literal["before", "during", "after"]
) -> None:
    postgres.create()
    store = postgres.open(url=wire.url)
    append(store, decisions(1))
    wire.moment = moment

    batches: list[Batch] = []

    def cut_in_commit(batch: Batch) -> None:
        batches.append(batch)
        wire.cut_at = b"COMMIT"

    with pytest.raises(CommitUnknownError):
        append(store, decisions(1), after=cut_in_commit)

    assert wire.was_cut.is_set()
    found = store.find_batch(batches[0].batch_id)
    assert (found is None) == (moment == "before")
    append(store, decisions(1))
    assert len(leaves_of(store)) == (2 if moment == "before" else 3)


@pytest.mark.parametrize("word", [b"lock_head", b"append_batch"])
def test_c29_a_connection_that_is_cut_before_commit_has_written_nothing(
    postgres: PostgresPlace, wire: Wire, word: bytes
) -> None:
    postgres.create()
    store = postgres.open(url=wire.url)
    append(store, decisions(1))
    wire.cut_at = word

    if word == b"lock_head":  # the connection may have been lost long ago, so a new one is tried
        append(store, decisions(1))
    else:
        with pytest.raises(StoreBusyError, match="nothing was written"):
            append(store, decisions(1))

    assert wire.was_cut.is_set()
    assert len(leaves_of(store)) == (2 if word == b"lock_head" else 1)
    append(store, decisions(1))


def test_c29_a_commit_that_no_standby_has_is_not_acknowledged(postgres: PostgresPlace) -> None:
    store = postgres.create()
    append(store, decisions(1))
    batches: list[Batch] = []
    postgres.server.set("synchronous_standby_names", "nobody")
    try:
        with cancelled_while_waiting(postgres, "SyncRep"), pytest.raises(CommitUnknownError, match="warned"):
            append(store, decisions(1), after=batches.append)
        with cancelled_while_waiting(postgres, "SyncRep"), pytest.raises(CommitUnknownError, match="warned"):
            store.find_batch(batches[0].batch_id)  # it sees the batch, but only this server has it
    finally:
        postgres.server.set("synchronous_standby_names", None)

    assert store.find_batch(batches[0].batch_id) is not None
    assert len(leaves_of(store)) == 2


@contextmanager
def cancelled_while_waiting(postgres: PostgresPlace, event: str) -> Iterator[None]:
    """Cancel what the store's connection does as soon as it waits for an event."""
    query = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = %s AND datname = %s"

    def cancel() -> None:
        while not postgres.server.execute(query, [event, postgres.database]):
            pass

    thread = threading.Thread(target=cancel)
    thread.start()
    yield
    thread.join(WAIT_SECONDS)


def test_c30_a_deadlock_is_retried_without_a_double(postgres: PostgresPlace) -> None:
    store = postgres.create()
    url = postgres.server.url(postgres.database)
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%FOR UPDATE' "
        "AND datname = %s"
    )
    with psycopg.connect(url) as other:
        other.execute("SET deadlock_timeout = '1min'; LOCK TABLE log.batch")  # so that the store is the one that ends

        def take_the_head() -> None:
            other.execute("SELECT * FROM log.head FOR UPDATE")
            other.rollback()

        thread = threading.Thread(target=take_the_head)

        def have_the_head_wanted(_: Batch) -> None:
            thread.start()
            while postgres.server.execute(waiting, [postgres.database]) != [(1,)]:
                pass

        with pytest.raises(RetryBatchError, match="deadlock"):
            append(store, decisions(1), change=have_the_head_wanted)
        thread.join()

    append(store, decisions(1))
    assert len(leaves_of(store)) == 1


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("40001", RetryBatchError),
        ("40P01", RetryBatchError),
        ("LG003", RetryBatchError),
        ("LG001", UnsafeStoreError),
        ("LG002", UnsafeStoreError),
        ("42501", UnsafeStoreError),
        ("42P01", UnsafeStoreError),
        ("22003", BatchRejectedError),
        ("23505", BatchRejectedError),
        ("54000", BatchRejectedError),
        ("LG004", BatchRejectedError),
        ("LG005", BatchRejectedError),
        ("LG007", BatchRejectedError),
        ("LG006", IntegrityError),
        ("P0002", IntegrityError),
        ("53100", StoreBusyError),
        ("53200", StoreBusyError),
        ("53300", StoreBusyError),
        ("55P03", StoreBusyError),
        ("57014", StoreBusyError),
        ("58030", StoreBrokenError),
        ("XX001", StoreBrokenError),
        ("XX002", StoreBrokenError),
    ],
)
def test_c30_what_postgres_says_decides_what_becomes_of_the_batch(
    postgres: PostgresPlace, code: str, expected: type[LedgerError]
) -> None:
    store = postgres.create()
    body = f"BEGIN RAISE EXCEPTION 'not to be shown' USING ERRCODE = '{code}'; END"
    trigger = "CREATE TRIGGER fail BEFORE INSERT ON batch FOR EACH ROW EXECUTE FUNCTION fail()"
    postgres.execute(
        f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS '{body.replace(chr(39), chr(39) * 2)}'"
    )
    postgres.execute(trigger)

    with pytest.raises(LedgerError) as raised:
        append(store, decisions(1))

    assert type(raised.value) is expected
    assert "not to be shown" not in str(raised.value)
    postgres.execute("DROP TRIGGER fail ON batch")
    append(store, decisions(1))
    assert len(leaves_of(store)) == 1


def test_c18_without_a_free_connection_nothing_is_written(postgres: PostgresPlace) -> None:
    postgres.create()
    store = postgres.open()
    postgres.execute(f"ALTER DATABASE {postgres.database} CONNECTION LIMIT 0")
    try:
        with pytest.raises(StoreBusyError, match="too many connections"):
            append(store, decisions(1))
        with pytest.raises(StoreBusyError, match="too many connections"), store.reading():
            pass
    finally:
        postgres.execute(f"ALTER DATABASE {postgres.database} CONNECTION LIMIT -1")
    append(store, decisions(1))


def test_c19_a_server_that_only_reads_takes_nothing(postgres: PostgresPlace) -> None:
    store = postgres.create()
    append(store, decisions(1))
    postgres.server.set("default_transaction_read_only", "on")
    try:
        with pytest.raises(StoreBusyError, match="25006"):
            append(store, decisions(1))
        assert len(leaves_of(store)) == 1
    finally:
        postgres.server.set("default_transaction_read_only", None)
    append(store, decisions(1))


def test_readers_that_take_every_connection_keep_others_waiting_and_not_for_ever(postgres: PostgresPlace) -> None:
    postgres.create()
    store = postgres.open(limits=replace(PATIENT, lock=0.1, readers=1))

    with store.reading(), pytest.raises(StoreBusyError, match="in use"), store.reading():
        pass

    with store.reading() as snapshot:
        assert snapshot.head().size == 0


def test_a_reader_goes_on_after_the_server_was_restarted(postgres: PostgresPlace) -> None:
    store = postgres.create()
    append(store, decisions(1))
    with store.reading() as snapshot:
        assert snapshot.head().size == 1

    postgres.server.stop()
    with pytest.raises(StoreBusyError, match="cannot be reached"), store.reading():
        pass
    postgres.server.start()

    with store.reading() as snapshot:
        assert snapshot.head().size == 1
    append(store, decisions(1))


def test_c37_one_request_that_is_made_at_several_servers_at_once_has_one_entry(postgres: PostgresPlace) -> None:
    postgres.create()
    stores = [postgres.open() for _ in range(3)]
    requests = [bytes([number]) * 32 for number in range(20)]
    repeated: list[int] = []

    def answer(store: LogStore) -> None:
        for key_mac in requests:
            with store.appending() as appending:
                seen = appending.seen([(1, key_mac)])
                if seen:
                    repeated.append(seen[1, key_mac].entry_index)
                else:
                    appending.write(build(appending, [decision(tenant=1, key_mac=key_mac)]))

    run_at_once([threading.Thread(target=answer, args=(store,)) for store in stores])

    assert len(leaves_of(stores[0])) == len(requests)
    assert sorted(repeated) == sorted([*range(len(requests))] * 2)


def test_c41_three_servers_with_several_threads_each_append_without_a_gap(postgres: PostgresPlace) -> None:
    postgres.create()
    stores = [postgres.open() for _ in range(3)]
    batches: list[Batch] = []

    def work(store: LogStore) -> None:
        batches.extend(append(store, decisions(count)) for count in (1, 5, 2, 8, 1))

    run_at_once([threading.Thread(target=work, args=(store,)) for store in stores for _ in range(4)])

    assert len(batches) == 60
    in_order = sorted(batches, key=lambda batch: batch.first_index)
    assert leaves_of(stores[0]) == [leaf for batch in in_order for leaf in batch.leaves]


def run_at_once(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()
