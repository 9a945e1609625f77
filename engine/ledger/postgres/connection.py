"""Reaching PostgreSQL: how long it may take, and what is asked of every connection."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict

from engine.ledger.postgres.faults import fault
from engine.ledger.store import StoreBusyError, UnsafeStoreError

if TYPE_CHECKING:
    from psycopg.errors import Diagnostic

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
Cursor: TypeAlias = psycopg.Cursor[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds, and how many connections read.

    `lock` is the wait for the head; `idle` how long a transaction that holds it may stand still before PostgreSQL ends
    it; `silence` after how long a peer that no longer answers counts as lost; `read` what one statement of a reader or
    of an administrator may take.
    """

    lock: float = 2.0
    statement: float = 5.0
    idle: float = 2.0
    connect: float = 5.0
    silence: float = 10.0
    read: float = 60.0
    readers: int = 8


DEFAULT_LIMITS = Limits()

_FATAL = re.compile(r"FATAL: +([^\n]+)")
"""What a server says of why it lets nobody in; it names the user or the database, never the password."""

_BEGIN_WRITING = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on; SET LOCAL lock_timeout = {lock:d}; "
    "SET LOCAL statement_timeout = {statement:d}; SET LOCAL idle_in_transaction_session_timeout = {idle:d}; "
    "SET LOCAL plan_cache_mode = force_generic_plan"
)


def begin_writing(limits: Limits) -> str:
    """Give the statements that begin a transaction that writes.

    INVARIANT: READ COMMITTED, so that each statement after a lock sees what its holder before committed.
    """
    waits = {"lock": limits.lock, "statement": limits.statement, "idle": limits.idle}
    return _BEGIN_WRITING.format(**{name: round(seconds * 1000) for name, seconds in waits.items()})


def open_connection(url: str, limits: Limits) -> Connection:
    """Open a connection on which every statement stands alone until BEGIN, and names have no search path.

    Raises:
        UnsafeStoreError: the address cannot be read.
        StoreBusyError: nobody answers there, or not to this user.

    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:  # its text would quote the address, with the password
        message = "the address of PostgreSQL cannot be read; give postgresql://user@host/database"
        raise UnsafeStoreError(message) from None
    silence = max(1, round(limits.silence))
    wanted: dict[str, Any] = {
        "application_name": "eligibility",
        "connect_timeout": max(2, round(limits.connect)),
        "keepalives_idle": max(1, silence // 2),
        "keepalives_interval": max(1, silence // 6),
        "keepalives_count": 3,
        "tcp_user_timeout": silence * 1000,
        **given,
    }
    try:
        connection: Connection = psycopg.connect(**wanted, autocommit=True)
        connection.execute("SET search_path = pg_catalog")
    except psycopg.Error as error:
        said = _FATAL.search(str(error))
        message = f"PostgreSQL cannot be reached: {said[1] if said else 'nobody answers'}"
        raise StoreBusyError(message) from None
    return connection


def vacuum(url: str, limits: Limits, what: str) -> None:
    """Run VACUUM, which no transaction may hold; `what` is what follows the word.

    Raises:
        UnsafeStoreError: this user may not.
        LedgerError: as `faults.fault` names it.

    """
    warnings: list[Diagnostic] = []
    connection = open_connection(url, limits)
    try:
        connection.add_notice_handler(warnings.append)
        connection.execute(f"SET lock_timeout = {round(limits.lock * 1000):d}")  # who waits for it waits for its wait
        connection.execute(f"VACUUM {what}")
    except psycopg.Error as error:
        raise fault(error) from None
    finally:
        connection.close()
    if warnings:  # PostgreSQL skips, with a warning, what the user does not own
        message = "dead rows were not cleared away; give the address of the tables' owner"
        raise UnsafeStoreError(message)
