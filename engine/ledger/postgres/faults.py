"""What an error of PostgreSQL means for the log. Its own texts are left out: they may quote values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from engine.errors import IntegrityError
from engine.ledger.store import (
    BatchRejectedError,
    CommitUnknownError,
    RetryBatchError,
    StoreBrokenError,
    StoreBusyError,
    UnsafeStoreError,
)

if TYPE_CHECKING:
    from engine.errors import LedgerError

_BROKEN = ("58", "XX")
"""Classes of SQLSTATE: system error (io_error and the like), internal error (data_corrupted, index_corrupted)."""

_RETRIED = {
    "40001": "a serialization failure",
    "40P01": "a deadlock",
    "LG003": "the head moved",
}

_REJECTED = {
    "LG004": "it names a blob that is not stored",
    "LG005": "a tile does not extend the one that is stored",
    "LG007": "a request in it has its entry already",
}
_REJECTED_CLASSES = ("22", "23", "54")
"""Data exception, integrity constraint violation, program limit exceeded."""

_UNSAFE = {
    "LG001": "PostgreSQL runs with settings that lose acknowledged entries, or as a standby",
    "LG002": "an operator has fenced this writer off; it must not append any more",
    "42501": "the PostgreSQL role has no right to this (SQLSTATE 42501): a first start and an erasure need "
    "--log-owner; docs/operating.md says which role may do what",
}
_UNSAFE_CLASSES = ("0A", "3F", "42")
"""Feature not supported, no such schema, no such table or function or no right to it: another build's schema."""


def is_lost(error: psycopg.Error) -> bool:
    """Say whether the connection is gone: the server said so, or nothing came back at all."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.diag.severity_nonlocalized in {"FATAL", "PANIC"} or error.sqlstate.startswith("08")


def fault(error: psycopg.Error, *, is_committing: bool = False) -> LedgerError:
    """Name the error of `engine.ledger.store` for one of PostgreSQL; `is_committing` once COMMIT was sent."""
    code = error.sqlstate or ""
    if error.diag.severity_nonlocalized == "PANIC" or code.startswith(_BROKEN):
        return StoreBrokenError(f"PostgreSQL failed (SQLSTATE {code}) and is not to be trusted any more")
    if is_lost(error):
        if is_committing:
            return CommitUnknownError("the connection to PostgreSQL was lost during a commit")
        return StoreBusyError(f"the connection to PostgreSQL was lost{_stated(code)}; nothing was written")
    if code in _RETRIED:
        return RetryBatchError(f"the batch has to go again: {_RETRIED[code]}")
    if code in _UNSAFE:
        return UnsafeStoreError(_UNSAFE[code])
    if code.startswith(_UNSAFE_CLASSES):
        message = (
            f"the database lacks the tables of this build (SQLSTATE {code}): it is another one, or a first start has "
            "to make them, as the role that --log-owner names"
        )
        return UnsafeStoreError(message)
    if code in _REJECTED or code.startswith(_REJECTED_CLASSES):
        why = _REJECTED.get(code) or f"SQLSTATE {code}, constraint `{error.diag.constraint_name or 'none'}`"
        return BatchRejectedError(f"PostgreSQL refused the batch: {why}")
    if code == "LG006":
        message = "it is no tombstone for this key, so nothing may be erased"
        return IntegrityError(message)
    if code == "P0002":  # no_data_found: the row that STRICT asks for
        return headless()
    return StoreBusyError(f"PostgreSQL cannot take it now{_stated(code)}; nothing was written")


def headless() -> IntegrityError:
    """Give the error of a log whose head row is missing."""
    message = "the log has no head; `eligibility log verify --rebuild` makes it again from the entries"
    return IntegrityError(message, "table head")


def _stated(code: str) -> str:
    return f" (SQLSTATE {code})" if code else ""
