"""The power is cut after every write and sync of a small log's life; whatever is left must hold every promise.

C13, C14: each state is opened with the real store, keys, signer and recovery, verified, and written to. C12: then it is
killed and opened again. The mutants at the end are known to lose entries: they show that the test would see it.

By default a fixed part of the states is looked at; with ELIGIBILITY_FAULTS=full all are, and counts are printed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw
import pytest

from engine.errors import LedgerError, LogUnavailableError
from engine.ledger import erasure, recovery
from engine.ledger.plan import Moment, Placed, make_plan
from engine.ledger.seal import CallerPart
from engine.ledger.sqlite.log import SqliteLog
from engine.ledger.writer import Acknowledged
from tests.conformance.ledger_world import (
    CountingWriter,
    HeldSigner,
    World,
    account,
    append_together,
    check_file,
    check_whole,
    register,
)
from tests.conformance.power_cut import CrashState, Disk, RecordedFiles, recorded_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from engine.ledger.log import Account, DecisionLog
    from engine.ledger.plan import Draft, Plan
    from engine.ledger.signer import SignReply
    from engine.ledger.sqlite.appending import SqliteAppending
    from engine.ledger.store import Batch
    from engine.ledger.writer import CheckpointSigner

FULL = os.environ.get("ELIGIBILITY_FAULTS") == "full"
LOOKED_AT = 200
"""How many states are looked at by default."""
EXTRA, NORMAL, OFF = 3, 1, 0
SMALL_CHECKPOINT = 40
"""Pages after which the write-ahead log is moved into the database, so that this happens in so short a life."""
OFFICERS = [CallerPart(name, "key_officer", "", "", "", "", 0, "OK") for name in ("one", "another")]
WANTED = erasure.ErasureRequest(b"patient 1", "request", "case 1")

pytestmark = pytest.mark.timeout(3600 if FULL else 120)


class Acknowledgment(NamedTuple):
    """An entry was acknowledged."""

    entry_index: int
    entry_id: bytes


class Signature(NamedTuple):
    """A tree was signed, and its note may be anywhere by now."""

    size: int
    root: bytes


class RecordedWriter(CountingWriter):
    """The writer; what it acknowledges is marked on the disk at that moment."""

    disk: Disk

    def _acknowledge(self, live: list[tuple[Draft, Future[Acknowledged]]], plan: Plan) -> None:
        super()._acknowledge(live, plan)
        self._mark(live, plan)

    def _mark(self, live: list[tuple[Draft, Future[Acknowledged]]], plan: Plan) -> None:
        for (draft, future), outcome in zip(live, plan.outcomes, strict=True):
            if future.exception() is None and isinstance(outcome, Placed):
                self.disk.mark(Acknowledgment(outcome.index, draft.header.entry_id))


class RecordedSigner(HeldSigner):
    """The signer; what it signs is marked on the disk before anybody has it."""

    disk: Disk

    def sign(self, old_size: int, proof: list[bytes], size: int, root: bytes) -> SignReply:
        """Sign."""
        reply = super().sign(old_size, proof, size, root)
        if reply.note:
            self.disk.mark(Signature(reply.tree_size, reply.root_hash))
        return reply


class Life:
    """A small log from its beginning to its orderly end, recorded."""

    def __init__(self, folder: Path, make_store: type[SqliteLog] = SqliteLog) -> None:
        folder.mkdir()
        self.folder = folder
        self.disk = Disk()
        self.accounts: dict[bytes, Account] = {}
        self._files = RecordedFiles("power-cut", self.disk)
        self._make_store = make_store
        self._held: list[RecordedSigner] = []
        RecordedWriter.disk = RecordedSigner.disk = self.disk

    def world(self, folder: Path | None = None) -> World:
        """Give a world on this disk; another folder is that of another process after a crash."""
        world = World(folder or self.folder)
        world.vfs, world.make_state, world.make_store = "power-cut", recorded_state(self.disk), self._make_store
        world.around_signer = self._hold
        return world

    def account(self, number: int, request_id: str = "") -> Account:
        """Make up an account that is known by its entry id."""
        told = replace(account(number, request_id), entry_id=number.to_bytes(15, "big") + b"\0")
        self.accounts[told.entry_id or b""] = told
        return told

    def begin(self) -> None:
        """Live for a while."""
        with self.world().opened() as log:
            self._append(log)

    def run(self) -> None:
        """Live it in full, with an erasure and a second start."""
        world = self.world()
        with world.opened() as log:
            self._append(log)
            assert log.append(account(1, "a request")).response == b"response 1"
            asked = erasure.request(log, WANTED, OFFICERS[0])
            erasure.approve(log, WANTED, asked.index, OFFICERS[1])
        with world.opened() as log:
            log.append(self.account(7, "another request"))
            log.append(self.account(8))

    def _append(self, log: DecisionLog) -> None:
        register(log)
        log.append(self.account(1, "a request"))
        futures = append_together(log, self._held[-1], [self.account(number) for number in range(2, 7)])
        self._held[-1].may_go.set()
        for future in futures:
            future.result()

    def _hold(self, signer: CheckpointSigner) -> CheckpointSigner:
        self._held.append(RecordedSigner(signer))
        return self._held[-1]


def look(state: CrashState, life: Life, folder: Path) -> str:
    """Open what a cut left, and use it; give what is wrong with it, or nothing."""
    acked = {p.entry_index: p.entry_id for p in state.promises if isinstance(p, Acknowledgment)}
    signed = {p.size: p.root for p in state.promises if isinstance(p, Signature)}
    told = {index: life.accounts[entry_id] for index, entry_id in acked.items() if entry_id in life.accounts}
    killed_folder = folder.with_name("killed")
    folder.mkdir()
    try:
        shutil.copy(life.folder / "wrapping", folder)
        for name, content in state.files.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)
        world = World(folder, seed=state.step + 3)
        with world.opened() as log:
            check_whole(log, told, signed)
            with log.reading() as snapshot:
                for index, entry_id in acked.items():
                    assert snapshot.index_of(entry_id) == index, f"acknowledged entry {index} is gone"
            register(log)
            more = log.append(account(100))
            killed = world.copied(killed_folder)
        with killed.opened() as log:
            check_whole(log, told | {more.index: account(100)}, signed)
        check_file(killed_folder / "keys.db")
    except (AssertionError, LedgerError, apsw.Error) as error:
        return f"step {state.step}: {type(error).__name__}: {error}".splitlines()[0]
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(killed_folder, ignore_errors=True)
    return ""


def unsafe(life: Life, states: Sequence[CrashState], folder: Path) -> Iterator[str]:
    """Give what is wrong with some of the states, spread evenly over all of them; with all in a full run."""
    step = 1 if FULL else max(1, len(states) // LOOKED_AT)
    return filter(None, (look(state, life, folder / "state") for state in states[::step]))


@contextmanager
def memory() -> Iterator[Path]:
    """Give a folder in memory where there is such a thing: thousands of small files are written and synced."""
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - the folder in it is made safely
    folder = Path(tempfile.mkdtemp(dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder in memory."""
    with memory() as folder:
        yield folder


@pytest.fixture(autouse=True)
def _checkpoints_come_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for store in ("log", "keys"):
        monkeypatch.setattr(f"engine.ledger.sqlite.{store}.AUTOCHECKPOINT_PAGES", SMALL_CHECKPOINT)


def test_c12_c13_c14_every_state_that_a_power_cut_may_leave_holds_all_promises(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "LogWriter", RecordedWriter)
    life = Life(folder / "life")
    life.run()
    states = list(life.disk.states(Random(1)))
    assert list(unsafe(life, states, folder)) == []
    assert {type(promise) for promise in states[-1].promises} == {Acknowledgment, Signature}
    if FULL:
        print(f"{len(states)} states, all safe")  # noqa: T201 - the report of a full run


class WithoutSync(SqliteLog):
    """A mutant: a store that syncs less than it has to. The settings' own check is taken out for it."""

    synchronous = NORMAL

    def __init__(self, path: Path, *, vfs: str | None = None) -> None:
        super().__init__(path, vfs=vfs)
        self._writer.pragma("synchronous", self.synchronous)


class WithoutAnySync(WithoutSync):
    """A mutant: a store that never syncs."""

    synchronous = OFF


class CommittingBetween:
    """A connection that commits before the tiles, and so splits a batch."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.execute, self.total_changes = connection.execute, connection.total_changes

    def executemany(self, query: str, rows: Sequence[Any]) -> object:
        """Execute."""
        if query.startswith("INSERT INTO tile"):
            self.execute("COMMIT")
            self.execute("BEGIN IMMEDIATE")
        return self._connection.executemany(query, rows)


class TwoTransactions(SqliteLog):
    """A mutant: a store that commits the entries, and then tiles and head."""

    @contextmanager
    def appending(self) -> Iterator[SqliteAppending]:
        """Hold the head."""
        with super().appending() as appending:
            write = appending.write

            def write_twice(batch: Batch) -> None:
                appending._connection = CommittingBetween(self._writer)  # type: ignore[assignment]  # noqa: SLF001 - the mutation
                write(batch)

            appending.write = write_twice  # type: ignore[method-assign]
            yield appending


class CommittingLast(RecordedWriter):
    """A mutant: a writer that does something in the transaction that has to come after it."""

    def _append(self, live: list[tuple[Draft, Future[Acknowledged]]]) -> None:
        moment = Moment(self._ready(), self._clock.flags(), self._random(16))
        with self._store.appending() as appending:
            plan = make_plan(appending, [draft for draft, _ in live], moment, ())
            if plan.batch is not None:
                appending.write(plan.batch)
            self._do_early(live, plan)
        self._acknowledge(live, plan)

    def _do_early(self, live: list[tuple[Draft, Future[Acknowledged]]], plan: Plan) -> None:
        raise NotImplementedError


class SigningFirst(CommittingLast):
    """A mutant: a writer that signs before it commits (C9b)."""

    def _do_early(self, live: list[tuple[Draft, Future[Acknowledged]]], plan: Plan) -> None:
        del live
        self._sign(plan.tree)


class AnsweringFirst(CommittingLast):
    """A mutant: a writer that answers before it commits."""

    def _do_early(self, live: list[tuple[Draft, Future[Acknowledged]]], plan: Plan) -> None:
        for (_, future), outcome in zip(live, plan.outcomes, strict=True):
            assert not isinstance(outcome, LedgerError)
            future.set_result(Acknowledged(outcome, plan.tree, 0, b""))
        self._mark(live, plan)

    def _acknowledge(self, live: list[tuple[Draft, Future[Acknowledged]]], plan: Plan) -> None:
        del live
        self._sign(plan.tree)


@pytest.mark.parametrize(
    "mutant",
    [WithoutSync, WithoutAnySync, TwoTransactions, SigningFirst, AnsweringFirst],
    ids=lambda mutant: mutant.__name__,
)
def test_c9b_c13_a_mutant_that_loses_entries_is_seen(
    folder: Path, mutant: type[SqliteLog | RecordedWriter], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(recovery, "LogWriter", mutant if issubclass(mutant, RecordedWriter) else RecordedWriter)
        if issubclass(mutant, WithoutSync):
            for module in ("log", "connection"):
                patch.setattr(f"engine.ledger.sqlite.{module}.check_settings", lambda _connection: None)
        life = Life(folder / "life", mutant if issubclass(mutant, SqliteLog) else SqliteLog)
        life.begin()
    states = [state for state in life.disk.states(Random(1)) if state.promises]
    Random(2).shuffle(states)
    found = unsafe(life, states, folder)
    assert next(found, "")
    if FULL:
        print(f"{mutant.__name__}: {len(states)} states, {1 + sum(1 for _ in found)} unsafe")  # noqa: T201 - as above


@pytest.mark.parametrize("file", ["log.db-wal", "keys.db-wal"])
def test_c15_what_a_failed_sync_left_to_be_read_is_durable_before_anything_stands_on_it(
    folder: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed sync Linux calls pages clean that are not on the disk: another process reads what a cut takes."""
    monkeypatch.setattr(recovery, "LogWriter", RecordedWriter)
    for store in ("log", "keys"):
        monkeypatch.setattr(f"engine.ledger.sqlite.{store}.AUTOCHECKPOINT_PAGES", 4000)
    life = Life(folder / "life")
    world = life.world()
    with world.opened() as log:
        register(log)
        log.append(life.account(1))
        faults = [apsw.IOError("once")]
        life.disk.fault = lambda what, name: faults.pop() if faults and (what, name) == ("sync", file) else None
        told = replace(life.account(2, "a request"), patient=b"somebody new")
        with pytest.raises(LogUnavailableError):
            log.append(told)
        killed = life.world(folder / "killed life")
        world.copied(killed.folder)
        with killed.opened() as again:
            again.append(told)
            again.append(life.account(3))
            states = list(life.disk.states(Random(1)))
        last = [state for state in states if len(state.promises) == len(states[-1].promises)]
        assert [look(state, life, folder / "state") for state in last] == [""] * len(last)
