"""Opening the decision log that the settings name, and making keys on a first start, with a loud notice.

The embedded default keeps three files apart, since each is backed up and destroyed by its own rules: the log, the
patients' keys, and what the signer remembers.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from engine.errors import IntegrityError, LedgerError, LogUnavailableError
from engine.ledger.checkpoint import parse_vkey
from engine.ledger.clock import LEAP, UNSYNCHRONIZED, Clock
from engine.ledger.entry import log_id
from engine.ledger.keys import KeyStore
from engine.ledger.recovery import open_log
from engine.ledger.signer import Signer, StateFile
from engine.ledger.sqlite.keys import SqliteKeys
from engine.ledger.sqlite.log import SqliteLog
from engine.ledger.subjects import UnknownSubjectError
from engine.ledger.wrapping import FileWrappingKeys
from server.config import SettingsError
from server.convert.ledger import subject_of
from server.faults import Fault
from server.remote_signer import RemoteSigner
from server.signing_key import make_signing_key, read_signing_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.ledger.checkpoint import SigningKey
    from engine.ledger.keys import KeyRows
    from engine.ledger.log import DecisionLog
    from engine.ledger.store import LogStore
    from engine.ledger.writer import CheckpointSigner
    from server.config import LogSettings

SQLITE = "sqlite:"
POSTGRESQL = ("postgresql://", "postgres://")
_ONE_FILE = "restore it, or copy that of the log's other servers: all of them need the same one"
_SEALED = (
    "but what the log holds is sealed with keys that were there; restore it, or begin a new log that names the last "
    "checkpoint of this one (--replaces)"
)
_LEAP_STATES, _NOT_SYNCHRONIZED = (1, 2, 3, 4), 5

DEVELOPMENT_KEY = (
    "made the key `{}`, a plain file: good for development; where patients are concerned, see docs/ledger.md on keys"
)


def open_ledger(
    settings: LogSettings,
    *,
    on_alarm: Callable[[str], None] = lambda _: None,
    on_stop: Callable[[LedgerError], None] = lambda _: None,
    notice: Callable[[str], None] = lambda _: None,
) -> DecisionLog:
    """Open the decision log, making it on the first start.

    Args:
        settings: where log, keys and signer are.
        on_alarm: hears what begins to be wrong while the log is in work.
        on_stop: hears why nothing more can be written.
        notice: hears of keys that were made.

    Raises:
        SettingsError: a setting cannot be used.
        UnsafeStoreError, IntegrityError, LogUnavailableError: as `engine.ledger.recovery.open_log`.

    """
    clock = system_clock()
    signer, vkey, origin = _open_signer(settings, clock, notice)
    store = open_store(settings)
    rows: KeyRows | None = None
    try:
        _refuse_lost_keys(settings)
        rows = open_key_rows(settings)
        keys = KeyStore(rows, _open_wrapping(settings, rows, notice), os.urandom, clock.now)
        _prove(keys, settings)
        return open_log(
            store=store,
            keys=keys,
            signer=signer,
            vkey=vkey,
            origin=origin,
            clock=clock,
            random=os.urandom,
            ack=settings.ack,
            on_alarm=on_alarm,
            on_stop=on_stop,
            old_checkpoint=settings.replaces.read_bytes() if settings.replaces else b"",
            subject_of=name_patient,
        )
    except BaseException:
        store.close()
        if rows is not None:
            rows.close()
        signer.close()
        raise


def open_store(settings: LogSettings, *, is_writer: bool = True) -> LogStore:
    """Open the store of the log, to write it or only to read beside its server. Raises: SettingsError, LedgerError."""
    if settings.log.startswith(SQLITE):
        path = _sqlite_path(settings.log, "--log")
        if not is_writer and not path.exists():
            message = f"--log: there is no log at `{path}`"
            raise SettingsError(message)
        return SqliteLog(path, epoch=settings.epoch, is_writer=is_writer)
    if settings.log.startswith(POSTGRESQL):
        from engine.ledger.postgres.log import PostgresLog  # noqa: PLC0415 - loads libpq only where it is asked for

        return PostgresLog(
            settings.log,
            epoch=settings.epoch,
            owner_url=settings.log_owner or None,
            eraser_url=settings.log_eraser or None,
        )
    message = "--log: write sqlite:PATH or postgresql://USER@HOST/DATABASE"
    raise SettingsError(message)


def open_key_rows(settings: LogSettings) -> KeyRows:
    """Open the tables of the patients' keys. Raises: SettingsError, LedgerError."""
    if settings.keys.startswith(SQLITE):
        return SqliteKeys(_sqlite_path(settings.keys, "--keys"))
    if settings.keys.startswith(POSTGRESQL):
        if urlsplit(settings.keys).path == urlsplit(settings.log).path:
            message = "--keys: give another database than the log's; keys must not be in the log's backups"
            raise SettingsError(message)
        from engine.ledger.postgres.keys import PostgresKeys  # noqa: PLC0415 - as above

        return PostgresKeys(settings.keys)
    message = "--keys: write sqlite:PATH or postgresql://USER@HOST/DATABASE"
    raise SettingsError(message)


def name_patient(method: str, request: bytes) -> bytes | None:
    """Give the patient whom a logged request names; None for nobody. Raises: UnknownSubjectError."""
    try:
        return subject_of(method, request)
    except (Fault, KeyError):
        raise UnknownSubjectError("no patient can be read from the request") from None


def system_clock() -> Clock:
    """Give the clock of this machine."""
    return Clock(lambda: time.time_ns() // 1000, time.monotonic, clock_flags)


def clock_flags() -> int:
    """Tell what the kernel says of its clock. Source: ntp_adjtime(3)."""
    state = _adjtimex(ctypes.create_string_buffer(512))
    return (UNSYNCHRONIZED if state == _NOT_SYNCHRONIZED else 0) | (LEAP if state in _LEAP_STATES else 0)


_adjtimex = ctypes.CDLL(None).ntp_adjtime


def _open_signer(
    settings: LogSettings, clock: Clock, notice: Callable[[str], None]
) -> tuple[CheckpointSigner, str, str]:
    """Open the signer; give it, its verifier key and the origin of the log."""
    if is_remote(settings.signer):
        remote = RemoteSigner(settings.signer, settings.signer_ca, settings.signer_cert, settings.signer_key)
        vkey = remote.vkey()
        return remote, vkey, parse_vkey(vkey).name
    state = Path(settings.signer)
    key = _signing_key(settings, state, notice)
    origin, public_key = key.verifier.name, key.verifier.public_key
    if settings.origin and settings.origin != origin:
        message = f"--origin: the signing key is that of `{origin}`, not of `{settings.origin}`"
        raise SettingsError(message)
    this_log = log_id(origin, public_key)
    state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _warn_of_one_device(settings, state, notice)
    return Signer(key, this_log, StateFile(state, this_log), clock.now), key.vkey, origin


def _signing_key(settings: LogSettings, state: Path, notice: Callable[[str], None]) -> SigningKey:
    path = Path(settings.signing_key)
    if path.exists():
        return read_signing_key(path)
    if state.exists():
        message = f"--signing-key: there is no key at `{path}`, but the signer has signed before; restore the key"
        raise SettingsError(message)
    notice(DEVELOPMENT_KEY.format(path))
    return make_signing_key(path, settings.origin or f"local.invalid/decisions/{secrets.token_hex(8)}", os.urandom(32))


def _open_wrapping(settings: LogSettings, rows: KeyRows, notice: Callable[[str], None]) -> FileWrappingKeys:
    path = Path(settings.wrapping_key)
    if path.exists():
        return FileWrappingKeys.open(path)
    if rows.secret("pseudonym") is not None:
        message = f"--wrapping-key: there is no key at `{path}`, but patients' keys were wrapped before; {_ONE_FILE}"
        raise SettingsError(message)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    notice(DEVELOPMENT_KEY.format(path))
    return FileWrappingKeys.create(path, os.urandom)


def _refuse_lost_keys(settings: LogSettings) -> None:
    """Refuse to make a key store beside a log whose sealed parts need the one that is gone. Raises: SettingsError."""
    path = Path(settings.keys.removeprefix(SQLITE))
    if settings.keys.startswith(SQLITE) and not path.exists() and _has_sealed(settings):
        message = f"--keys: there is nothing at `{path}`, {_SEALED}"
        raise SettingsError(message)


def _has_sealed(settings: LogSettings) -> bool:
    """Say whether the log is there and has something sealed."""
    if settings.log.startswith(SQLITE) and not _sqlite_path(settings.log, "--log").exists():
        return False
    try:
        with closing(open_store(settings, is_writer=False)) as store, store.reading() as snapshot:
            return next(iter(snapshot.sealed_rows(0, 2**62)), None) is not None
    except LedgerError:
        return False  # it has no tables yet, or whoever opens it to write says what is wrong


def _prove(keys: KeyStore, settings: LogSettings) -> None:
    """Make the secrets of a new key store, or see that the wrapping key opens those it has. Raises: SettingsError."""
    if keys.is_fresh() and _has_sealed(settings):
        message = f"--keys: the key store is empty, {_SEALED}"
        raise SettingsError(message)
    try:
        keys.prove()
    except (LogUnavailableError, IntegrityError) as error:
        message = f"--wrapping-key: `{settings.wrapping_key}` does not open what --keys holds ({error}); {_ONE_FILE}"
        raise SettingsError(message) from error


def _sqlite_path(url: str, flag: str) -> Path:
    path = url.removeprefix(SQLITE)
    if not path:
        message = f"{flag}: write sqlite:PATH"
        raise SettingsError(message)
    Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(path)


def is_remote(signer: str) -> bool:
    """Say whether `--signer` names a process to ask, and not a file."""
    return signer.startswith("unix:") or (":" in signer and "/" not in signer)


def _warn_of_one_device(settings: LogSettings, state: Path, notice: Callable[[str], None]) -> None:
    if not settings.log.startswith(SQLITE):
        return
    if _sqlite_path(settings.log, "--log").parent.stat().st_dev == state.parent.stat().st_dev:
        notice("the signer's state lies on the same device as the log: a disk that is rolled back takes both along")
