"""A log's signing key in a file: one line, `PRIVATE+KEY+name+key id+base64(kind, seed)`, readable by its owner only."""

from __future__ import annotations

import os
import stat
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from engine.errors import IntegrityError
from engine.ledger.checkpoint import LOG_KEY, SigningKey
from server.config import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

_TITLE = "PRIVATE+KEY"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_signing_key(path: Path, origin: str, seed: bytes) -> SigningKey:
    """Write the key of a new log; a file that is there stays. Raises: SettingsError."""
    try:
        key = SigningKey(origin, seed)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except (OSError, IntegrityError) as error:
        message = f"the signing key `{path}` cannot be made: {_words(error)}"
        raise SettingsError(message) from None
    encoded = b64encode(bytes([LOG_KEY]) + seed).decode()
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{_TITLE}+{origin}+{key.verifier.key_id.hex()}+{encoded}\n")
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return key


def read_signing_key(path: Path) -> SigningKey:
    """Read a key. Raises: SettingsError where it cannot be read, is none, or others than its owner may read it."""
    try:
        with path.open(encoding="utf-8") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS:
                message = f"the signing key `{path}` is open to others than its owner: chmod 600 it"
                raise SettingsError(message)
            text = file.read().strip()
        name, key_id, encoded = text.removeprefix(f"{_TITLE}+").split("+", 2)
        raw = b64decode(encoded, validate=True)
        key = SigningKey(name, raw[1:])
    except (OSError, ValueError, IntegrityError) as error:
        message = f"the signing key `{path}` cannot be used: {_words(error)}"
        raise SettingsError(message) from None
    if not text.startswith(_TITLE) or raw[:1] != bytes([LOG_KEY]) or key.verifier.key_id.hex() != key_id:
        message = f"the signing key `{path}` is damaged; restore it"
        raise SettingsError(message)
    return key


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return os.strerror(error.errno or 0).lower()
    return str(error) if isinstance(error, IntegrityError) else "it is no line of PRIVATE+KEY+name+id+key"
