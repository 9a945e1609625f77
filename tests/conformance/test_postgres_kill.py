"""PostgreSQL is killed under two servers that share it and a signer: C25, C41, and G1 to G4 over the whole log.

ROUNDS=n in the environment kills it n times instead of three.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from engine.errors import IntegrityError, LedgerError
from engine.ledger.postgres.log import PostgresLog
from tests.conformance.history import History, entries_by_request
from tests.conformance.ledger_world import HeldSigner, World, account, check_receipt, check_whole, register

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engine.ledger.postgres.appending import PostgresAppending
    from engine.ledger.store import Batch
    from engine.ledger.writer import CheckpointSigner
    from tests.conformance.places import PostgresPlace

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SERVERS, CALLERS = 2, 4
ANSWERS_A_ROUND = 30
WAIT_SECONDS = 60

pytestmark = pytest.mark.timeout(120 + 30 * ROUNDS)


class SharedSigner(HeldSigner):
    """A signer that several servers use, and none of them closes."""

    def close(self) -> None:
        """Leave it to the others."""


class Callers:
    """Threads that append, each account again until it is acknowledged."""

    def __init__(self, worlds: list[World]) -> None:
        self.history = History()
        self.signed: dict[int, bytes] = {}
        self.enough = threading.Event()
        self.is_up = threading.Event()
        self.is_up.set()
        self.is_over = False
        self._pool = ThreadPoolExecutor(CALLERS)
        self._running = [self._pool.submit(self._work, worlds[n % len(worlds)], n) for n in range(CALLERS)]

    def stop(self) -> None:
        """End once everything is acknowledged."""
        self.enough.set()
        for one in self._running:
            one.result(WAIT_SECONDS)

    def abandon(self) -> None:
        """End now."""
        self.is_over = True
        self.enough.set()
        self.is_up.set()
        self._pool.shutdown()

    def _work(self, world: World, caller: int) -> None:
        number = 0
        while not self.enough.is_set():
            call = self.history.begin(f"caller-{caller}-{number}")
            while call.index is None and not self.is_over:
                assert self.is_up.wait(WAIT_SECONDS)
                assert world.log is not None
                try:
                    logged = world.log.append(account(number, call.request_id))
                except LedgerError:
                    call.unknown += 1
                else:
                    size, root = check_receipt(logged)
                    assert self.signed.setdefault(size, root) == root
                    self.history.answered(call, logged.index)
            number += 1


def world_on(postgres: PostgresPlace, folder: Path, make_store: type[PostgresLog], seed: int) -> World:
    """Give a world whose log is in PostgreSQL; keys and signer lie in the folder."""
    world = World(folder, seed=seed)
    server, database = postgres.server, postgres.database

    def make(_path: Path, **_options: Any) -> PostgresLog:  # noqa: ANN401 - those of another store
        owner, eraser = server.url(database), server.url(database, "log_eraser")
        return make_store(server.url(database, "log_writer"), owner_url=owner, eraser_url=eraser)

    world.make_store = make
    return world


@contextmanager
def servers(postgres: PostgresPlace, folder: Path, count: int, make_store: type[PostgresLog]) -> Iterator[list[World]]:
    """Give open worlds that share one log, its keys and its signer."""
    worlds = [world_on(postgres, folder, make_store, seed) for seed in range(1, count + 1)]
    shared: list[CheckpointSigner] = []

    def sharing(signer: CheckpointSigner) -> CheckpointSigner:
        shared.append(signer)
        return SharedSigner(signer)

    worlds[0].around_signer = sharing
    try:
        register(worlds[0].open())
        for world in worlds[1:]:
            world.make_signer = lambda: SharedSigner(shared[0])
            world.open()
        yield worlds
    finally:
        for world in worlds:
            world.close()
        for signer in shared:
            signer.close()


@contextmanager
def calling(worlds: list[World]) -> Iterator[Callers]:
    """Give callers that have begun."""
    callers = Callers(worlds)
    try:
        yield callers
    finally:
        callers.abandon()


def test_c25_what_was_acknowledged_before_postgres_was_killed_is_there_once_and_in_order(
    postgres: PostgresPlace, tmp_path: Path
) -> None:
    with servers(postgres, tmp_path, SERVERS, PostgresLog) as worlds:
        with calling(worlds) as callers:
            for _ in range(ROUNDS):
                callers.history.wait_for_more(ANSWERS_A_ROUND, WAIT_SECONDS)
                callers.is_up.clear()
                postgres.server.kill()
                postgres.server.start()
                callers.is_up.set()
            callers.history.wait_for_more(ANSWERS_A_ROUND, WAIT_SECONDS)
            callers.stop()
        assert not any(world.stops for world in worlds)
        log = worlds[0].log
        assert log is not None
        check_whole(log, signed=callers.signed)
        callers.history.check(entries_by_request(log))
        assert any(call.unknown for call in callers.history.calls), "nothing was in work when it was killed"
        assert all(call.index is not None for call in callers.history.calls)
    with world_on(postgres, tmp_path, PostgresLog, seed=9).opened() as log:
        check_whole(log, signed=callers.signed)


class HastyLog(PostgresLog):
    """A mutant: commits before the disk has it, behind the back of what guards against that."""

    @contextmanager
    def appending(self) -> Iterator[PostgresAppending]:
        """Hold the head."""
        with super().appending() as appending:
            write = appending.write

            def write_hastily(batch: Batch) -> None:
                write(batch)
                appending._transaction.run("SET LOCAL synchronous_commit = off")  # noqa: SLF001 - the mutation

            appending.write = write_hastily  # type: ignore[method-assign]
            yield appending


def test_c25_without_synchronous_commits_acknowledged_entries_are_lost_and_missed(
    postgres: PostgresPlace, tmp_path: Path
) -> None:
    """Else the test above would have no teeth. What is lost is seen at the next start."""
    server = postgres.server
    server.set("wal_writer_delay", "10000")
    try:
        with servers(postgres, tmp_path, 1, HastyLog) as worlds, calling(worlds) as callers:
            callers.history.wait_for_more(ANSWERS_A_ROUND, WAIT_SECONDS)
            callers.is_up.clear()
            server.kill()
            callers.is_over = True
            server.start()
            store = postgres.open()
            with store.reading() as snapshot:
                size = snapshot.head().size
            lost = [call for call in callers.history.calls if call.index is not None and call.index >= size]
            assert lost
    finally:
        server.set("wal_writer_delay", None)
    with pytest.raises(IntegrityError, match=r"rolled back or lost data|is empty|not the one that was signed"):
        world_on(postgres, tmp_path, PostgresLog, seed=9).open()
