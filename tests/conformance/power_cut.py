"""A file system that can lose power: it records what is written and synced, and makes the states a cut may leave.

Model: what was synced stays. Of the writes since then each may be there or not, whatever their order, and the last may
be torn between sectors. Truncating is such a write too. A name is durable once its file was synced; a deleted file is
gone at once if its folder is synced with it, and else either is or is not. Each file has a luck of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import apsw

from engine.ledger.signer import RECORD_SIZE, StateFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

SECTOR = 512
RANDOM_STATES = 4


class Change(NamedTuple):
    """A write, or with `data` None a truncation to `offset`."""

    offset: int
    data: bytes | None

    def applied(self, content: bytes) -> bytes:
        """Give a file's content after it."""
        if self.data is None:
            return content[: self.offset].ljust(self.offset, b"\0")
        head = content[: self.offset].ljust(self.offset, b"\0")
        return head + self.data + content[self.offset + len(self.data) :]

    def torn(self, random: Random) -> Change:
        """Give it cut short between two sectors."""
        if self.data is None:
            return self
        first = -self.offset % SECTOR
        cuts = range(first, len(self.data) + 1, SECTOR) if first <= len(self.data) else range(1)
        return Change(self.offset, self.data[: random.choice(cuts)])


@dataclass
class FileState:
    """What is certain of a file, and what happened since. `before` is a file of this name that may come back."""

    durable: bytes = b""
    pending: list[Change] = field(default_factory=list)
    is_deleted: bool = False
    before: FileState | None = None

    def all(self) -> bytes | None:
        """Give the content when nothing is lost."""
        return None if self.is_deleted else _apply(self.durable, self.pending)

    def none(self) -> bytes | None:
        """Give the content when all is lost that may be."""
        if self.before is not None:
            return self.before.none()
        return None if self.is_deleted else self.durable

    def some(self, random: Random) -> bytes | None:
        """Give the content when some is lost."""
        if self.before is not None and random.random() < 0.5:
            return self.before.some(random)
        if self.is_deleted:
            return None
        chosen = [change for change in self.pending if random.random() < 0.5]
        if chosen:
            chosen[-1] = chosen[-1].torn(random)
        return _apply(self.durable, chosen)


class CrashState(NamedTuple):
    """What is left after a cut: files by name, and what the log had promised by then."""

    files: dict[str, bytes]
    promises: tuple[object, ...]
    step: int


class Disk:
    """Records what happens to files. `mark` records a promise: from then on a cut must not break it."""

    def __init__(self) -> None:
        self.steps: list[Callable[[dict[str, FileState], list[object]], None]] = []
        self.fault: Callable[[str, str], Exception | None] = lambda _what, _name: None
        """Asked before each `write` and `sync` of a file: the exception with which it is to fail, if it is."""

    def mark(self, promise: object) -> None:
        """Record that something was promised, such as an acknowledged entry."""
        self.steps.append(lambda _files, promises: promises.append(promise))

    def write(self, name: str, offset: int, data: bytes | None) -> None:
        """Record a write, or a truncation to `offset` where there is no data."""
        self.steps.append(lambda files, _: _open(files, name).pending.append(Change(offset, data)))

    def sync(self, name: str) -> None:
        """Record that all that was written to a file is durable, and its name too."""
        self.steps.append(lambda files, _: _sync(_open(files, name)))

    def lose(self, name: str) -> None:
        """Record that a sync failed: what was written can be read until the power is cut, and is not there after."""
        self.steps.append(lambda files, _: _open(files, name).pending.clear())

    def delete(self, name: str, *, is_durable: bool) -> None:
        """Record that a file was deleted, with its folder synced or not."""

        def apply(files: dict[str, FileState], _: list[object]) -> None:
            old = _open(files, name)
            files[name] = FileState(is_deleted=True, before=None if is_durable else old)

        self.steps.append(apply)

    def states(self, random: Random) -> Iterator[CrashState]:
        """Make the states that a cut may leave, after each step: nothing, everything, or something of what is open.

        The same state with the same promises is given once.
        """
        files: dict[str, FileState] = {}
        promises: list[object] = []
        seen: set[tuple[object, ...]] = set()
        for number, step in enumerate(self.steps):
            step(files, promises)
            for choice in range(2 + RANDOM_STATES):
                contents: dict[str, bytes] = {}
                for name, file in files.items():
                    content = (file.none(), file.all())[choice] if choice < 2 else file.some(random)
                    if content is not None:
                        contents[name] = content
                key = (len(promises), *(hash((name, content)) for name, content in contents.items()))
                if key not in seen:
                    seen.add(key)
                    yield CrashState(contents, tuple(promises), number)


def _open(files: dict[str, FileState], name: str) -> FileState:
    state = files.setdefault(name, FileState())
    if state.is_deleted:
        state = files[name] = FileState(before=state.before)
    return state


def _sync(state: FileState) -> None:
    state.durable, state.pending, state.before = _apply(state.durable, state.pending), [], None


def _apply(content: bytes, changes: list[Change]) -> bytes:
    for change in changes:
        content = change.applied(content)
    return content


class RecordedFiles(apsw.VFS):
    """SQLite's own file system, recorded on a disk. Files are known by their last name, in whatever folder they lie."""

    def __init__(self, name: str, disk: Disk) -> None:
        super().__init__(name, "")
        self.disk = disk

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        """Open a file."""
        return RecordedFile(name, flags, self.disk)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802, FBT001 - SQLite's name and parameters
        """Delete a file."""
        super().xDelete(filename, syncdir)
        self.disk.delete(Path(filename).name, is_durable=syncdir)


class RecordedFile(apsw.VFSFile):
    """An open file, recorded. Temporary files have no name, and nobody looks for them after a cut."""

    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], disk: Disk) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = Path(path).name if path else ""

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        """Write."""
        self._fail_on_order("write")
        super().xWrite(data, offset)
        if self._name:
            self._disk.write(self._name, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        """Cut the file."""
        super().xTruncate(newsize)
        if self._name:
            self._disk.write(self._name, newsize, None)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        """Sync. The real disk is left alone: nobody cuts its power here."""
        del flags
        try:
            self._fail_on_order("sync")
        except apsw.Error:
            self._disk.lose(self._name)
            raise
        if self._name:
            self._disk.sync(self._name)

    def _fail_on_order(self, what: str) -> None:
        fault = self._disk.fault(what, self._name)
        if fault is not None:
            raise fault


def recorded_state(disk: Disk) -> Callable[[Path, bytes], StateFile]:
    """Give a signer's state file that is recorded on a disk."""

    class RecordedState(StateFile):
        """The state file; its records are written one by one, and each is synced."""

        def __init__(self, path: Path, log_id: bytes) -> None:
            super().__init__(path, log_id)
            self._path = path

        def append(self, size: int, root: bytes) -> None:
            end = os.stat(self._path).st_size // RECORD_SIZE * RECORD_SIZE  # noqa: PTH116 - of an open file
            super().append(size, root)
            disk.write("signer", end, self._path.read_bytes()[end:])
            disk.sync("signer")

    return RecordedState
