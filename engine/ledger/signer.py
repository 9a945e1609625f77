"""The signer: what it signed last, kept so that it never signs a log that was cut, rolled back or forked.

INVARIANT: a tree is in the state file, and the file is synced, before its checkpoint is signed. The note itself is not
kept: Ed25519 is deterministic, so the last one can be made again.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING

from engine.errors import IntegrityError, LogUnavailableError
from engine.ledger.merkle import EMPTY_ROOT, HASH_SIZE, MAX_TREE_SIZE, verify_consistency

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from engine.ledger.checkpoint import SigningKey

RECORD_SIZE = 72
READ_SIZE = RECORD_SIZE * 2**14
FULL_DISK = {errno.ENOSPC, errno.EDQUOT}
LARGEST = RECORD_SIZE * 2**20
"""A larger file, 72 MiB, is replaced by one with its last record: only that counts."""
_NOT_WRITTEN, _NO_GROWTH = "is not what the signer wrote", "has a size that does not grow"
_TAKEN = "another process signs for this log, most likely its server: stop it, or let a command ask it with --server"


class StateFile:
    """What was signed of one log: records of u64 size, root hash, and the SHA-256 of log id, size and root hash.

    Only ever appended to, each record synced before the next. So only the last can be torn; it was never answered, and
    the next one is written over it. While this is open the file is locked.

    Raises:
        LogUnavailableError: it cannot be opened, or another process has it.
        IntegrityError: a bad record before the last, or a size that does not grow; `place` names the record.

    """

    def __init__(self, path: Path, log_id: bytes) -> None:
        self.log_id = log_id
        self._path = path
        self.latest: tuple[int, bytes] | None = None
        """The size and root hash of the last good record."""
        self._end = 0  # of the last good record
        self._is_failed = False
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LogUnavailableError("the signer's state file cannot be opened") from error
        try:
            _lock(self._descriptor, path)
            self._read()
            self._settle()
        except BlockingIOError as error:
            self.close()
            raise LogUnavailableError(_TAKEN) from error
        except OSError as error:
            self.close()
            raise LogUnavailableError("the signer's state file cannot be read and synced") from error
        except IntegrityError:
            self.close()
            raise

    def append(self, size: int, root: bytes) -> None:
        """Make a tree the latest, durably.

        Raises:
            LogUnavailableError: it was not written or not synced. After a full disk it may be tried again; after any
                other fault the file has to be opened anew, because what can be read then may not be on the disk.

        """
        if self._is_failed:
            raise LogUnavailableError("the signer's state file failed before; open it again")
        self._is_failed = True
        if self._end >= LARGEST and self.latest:
            self._shorten(_record(self.log_id, *self.latest))
        try:
            written = os.pwrite(self._descriptor, _record(self.log_id, size, root), self._end)
        except OSError as error:
            if error.errno in FULL_DISK:
                self._cut()
            raise LogUnavailableError("the signer's state file cannot be written") from error
        if written != RECORD_SIZE:  # how a full disk looks where the room ends within a record
            self._cut()
            raise LogUnavailableError("the signer's state file cannot be written in full")
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise LogUnavailableError("the signer's state file cannot be synced") from error
        self._is_failed = False
        self._end += RECORD_SIZE
        self.latest = size, root

    def close(self) -> None:
        """Unlock and close the file; nothing can be appended after."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
        self._is_failed = True

    def _read(self) -> None:
        """Take the last good record. A bad one is let pass only as the last thing in the file."""
        length = os.fstat(self._descriptor).st_size
        while self._end + RECORD_SIZE <= length:
            chunk = os.pread(self._descriptor, READ_SIZE, self._end)
            whole = len(chunk) // RECORD_SIZE * RECORD_SIZE
            if not whole:
                raise OSError(errno.EIO, "the file ends before its length")
            for start in range(0, whole, RECORD_SIZE):
                if not self._take(chunk[start : start + RECORD_SIZE]):
                    if self._end + RECORD_SIZE < length:
                        raise IntegrityError(_NOT_WRITTEN, self._place)
                    return

    def _take(self, record: bytes) -> bool:
        found = _read_record(self.log_id, record)
        if found is None:
            return False
        if self.latest and found[0] <= self.latest[0]:
            raise IntegrityError(_NO_GROWTH, self._place)
        self.latest = found
        self._end += RECORD_SIZE
        return True

    def _settle(self) -> None:
        """Make durable what was read: the process before may have died between its write and its sync.

        Writing the same bytes again matters: after a failed sync, Linux holds pages for clean that are not on the disk.
        """
        if self.latest:
            os.pwrite(self._descriptor, _record(self.log_id, *self.latest), self._end - RECORD_SIZE)
        os.fsync(self._descriptor)
        _sync_folder(self._path.parent)

    def _shorten(self, record: bytes) -> None:
        """Put a file with the last record in the place of a long one; the lock passes unbroken to it."""
        temporary = self._path.with_name(self._path.name + ".new")
        try:
            fresh = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fresh, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.pwrite(fresh, record, 0)
                os.fsync(fresh)
                temporary.replace(self._path)
                _sync_folder(self._path.parent)
            except OSError:
                os.close(fresh)
                raise
        except OSError as error:
            raise LogUnavailableError("the signer's state file cannot be shortened") from error
        os.close(self._descriptor)
        self._descriptor, self._end = fresh, len(record)

    def _cut(self) -> None:
        """Take back what was written of a record for which there was no room; then the next may be tried."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, self._end)
            self._is_failed = False

    @property
    def _place(self) -> str:
        return _place(self._end)


def remembered(path: Path, log_id: bytes) -> tuple[int, bytes] | None:
    """Give the size and root hash that a signer signed last, without its lock, so that it may be at work meanwhile.

    None where it remembers nothing. A torn last record is passed over, as `StateFile` does.

    Raises:
        OSError: the file cannot be read.
        IntegrityError: it is not what the signer of this log wrote; `place` names the record.

    """
    latest: tuple[int, bytes] | None = None
    end = 0
    with path.open("rb") as file:
        while len(record := file.read(RECORD_SIZE)) == RECORD_SIZE:
            found = _read_record(log_id, record)
            if found is None and file.read(1):
                raise IntegrityError(_NOT_WRITTEN, _place(end))
            if found is None:
                break
            if latest and found[0] <= latest[0]:
                raise IntegrityError(_NO_GROWTH, _place(end))
            latest = found
            end += RECORD_SIZE
    return latest


def _record(log_id: bytes, size: int, root: bytes) -> bytes:
    content = size.to_bytes(8, "big") + root
    return content + sha256(log_id + content).digest()


def _read_record(log_id: bytes, record: bytes) -> tuple[int, bytes] | None:
    """Give size and root hash of a record; None where it is none of this log."""
    size, root = int.from_bytes(record[:8], "big"), record[8 : 8 + HASH_SIZE]
    return (size, root) if record == _record(log_id, size, root) else None


def _place(position: int) -> str:
    return f"signer record {position // RECORD_SIZE}"


def _lock(descriptor: int, path: Path) -> None:
    """Lock a file that is still the one at its path. Raises: BlockingIOError."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if not os.path.samestat(os.fstat(descriptor), path.stat()):
        raise BlockingIOError(errno.EAGAIN, "the file was replaced while it was opened")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class SignReply:
    """The latest tree of the signer, its note, and the signer's clock (microseconds, UTC).

    The note is empty where nothing was signed, because the proof began at another size than this one.
    """

    tree_size: int
    root_hash: bytes
    note: bytes
    signed_at: int


class Signer:
    """Signs a tree only if it extends the last one that it signed. For several threads.

    Raises:
        IntegrityError: the state file is another log's.

    """

    def __init__(self, key: SigningKey, log_id: bytes, state: StateFile, clock: Callable[[], int]) -> None:
        if state.log_id != log_id:
            raise IntegrityError("the state file is another log's", "signer")
        self._key = key
        self._state = state
        self._clock = clock
        self._lock = Lock()

    def latest(self) -> SignReply | None:
        """Give the last note again; None before the first."""
        with self._lock:
            return self._reply(*self._state.latest) if self._state.latest else None

    def sign(self, old_size: int, proof: Sequence[bytes], size: int, root: bytes) -> SignReply:
        """Sign the tree of `size`, which `proof` shows to extend the tree of `old_size`, the last one signed.

        A tree that is not larger than the last gets the last note. A proof from another size gets the last size and
        root, and no note. Before the first tree the last size is 0, and the proof is empty.

        Raises:
            IntegrityError: two roots for one size, or a proof that fails. Nothing was persisted.
            LogUnavailableError: the state could not be made durable. Nothing was signed.

        """
        if not 0 <= size <= MAX_TREE_SIZE or len(root) != HASH_SIZE:
            raise IntegrityError("a tree has fewer than 2^63 entries and a root hash of 32 bytes", "signer")
        with self._lock:
            last_size, last_root = self._state.latest or (0, EMPTY_ROOT)
            if size < last_size or (size, root) == (last_size, last_root):
                return self._reply(last_size, last_root)
            if size == last_size:
                raise IntegrityError("another root hash was signed for this tree size", f"tree_size {size}")
            if old_size != last_size:
                return SignReply(last_size, last_root, b"", self._clock())
            if last_size:
                verify_consistency(last_size, size, proof, last_root, root)
            elif proof:
                raise IntegrityError("the first tree is signed without a proof", f"tree_size {size}")
            self._state.append(size, root)
            return self._reply(size, root)

    def close(self) -> None:
        """Let go of the state file; nothing is signed any more."""
        with self._lock:
            self._state.close()

    def _reply(self, size: int, root: bytes) -> SignReply:
        return SignReply(size, root, self._key.sign_checkpoint(size, root), self._clock())
