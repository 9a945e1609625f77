"""What the signer of a log remembers, for holding the log against it: a log that was rolled back has forgotten more."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import IntegrityError, LedgerError
from engine.ledger.checkpoint import parse_vkey
from engine.ledger.entry import log_id
from engine.ledger.findings import Fault
from engine.ledger.signer import remembered
from server.config import SettingsError
from server.opening import is_remote
from server.remote_signer import RemoteSigner
from server.signing_key import read_signing_key

if TYPE_CHECKING:
    from server.config import LogSettings

NONE = "none"
"""What `--signer` says where a log is not to be held against a signer, as of an older copy."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a signer remembers.

    Attributes:
        latest: size and root hash of what it signed last; None where it was not asked, or remembers nothing.
        why_not: why it could not be asked, in words; empty where it was.
        is_lost: whether it should remember something of a log with entries, and does not.
        fault: what is wrong with what it remembers.

    """

    latest: tuple[int, bytes] | None = None
    why_not: str = ""
    is_lost: bool = False
    fault: Fault | None = None


def recall(settings: LogSettings, vkey: str) -> Memory:
    """Ask the signer of the settings what it signed last; ask before the log is read, which only grows."""
    if settings.signer == NONE:
        return Memory(why_not="no signer was given")
    if is_remote(settings.signer):
        return _asked(settings, vkey)
    own = _own_vkey(settings)
    if own not in {"", vkey}:
        return Memory(why_not="the signer here is that of another log")
    path, key = Path(settings.signer), parse_vkey(vkey)
    try:
        latest = remembered(path, log_id(key.name, key.public_key))
    except FileNotFoundError:
        return Memory(why_not=f"there is no signer's state at `{path}`", is_lost=own == vkey)
    except OSError:
        return Memory(why_not=f"the signer's state `{path}` cannot be read")
    except IntegrityError as error:
        return Memory(fault=Fault("signer", "signer", str(error)))
    return Memory(latest, is_lost=latest is None)


def _asked(settings: LogSettings, vkey: str) -> Memory:
    try:
        signer = RemoteSigner(settings.signer, settings.signer_ca, settings.signer_cert, settings.signer_key)
        with closing(signer):
            latest = signer.latest()
            if signer.vkey() != vkey:
                return Memory(why_not="the signer is that of another log")
    except (LedgerError, ValueError, OSError) as error:
        return Memory(why_not=f"the signer was not asked: {error}")
    return Memory((latest.tree_size, latest.root_hash) if latest else None, is_lost=latest is None)


def _own_vkey(settings: LogSettings) -> str:
    """Give the verifier key of the signing key here; empty where there is none that can be read."""
    try:
        return read_signing_key(Path(settings.signing_key)).vkey
    except SettingsError:
        return ""
