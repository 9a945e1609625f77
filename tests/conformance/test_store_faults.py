"""What is under the log fails: disk, files, settings, signer, backups. Nobody is told of an entry that is not kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import pytest

from engine.errors import IntegrityError, LogUnavailableError
from engine.ledger import writer
from engine.ledger.sqlite.connection import check_settings, check_version, connect
from engine.ledger.sqlite.log import SqliteLog
from engine.ledger.store import StoreBrokenError, UnsafeStoreError
from engine.ledger.writer import Limits
from tests.conformance.ledger_world import (
    FIRST_DECISION,
    WAIT_SECONDS,
    HeldSigner,
    World,
    account,
    check_receipt,
    check_whole,
    copy_files,
    register,
)
from tests.conformance.power_cut import Disk, RecordedFiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.ledger.log import DecisionLog
    from engine.ledger.signer import SignReply
    from engine.ledger.writer import CheckpointSigner

ROOT = Path(__file__).parents[2]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Give a world in a folder of its own."""
    folder = tmp_path / "world"
    folder.mkdir()
    world = World(folder)
    yield world
    world.close()


@pytest.fixture
def disk(world: World) -> Iterator[Disk]:
    """Give the disk of the world, whose writes and syncs can be made to fail."""
    disk = Disk()
    files = RecordedFiles("faulty", disk)
    world.vfs = "faulty"
    yield disk
    world.close()
    files.unregister()


def fail_once(disk: Disk, what: str, name: str, after: int = 0, error: type[apsw.Error] = apsw.IOError) -> None:
    """Let one write or sync of a file fail."""
    left = [error("once"), *[None] * after]
    disk.fault = lambda is_what, is_name: left.pop() if left and (is_what, is_name) == (what, name) else None


@pytest.mark.parametrize("what", ["sync", "write"])
def test_c15_c16_after_a_failed_write_or_sync_the_process_stops_and_acknowledges_nothing(
    world: World, disk: Disk, tmp_path: Path, what: str
) -> None:
    log = world.open()
    register(log)
    first = log.append(account(0))
    fail_once(disk, what, "log.db-wal")
    with pytest.raises(LogUnavailableError):
        log.append(account(1, "r"))
    assert [type(error) for error in world.stops] == [StoreBrokenError]
    assert "store" in log.alarms()
    assert log.acknowledged == first.index
    for _ in range(3):
        with pytest.raises(LogUnavailableError):
            log.append(account(2))
    with world.copied(tmp_path / "next").opened() as again:
        check_whole(again, {first.index: account(0)})
        logged = again.append(account(1, "r"))
        assert logged.index == FIRST_DECISION + 1
        assert check_whole(again, {first.index: account(0), logged.index: account(1)}) == FIRST_DECISION + 2


class Deaf(World):
    """A world that cannot even say what is wrong."""

    def _hear(self, alarm: str) -> None:
        super()._hear(alarm)
        raise BrokenPipeError


def test_c15_whoever_hears_the_alarm_may_fail_and_the_process_stops_all_the_same(tmp_path: Path) -> None:
    disk, world = Disk(), Deaf(tmp_path)
    files, world.vfs = RecordedFiles("faulty", disk), "faulty"
    with world.opened() as log:
        register(log)
        fail_once(disk, "sync", "log.db-wal")
        for _ in range(2):
            with pytest.raises(LogUnavailableError, match="not to be trusted"):
                log.append(account(1))
        assert world.alarms == ["store"]
        assert [type(error) for error in world.stops] == [StoreBrokenError]
    files.unregister()


@pytest.mark.parametrize("what", ["sync", "write"])
def test_c15_c16_a_key_store_that_fails_once_is_not_used_again_and_an_alarm_says_so(
    world: World, disk: Disk, what: str
) -> None:
    log = world.open()
    register(log)
    log.append(account(0))
    fail_once(disk, what, "keys.db-wal")
    with pytest.raises(LogUnavailableError):
        log.append(account(1))
    with pytest.raises(LogUnavailableError):
        log.append(account(0))
    assert "keys" in log.alarms()
    assert [type(error) for error in world.stops] == [StoreBrokenError]
    with log.reading() as snapshot:
        assert snapshot.head().size == FIRST_DECISION + 1


@pytest.mark.parametrize("at", range(6))
def test_c17_a_full_disk_refuses_and_serves_again_once_there_is_room(world: World, disk: Disk, at: int) -> None:
    log = world.open()
    register(log)
    log.append(account(0))
    fail_once(disk, "write", "log.db-wal", at, apsw.FullError)
    with pytest.raises(LogUnavailableError):
        log.append(account(1, "r"))
    assert log.alarms() == ("store",)
    assert not world.stops
    logged = log.append(account(1, "r"))
    assert (logged.index, logged.response) == (FIRST_DECISION + 1, None)
    assert log.alarms() == ()
    assert check_whole(log, {logged.index: account(1)}) == FIRST_DECISION + 2


def test_c17_the_alarm_goes_once_there_is_room_though_nobody_asks(
    world: World, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RECOVERY_SECONDS", 0.0)
    log = world.open()
    register(log)
    log.append(account(0))
    disk.fault = lambda what, name: apsw.FullError("full") if (what, name) == ("write", "log.db-wal") else None
    with pytest.raises(LogUnavailableError):
        log.append(account(1, "r"))
    time.sleep(3 * writer.IDLE_SECONDS)
    assert log.alarms() == ("store",)

    disk.fault = lambda _what, _name: None
    end = time.monotonic() + 30
    while log.alarms() and time.monotonic() < end:
        time.sleep(0.05)

    assert log.alarms() == ()
    assert log.append(account(1, "r")).index == FIRST_DECISION + 1
    check_whole(log)


def test_c17_a_full_disk_under_the_keys_refuses_and_serves_again_once_there_is_room(world: World, disk: Disk) -> None:
    log = world.open()
    register(log)
    log.append(account(0))
    fail_once(disk, "write", "keys.db-wal", 0, apsw.FullError)
    with pytest.raises(LogUnavailableError):
        log.append(account(1))
    assert world.alarms == ["keys"]
    assert log.append(account(1)).index == FIRST_DECISION + 1
    assert log.alarms() == ()
    check_whole(log)


def test_c18_without_memory_an_entry_is_refused_whole(world: World) -> None:
    log = world.open()
    register(log)
    try:
        apsw.hard_heap_limit(1)
        with pytest.raises(LogUnavailableError):
            log.append(account(1, "r"))
    finally:
        apsw.hard_heap_limit(0)
    logged = log.append(account(1, "r"))
    assert (logged.index, logged.response) == (FIRST_DECISION, None)
    assert check_whole(log, {logged.index: account(1)}) == FIRST_DECISION + 1


@pytest.mark.parametrize("limit", ["file size", "open files"])
def test_c18_a_limit_of_the_process_refuses_and_leaves_nothing_half_done(world: World, limit: str) -> None:
    with world.opened() as log:
        register(log)
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance.limited_child", str(world.folder), limit],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout)
    assert said["refused"]
    assert said["acked"]
    with World(world.folder, seed=3).opened() as log:
        acked = {index: account(number) for index, number in said["acked"]}
        size = check_whole(log, acked)
        assert max(acked) < size <= max(acked) + 2


def test_c20_a_lost_write_ahead_log_is_seen(world: World, tmp_path: Path) -> None:
    with world.opened() as log:
        register(log)
    log = world.open()
    log.append(account(1))
    copy_files(world.folder, tmp_path / "whole")
    copy_files(world.folder, tmp_path / "cut")
    (tmp_path / "cut" / "log.db-wal").unlink()
    with World(tmp_path / "whole", seed=2).opened() as whole:
        check_whole(whole, {FIRST_DECISION: account(1)})
    with pytest.raises(IntegrityError, match="rolled back or lost data"):
        World(tmp_path / "cut", seed=2).open()


def test_c20_a_log_that_lay_in_its_write_ahead_log_alone_is_missed(world: World, tmp_path: Path) -> None:
    log = world.open()
    register(log)
    copy_files(world.folder, tmp_path / "cut")
    (tmp_path / "cut" / "log.db-wal").unlink()
    with pytest.raises(IntegrityError, match="is empty, but its signer has signed"):
        World(tmp_path / "cut", seed=2).open()


def test_c20_lost_shared_memory_is_made_again(world: World, tmp_path: Path) -> None:
    log = world.open()
    register(log)
    logged = log.append(account(1))
    copy_files(world.folder, tmp_path / "copy")
    assert not (tmp_path / "copy" / "log.db-shm").exists()
    with World(tmp_path / "copy", seed=2).opened() as copy:
        check_whole(copy, {logged.index: account(1)})


def test_c21_a_second_server_is_refused(world: World) -> None:
    world.open()
    with pytest.raises(UnsafeStoreError, match="another process writes this log"):
        SqliteLog(world.path)
    with pytest.raises(LogUnavailableError, match="another process signs for this log"):
        World(world.folder, seed=2).open()
    world.close()
    with World(world.folder, seed=2).opened() as log:
        check_whole(log)


def test_c22_a_reader_that_holds_up_the_write_ahead_log_is_alarmed_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.ledger.sqlite.log.WAL_ALARM_BYTES", 400_000)
    monkeypatch.setattr("engine.ledger.sqlite.log.AUTOCHECKPOINT_PAGES", 20)
    log = world.open()
    register(log)
    for number in range(20):
        log.append(account(number))
    assert log.alarms() == ()
    with log.reading() as snapshot:
        size = snapshot.head().size
        for number in range(20):
            log.append(account(number))
        assert log.alarms() == ("wal",)
        assert snapshot.head().size == size
    log.store.scrub()
    assert log.alarms() == ()
    check_whole(log)


@pytest.mark.parametrize("version", ["3.51.2", "3.50.4", "3.7.17", "3.52.0"])
def test_c23_a_sqlite_that_can_damage_a_log_is_refused(version: str) -> None:
    with pytest.raises(UnsafeStoreError, match="can damage a log"):
        check_version(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.52.1", "3.54.0", ""])
def test_c23_others_are_taken(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("synchronous", 0),
        ("synchronous", 1),
        ("synchronous", 2),
        ("journal_mode", "delete"),
        ("foreign_keys", 0),
        ("trusted_schema", 1),
        ("cell_size_check", 0),
        ("busy_timeout", 0),
    ],
)
def test_c24_a_setting_that_loses_entries_is_refused(tmp_path: Path, name: str, value: int | str) -> None:
    connection = connect(tmp_path / "log.db", is_writer=True)
    try:
        connection.pragma(name, value)
        with pytest.raises(UnsafeStoreError, match=name):
            check_settings(connection)
    finally:
        connection.close()


class LooseStore(SqliteLog):
    """A store whose settings somebody changes."""

    def loosen(self) -> None:
        """Sync less, as a debugger or a later change might."""
        self._writer.pragma("synchronous", 1)


def test_c24_a_setting_that_is_changed_at_run_time_stops_the_process(world: World) -> None:
    world.make_store = LooseStore
    log = world.open()
    register(log)
    assert isinstance(log.store, LooseStore)
    log.store.loosen()
    with pytest.raises(LogUnavailableError, match="synchronous"):
        log.append(account(1))
    assert [type(error) for error in world.stops] == [UnsafeStoreError]
    with log.reading() as snapshot:
        assert snapshot.head().size == FIRST_DECISION


def older_copy(world: World, folder: Path) -> None:
    """Make a log that went on after its database was copied; the copy lies in `folder`, with the signer's memory."""
    with world.opened() as log:
        register(log)
        log.append(account(0))
    copy_files(world.folder, folder)
    (folder / "older").write_bytes(world.state_path.read_bytes())
    with world.opened() as log:
        log.append(account(1))
        log.append(account(2))
    (folder / "signer").write_bytes(world.state_path.read_bytes())


def test_c26_c27_a_database_that_lacks_the_tail_is_refused_and_left_alone(world: World, tmp_path: Path) -> None:
    older_copy(world, tmp_path / "old")
    before = (tmp_path / "old" / "log.db").read_bytes()
    for _ in range(2):
        with pytest.raises(IntegrityError, match="rolled back or lost data"):
            World(tmp_path / "old", seed=2).open()
    assert (tmp_path / "old" / "log.db").read_bytes() == before


def test_c26_c27_a_database_that_went_on_from_an_older_copy_is_refused(world: World, tmp_path: Path) -> None:
    """With the signer's older memory beside it, it can go on; the newer memory then sees the fork."""
    older_copy(world, tmp_path / "old")
    newer = (tmp_path / "old" / "signer").read_bytes()
    fork = World(tmp_path / "old", seed=2)
    fork.state_path.write_bytes((tmp_path / "old" / "older").read_bytes())
    with fork.opened() as log:
        for number in range(5):
            log.append(account(10 + number))
    fork.state_path.write_bytes(newer)
    with pytest.raises(IntegrityError, match="not the one that was signed"):
        fork.open()


class BreakingSigner(HeldSigner):
    """A signer that is down, or says something else than a note."""

    answer: Exception | None = None

    def latest(self) -> SignReply | None:
        """Give the last note."""
        if isinstance(self.answer, LogUnavailableError):
            raise self.answer
        return super().latest()

    def sign(self, old_size: int, proof: list[bytes], size: int, root: bytes) -> SignReply:
        """Sign."""
        if self.answer is not None:
            raise self.answer
        return super().sign(old_size, proof, size, root)


def broken_signer(world: World) -> BreakingSigner:
    """Put a signer that can break into a world that is not open yet."""
    made: list[BreakingSigner] = []

    def around(signer: CheckpointSigner) -> CheckpointSigner:
        made.append(BreakingSigner(signer))
        return made[-1]

    world.around_signer = around
    register(world.open())
    return made[-1]


def test_c31_without_a_signer_nothing_is_answered_and_no_batch_begins(world: World) -> None:
    signer = broken_signer(world)
    log = world.log
    assert log is not None
    signer.answer = LogUnavailableError("down")
    with pytest.raises(LogUnavailableError, match="down"):
        log.append(account(1, "r"))
    for number in range(3):
        with pytest.raises(LogUnavailableError, match="down"):
            log.append(account(number + 2))
    assert log.alarms() == ("signer",)
    with log.reading() as snapshot:
        assert snapshot.head().size == FIRST_DECISION + 1
    signer.answer = None
    again = log.append(account(1, "r"))
    assert (again.index, again.response) == (FIRST_DECISION, b"response 1")
    check_receipt(again)
    assert log.alarms() == ()
    assert check_whole(log) == FIRST_DECISION + 1


class TellingStore(SqliteLog):
    """A store that tells when a checkpoint is kept."""

    is_kept = threading.Event()

    def add_checkpoints(self, notes: Sequence[tuple[int, bytes]]) -> None:
        """Keep checkpoints."""
        super().add_checkpoints(notes)
        self.is_kept.set()


def test_c31_durable_goes_on_without_a_signer_up_to_its_limit(world: World) -> None:
    world.ack, world.limits, world.make_store = "durable", Limits(unsigned=60.0), TellingStore
    signer = broken_signer(world)
    log = world.log
    assert log is not None
    signer.answer = LogUnavailableError("down")
    for number in range(3):
        world.time.go(25)
        assert log.append(account(number)).receipt == b""
    assert log.alarms() == ("signer",)
    world.time.go(25)
    with pytest.raises(LogUnavailableError, match="down"):
        log.append(account(4))
    TellingStore.is_kept.clear()
    signer.answer = None
    assert TellingStore.is_kept.wait(WAIT_SECONDS), "the note does not follow"
    assert log.alarms() == ()
    for number in range(3):
        index = FIRST_DECISION + number
        check_receipt(replace(log.append(account(5)), index=index, receipt=log.receipt(index)))
    check_whole(log)


@pytest.mark.parametrize("ack", ["signed", "durable"])
def test_c31_a_signer_that_comes_back_with_another_tree_stops_the_process(world: World, ack: str) -> None:
    world.ack = "durable" if ack == "durable" else "signed"
    signer = broken_signer(world)
    log = world.log
    assert log is not None
    signer.answer = LogUnavailableError("down")
    if ack == "durable":
        log.append(account(1))
    else:
        with pytest.raises(LogUnavailableError):
            log.append(account(1))
    signer.answer = IntegrityError("another root hash was signed for this tree size")
    for _ in range(2):
        with pytest.raises((IntegrityError, LogUnavailableError)):
            log.append(account(2))
    assert [type(error) for error in world.stops] == [IntegrityError]
    assert "integrity" in log.alarms()


def test_c31_without_a_signer_a_log_does_not_open(world: World) -> None:
    with world.opened() as log:
        register(log)

    def around(signer: CheckpointSigner) -> CheckpointSigner:
        broken = BreakingSigner(signer)
        broken.answer = LogUnavailableError("down")
        return broken

    world.around_signer = around
    with pytest.raises(LogUnavailableError, match="down"):
        world.open()


def test_a_store_that_is_broken_holds_nothing_of_those_who_ask_it(world: World) -> None:
    """An error that is raised again and again would keep the frames of every caller, and what is in them."""
    log = world.open()
    with pytest.raises(StoreBrokenError), log.reading():
        raise apsw.IOError("once")
    lengths = []
    for _ in range(3):
        with pytest.raises(StoreBrokenError) as refused, log.reading():
            pass
        lengths.append(len(refused.traceback))
    assert len(set(lengths)) == 1


def _is_open(log: DecisionLog) -> bool:
    with log.reading() as snapshot:
        return bool(snapshot.head().size)


def test_c16_a_reader_that_finds_the_disk_broken_stops_the_writer_too(world: World) -> None:
    log = world.open()
    register(log)
    assert _is_open(log)
    with pytest.raises(StoreBrokenError), log.reading():
        raise apsw.IOError("once")
    with pytest.raises(LogUnavailableError):
        log.append(account(1))
    assert [type(error) for error in world.stops] == [StoreBrokenError]
