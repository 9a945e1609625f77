"""What wraps data keys: a file of keys here; a KMS or an HSM has the same three methods.

INVARIANT: a wrapping key lies neither in the store of what it wraps nor in that store's backups.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias

from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from engine.errors import IntegrityError, LogUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ID_LENGTH = 16
KEY_LENGTH = 32


class WrappingKeys(Protocol):
    """The wrapping keys, wherever they lie. May be called from any thread.

    What is down raises `LogUnavailableError` or an `OSError`.
    """

    @property
    def provider(self) -> str:
        """Say what keeps the keys."""

    @property
    def active_id(self) -> bytes:
        """Give the 16-byte id of the key that wraps from now on."""

    def wrap(self, key: bytes) -> tuple[bytes, bytes]:
        """Wrap a key; give the id of the wrapping key, and the wrapped key."""

    def unwrap(self, wrapping_key_id: bytes, wrapped: bytes) -> bytes:
        """Unwrap a key. Raises: IntegrityError if it was not wrapped by that wrapping key."""


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Turn the operating system's faults into a log that is unavailable, so that nothing is decided."""
    try:
        yield
    except OSError as fault:
        raise LogUnavailableError(f"{what} cannot be used: {fault.strerror or type(fault).__name__}") from fault


class FileWrappingKeys:
    """Wrapping keys in a file that only its owner may read, for development and single machines.

    After a first line comes a key a line, id and key in hex; the last one is active. The file is looked at before each
    wrapping, so that a rotation reaches every process.
    """

    provider = "file"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._what = f"wrapping key file `{path.name}`"
        self._loaded = self._load()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read an existing file.

        Raises:
            LogUnavailableError: it is not there, or others than its owner may use it.
            IntegrityError: it is no file of wrapping keys.

        """
        return cls(path)

    @classmethod
    def create(cls, path: Path, random: Callable[[int], bytes]) -> Self:
        """Make a file with one key. Raises: LogUnavailableError, also where there is a file."""
        with reaching(f"wrapping key file `{path}`"), _locked(path.parent) as folder:
            temporary = _write_beside(path, {random(ID_LENGTH): random(KEY_LENGTH)})
            try:
                path.hardlink_to(temporary)  # unlike a rename it never replaces, and so never loses, a file
            finally:
                temporary.unlink()
            os.fsync(folder)
        return cls(path)

    def rotate(self, random: Callable[[int], bytes]) -> bytes:
        """Add a key and make it the active one; give its id. The others go on unwrapping."""
        added = random(ID_LENGTH)
        with reaching(self._what), _locked(self._path.parent) as folder:
            self._replace({**self._load().keys, added: random(KEY_LENGTH)}, folder)
        return added

    def forget(self, wrapping_key_id: bytes) -> None:
        """Drop a key after everything was rewrapped. What it had wrapped, in backups too, is lost for good.

        Raises:
            LogUnavailableError: it is the active one, or the file cannot be written.

        """
        with reaching(self._what), _locked(self._path.parent) as folder:
            loaded = self._load()
            if wrapping_key_id == loaded.active_id:
                raise LogUnavailableError("the active wrapping key cannot be dropped: rotate and rewrap first")
            self._replace({name: key for name, key in loaded.keys.items() if name != wrapping_key_id}, folder)

    @property
    def active_id(self) -> bytes:
        """Give the id of the key that wraps from now on."""
        return self._current().active_id

    def wrap(self, key: bytes) -> tuple[bytes, bytes]:
        """Wrap a key with AES-KWP. Source: RFC 5649."""
        loaded = self._current()
        return loaded.active_id, aes_key_wrap_with_padding(loaded.keys[loaded.active_id], key)

    def unwrap(self, wrapping_key_id: bytes, wrapped: bytes) -> bytes:
        """Unwrap a key.

        Raises:
            LogUnavailableError: the file does not have the wrapping key.
            IntegrityError: it was not wrapped by this one.

        """
        wrapping_key = self._loaded.keys.get(wrapping_key_id) or self._current().keys.get(wrapping_key_id)
        if wrapping_key is None:
            raise LogUnavailableError(f"{self._what} lacks the key `{wrapping_key_id.hex()}`: restore it")
        try:
            return aes_key_unwrap_with_padding(wrapping_key, wrapped)
        except InvalidUnwrap as fault:
            raise IntegrityError(f"a wrapped key is not one of `{wrapping_key_id.hex()}`", "key store") from fault

    def _current(self) -> _Loaded:
        with reaching(self._what):
            if _stamp(self._path.stat()) != self._loaded.stamp:
                self._loaded = self._load()
        return self._loaded

    def _load(self) -> _Loaded:
        with reaching(self._what), self._path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_mode & _OTHERS:
                raise LogUnavailableError(f"{self._what} is open to others than its owner: chmod it to 600")
            data = file.read()
        keys = _parse(data)
        if not keys:
            raise IntegrityError("this is no file of wrapping keys", str(self._path))
        return _Loaded(keys, next(reversed(keys)), _stamp(status))

    def _replace(self, keys: dict[bytes, bytes], folder: int) -> None:
        _write_beside(self._path, keys).replace(self._path)
        os.fsync(folder)
        self._loaded = self._load()


_Stamp: TypeAlias = tuple[int, int, int, int]
_FIRST_LINE = "CDS-WRAPPING-KEYS-1"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True, repr=False)
class _Loaded:
    """A file as it was read. INVARIANT: replaced whole and never changed, so that threads need no lock."""

    keys: dict[bytes, bytes]
    active_id: bytes
    stamp: _Stamp


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _text(keys: dict[bytes, bytes]) -> str:
    return "\n".join((_FIRST_LINE, *(f"{name.hex()} {key.hex()}" for name, key in keys.items()), ""))


def _parse(data: bytes) -> dict[bytes, bytes]:
    """Read what `_text` wrote; nothing for anything else."""
    try:
        keys = {bytes.fromhex(line[:32]): bytes.fromhex(line[33:]) for line in data.decode().split("\n")[1:-1]}
    except ValueError:
        return {}
    is_sound = all((len(name), len(key)) == (ID_LENGTH, KEY_LENGTH) for name, key in keys.items())
    return keys if is_sound and _text(keys).encode() == data else {}


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold a folder against others who change the file; give its descriptor."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _write_beside(path: Path, keys: dict[bytes, bytes]) -> Path:
    """Write and sync a file that is to take the place of another. It has one name, so what a crash left goes away."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(_text(keys))
        file.flush()
        os.fsync(descriptor)
    return temporary
