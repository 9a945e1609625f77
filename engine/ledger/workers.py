"""Replays of many entries, by processes of their own; results come in the order of the entries.

A worker opens the log itself and is given one entry at a time. One that takes too long is killed, its entry is told as
TIMEOUT, and another worker takes its place; so it is with one that dies.
"""

from __future__ import annotations

import multiprocessing
import signal
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from engine.errors import IntegrityError, LedgerError
from engine.ledger.replay import Outcome, Replayer, ReplayResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from engine.ledger.decisions import LogView
    from engine.ledger.replay import Wire

AHEAD = 8
"""How many entries for each worker may be done before the one that is told next; bounds what is held back."""

Progress: TypeAlias = "Callable[[int, int], None]"
"""Hears how many entries are done, of how many."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a replayer is made; it pickles, so that a worker can make its own.

    Attributes:
        open_view: opens the log and its keys.
        make_wire: gives the readers and writers.
        engine_digest: that of this build.

    """

    open_view: Callable[[], LogView]
    make_wire: Callable[[], Wire]
    engine_digest: bytes

    def make(self) -> Replayer:
        """Make a replayer."""
        return Replayer(self.open_view(), self.make_wire(), self.engine_digest)


def _silent(_done: int, _total: int) -> None:
    return None


def replay_range(
    recipe: Recipe,
    entries: range,
    monotonic: Callable[[], float],
    *,
    parallel: int = 1,
    timeout: float = 60.0,
    progress: Progress = _silent,
) -> Iterator[ReplayResult]:
    """Replay a range of entries and give the results in its order.

    Args:
        recipe: how each worker makes its replayer.
        entries: which entries, all of them in the log.
        monotonic: seconds that never step.
        parallel: how many worker processes; with 0 this process does it, and no entry is given up.
        timeout: seconds for an entry; the first one of a worker has its engines built within them too.
        progress: hears of every result that was taken.

    Raises:
        IntegrityError: an entry, or the log, is not what it was.
        LedgerError: the log or its keys cannot be read, or the workers do not start.

    """
    results = _with_workers(recipe, entries, monotonic, parallel, timeout) if parallel else _here(recipe, entries)
    for done, result in enumerate(results, 1):
        yield result
        progress(done, len(entries))


def _here(recipe: Recipe, entries: range) -> Iterator[ReplayResult]:
    with closing(recipe.make()) as replayer:
        yield from map(replayer.replay, entries)


def _with_workers(
    recipe: Recipe, entries: range, monotonic: Callable[[], float], parallel: int, timeout: float
) -> Iterator[ReplayResult]:
    with closing(_Crew(recipe, min(parallel, len(entries)), monotonic, timeout)) as crew:
        yield from crew.run(entries)


class _Crew:
    """The workers of one range."""

    def __init__(self, recipe: Recipe, size: int, monotonic: Callable[[], float], timeout: float) -> None:
        self._recipe = recipe
        self._monotonic = monotonic
        self._timeout = timeout
        self._workers = [_Worker(recipe) for _ in range(size)]

    def run(self, entries: range) -> Iterator[ReplayResult]:
        waiting = iter(entries)
        held: dict[int, ReplayResult] = {}
        begun = 0
        for told, index in enumerate(entries):
            while index not in held:
                for worker in self._workers:
                    if worker.is_free and begun < min(len(entries), told + AHEAD * len(self._workers)):
                        begun += 1
                        worker.give(next(waiting), self._monotonic())
                held.update((result.index, result) for result in self._collect())
            yield held.pop(index)

    def close(self) -> None:
        """End every worker, also one in the middle of an entry."""
        for worker in self._workers:
            worker.end()

    def _collect(self) -> Iterator[ReplayResult]:
        """Wait until a worker says something or takes too long."""
        due = [worker.since + self._timeout for worker in self._workers if worker.index is not None]
        left = max(0.0, min(due) - self._monotonic()) if due else None
        heard = wait([worker.connection for worker in self._workers], left)
        for place, worker in enumerate(self._workers):
            result = None
            if worker.connection in heard:
                result = worker.hear()
            elif worker.index is not None and self._monotonic() - worker.since >= self._timeout:
                detail = f"it was given up after {self._timeout:g} seconds"
                result = ReplayResult(worker.index, Outcome.TIMEOUT, detail=detail)
                worker.end()
            if worker.has_ended:
                self._workers[place] = _Worker(self._recipe)
            if result is not None:
                yield result


class _Failure(NamedTuple):
    """A worker cannot go on; as text, because not every exception pickles."""

    text: str
    is_integrity: bool


class _Worker:
    """A process with a log of its own, and the entry that it has had since `since`; None while it has none."""

    def __init__(self, recipe: Recipe) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_work, args=(theirs, recipe), daemon=True)
        self._process.start()
        theirs.close()
        self._is_open = False
        self.has_ended = False
        self.index: int | None = None
        self.since = 0.0

    @property
    def is_free(self) -> bool:
        """Whether it can be given an entry."""
        return self._is_open and self.index is None

    def give(self, index: int, now: float) -> None:
        """Give it an entry."""
        self.index, self.since = index, now
        with suppress(OSError):  # if it has died, the end of its pipe says so
            self.connection.send(index)

    def hear(self) -> ReplayResult | None:
        """Take what it says. Raises: LedgerError where it cannot go on."""
        try:
            said: ReplayResult | _Failure | None = self.connection.recv()
        except (EOFError, OSError):
            return self._died()
        if isinstance(said, _Failure):
            raise IntegrityError(said.text) if said.is_integrity else LedgerError(said.text)
        if said is None:
            self._is_open = True
        else:
            self.index = None
        return said

    def end(self) -> None:
        """Kill it."""
        if not self.has_ended:
            self.has_ended = True
            self._process.kill()
            self._process.join()
            self._process.close()
            self.connection.close()

    def _died(self) -> ReplayResult | None:
        self._process.join()
        code = self._process.exitcode
        self.end()
        if not self._is_open:
            message = f"a worker ended with exit code {code} while it opened the log"
            raise LedgerError(message)
        if self.index is None:
            return None
        detail = f"its worker ended with exit code {code}"
        return ReplayResult(self.index, Outcome.ENGINE_UNAVAILABLE, detail=detail)


def _work(connection: Connection, recipe: Recipe) -> None:
    """Replay what comes through the pipe. Whoever asked for the work also hears of an interrupt, and ends this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, BrokenPipeError):
        try:
            with closing(recipe.make()) as replayer:
                connection.send(None)
                while True:
                    connection.send(replayer.replay(connection.recv()))
        except LedgerError as error:
            connection.send(_Failure(str(error), isinstance(error, IntegrityError)))
