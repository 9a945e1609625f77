"""A process that appends to a log and kills itself at a named point: `python -m ... FOLDER POINT`.

It appends account 0 and says so; then it appends account 1, whose request is `the request`, and is killed on the way.
What a caller or a signer had by then is said before, a line each: a word and bytes in hex.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from engine.ledger import recovery
from engine.ledger.sqlite.log import SqliteLog
from tests.conformance.ledger_world import (
    WAIT_SECONDS,
    CountingWriter,
    HeldSigner,
    World,
    account,
    append_together,
    register,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from engine.ledger.signer import SignReply
    from engine.ledger.sqlite.appending import SqliteAppending
    from engine.ledger.writer import CheckpointSigner

REQUEST = "the request"
QUEUED = 4


class Death:
    """Where this process dies, once it is armed."""

    point = ""
    is_armed = False

    @classmethod
    def comes_at(cls, point: str) -> None:
        """Die here, if this is the point."""
        if cls.is_armed and point == cls.point:
            os.kill(os.getpid(), signal.SIGKILL)


def say(word: str, data: bytes = b"") -> None:
    """Say something that the test reads."""
    sys.stdout.write(f"{word} {data.hex()}\n")
    sys.stdout.flush()


class DyingConnection:
    """A connection; between the statements of a batch the process may die."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.total_changes = connection.total_changes

    def execute(self, query: str, values: Any = ()) -> object:  # noqa: ANN401 - as apsw takes them
        """Execute."""
        if query.startswith("INSERT INTO batch"):
            Death.comes_at("after tiles")
        cursor = self._connection.execute(query, values)
        if query.startswith("UPDATE head"):
            Death.comes_at("after head")
        return cursor

    def executemany(self, query: str, rows: Sequence[Any]) -> object:
        """Execute for each row."""
        if query.startswith("INSERT INTO tile"):
            Death.comes_at("after entries")
        return self._connection.executemany(query, rows)


class DyingStore(SqliteLog):
    """The store; the process may die between its steps."""

    @contextmanager
    def appending(self) -> Iterator[SqliteAppending]:
        """Hold the head."""
        Death.comes_at("before begin")
        with super().appending() as appending:
            Death.comes_at("after lock")
            write = appending.write

            def write_and_die(batch: Any) -> None:  # noqa: ANN401 - passed on
                appending._connection = DyingConnection(self._writer)  # type: ignore[assignment]  # noqa: SLF001 - its place
                write(batch)

            appending.write = write_and_die  # type: ignore[method-assign]
            yield appending
            Death.comes_at("before commit")
        Death.comes_at("after commit")

    def add_checkpoints(self, notes: Sequence[tuple[int, bytes]]) -> None:
        """Keep checkpoints."""
        super().add_checkpoints(notes)
        Death.comes_at("after checkpoint row")


class DyingFiles(apsw.VFS):
    """SQLite's files; the process may die while it commits."""

    def __init__(self) -> None:
        super().__init__("dying", "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        """Open a file."""
        return (LogFile if str(name).endswith("log.db-wal") else apsw.VFSFile)("", name, flags)


class LogFile(apsw.VFSFile):
    """The write-ahead log; the process may die before it is synced, or with half of what is to be written."""

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        """Write."""
        super().xWrite(data[: len(data) // 2], offset)
        Death.comes_at("half of a write")
        super().xWrite(data[len(data) // 2 :], offset + len(data) // 2)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Sync."""
        Death.comes_at("before sync")
        super().xSync(flags)


class DyingSigner(HeldSigner):
    """The signer; the process may die before it is asked and after it has answered."""

    def sign(self, old_size: int, proof: list[bytes], size: int, root: bytes) -> SignReply:
        """Sign."""
        Death.comes_at("before signing")
        reply = super().sign(old_size, proof, size, root)
        if Death.is_armed:
            say("note", reply.note)
        Death.comes_at("after signing")
        return reply


def dying(call: Callable[..., int | None], name: str) -> Callable[..., int | None]:
    """Make a system call one before and after which the process may die. Only the signer's state file uses it."""

    def call_and_die(*arguments: Any) -> int | None:  # noqa: ANN401 - passed on
        Death.comes_at(f"before {name}")
        result = call(*arguments)
        Death.comes_at(f"after {name}")
        return result

    return call_and_die


def main(folder: Path, point: str) -> None:
    """Append, and die."""
    Death.point = point
    os.pwrite = dying(os.pwrite, "the signer's write")  # type: ignore[assignment]
    os.fdatasync = dying(os.fdatasync, "the signer's sync")  # type: ignore[assignment]
    recovery.LogWriter = CountingWriter  # type: ignore[attr-defined]
    files = DyingFiles()
    world = World(folder)
    held: list[HeldSigner] = []

    def around(signer: CheckpointSigner) -> CheckpointSigner:
        held.append(DyingSigner(signer))
        return held[-1]

    world.make_store, world.vfs, world.around_signer = DyingStore, "dying", around
    log = world.open()
    del files
    register(log)
    say("acknowledged", log.append(account(0)).index.to_bytes(8, "big"))
    if point == "while batching":
        append_together(log, held[-1], [account(1, REQUEST)] + [account(2 + number) for number in range(QUEUED)])
        os.kill(os.getpid(), signal.SIGKILL)
    Death.is_armed = True
    say("receipt", log.append(account(1, REQUEST)).receipt)
    threading.Event().wait(WAIT_SECONDS)  # the checkpoint's row comes when the writer rests


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
