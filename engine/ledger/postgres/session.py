"""Connections and the transactions on them: opened when needed, and opened again once they were lost."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from queue import Empty, LifoQueue
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from engine.ledger.postgres.connection import open_connection
from engine.ledger.postgres.faults import fault, is_lost
from engine.ledger.store import BatchRejectedError, CommitUnknownError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from psycopg.errors import Diagnostic

    from engine.ledger.postgres.connection import Connection, Cursor, Limits

Result = TypeVar("Result")


class Transaction:
    """An open transaction. What leaves it commits only if `has_written` was set; else there is nothing to commit."""

    def __init__(self, connection: Connection, first: Cursor) -> None:
        self.connection = connection
        self.first = first
        self.has_written = False

    def ask(self, query: str, *values: object) -> list[Any]:
        """Run one statement; give its rows. Raises: LedgerError, as `faults.fault` names it."""
        try:
            return _ask(self.connection, query, values)
        except psycopg.Error as error:
            raise fault(error) from None

    def run(self, script: str) -> None:
        """Run several statements that give nothing. Raises: LedgerError, as `faults.fault` names it."""
        try:
            self.connection.execute(script)
        except psycopg.Error as error:
            raise fault(error) from None

    def copy(self, table: str, types: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add rows to a table. Raises: LedgerError, as `faults.fault` names it."""
        try:
            with self.connection.cursor().copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row(row)
        except psycopg.Error as error:
            raise fault(error) from None


class Session:
    """A connection that one thread at a time uses."""

    def __init__(self, url: str, limits: Limits) -> None:
        self._url = url
        self._limits = limits
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._has_warned = False

    @contextmanager
    def transaction(self, begin: str) -> Iterator[Transaction]:
        """Run a transaction that starts with the statements `begin`, whose results are in `first`.

        Raises:
            StoreBusyError: another thread has the session, or PostgreSQL cannot be reached.
            CommitUnknownError: the answer to COMMIT did not come, or came with a warning.
            LedgerError: as `faults.fault` names it.

        """
        with self._held():
            is_committing = False
            try:
                transaction = self._reach(lambda connection: Transaction(connection, connection.execute(begin)))
                yield transaction
                is_committing = transaction.has_written
                self._end(transaction.connection, "COMMIT" if is_committing else "ROLLBACK")
            except psycopg.Error as error:
                self._recover()
                raise fault(error, is_committing=is_committing) from None
            except BaseException:
                self._recover()
                raise

    def read(self, query: str, *values: object) -> list[Any]:
        """Give the rows of one statement that only reads, a transaction of its own.

        Raises:
            StoreBusyError: as for `transaction`.
            LedgerError: as `faults.fault` names it.

        """
        with self._held():
            try:
                return self._reach(lambda connection: _ask(connection, query, values))
            except psycopg.Error as error:
                self._recover()
                raise fault(error) from None

    def close(self) -> None:
        """Let go of the connection."""
        with self._lock:
            self._drop()

    @contextmanager
    def _held(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=self._limits.lock + self._limits.statement):
            message = "another thread of this process keeps the connection to PostgreSQL; try again"
            raise StoreBusyError(message)
        try:
            yield
        finally:
            self._lock.release()

    def _reach(self, use: Callable[[Connection], Result]) -> Result:
        """Use the connection for a first statement; if it was lost while it was idle, a new one."""
        self._has_warned = False
        if self._connection is not None:
            try:
                return use(self._connection)
            except psycopg.Error as error:
                if not is_lost(error):
                    raise
                self._drop()
        self._connection = open_connection(self._url, self._limits)
        self._connection.add_notice_handler(self._hear)
        return use(self._connection)

    def _end(self, connection: Connection, wanted: str) -> None:
        done = connection.execute(wanted.encode()).statusmessage
        if done != wanted:
            message = "the transaction had failed and was rolled back"
            raise BatchRejectedError(message)
        if wanted == "COMMIT" and self._has_warned:
            # With a standby, a wait that was cut short leaves a commit that only this server has.
            message = "PostgreSQL warned while it committed; the outcome is unknown"
            raise CommitUnknownError(message)

    def _recover(self) -> None:
        """Roll back; a connection that cannot is dropped."""
        if self._connection is None:
            return
        try:
            if self._connection.info.transaction_status != TransactionStatus.IDLE:
                self._connection.execute("ROLLBACK")
        except psycopg.Error:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _hear(self, notice: Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._has_warned = True


class Sessions:
    """Several sessions for many threads."""

    def __init__(self, url: str, limits: Limits) -> None:
        self._limits = limits
        self._idle: LifoQueue[Session] = LifoQueue()
        for _ in range(limits.readers):
            self._idle.put(Session(url, limits))

    @contextmanager
    def one(self) -> Iterator[Session]:
        """Give a session that nobody else uses. Raises: StoreBusyError."""
        try:
            session = self._idle.get(timeout=self._limits.lock)
        except Empty:
            message = "every connection to PostgreSQL is in use; try again"
            raise StoreBusyError(message) from None
        try:
            yield session
        finally:
            self._idle.put(session)

    def close(self) -> None:
        """Let go of the sessions that are not in use."""
        while True:
            try:
                self._idle.get_nowait().close()
            except Empty:
                return


def _ask(connection: Connection, query: str, values: Sequence[object]) -> list[Any]:
    cursor = connection.execute(query.encode(), values or None, binary=True)
    return cursor.fetchall() if cursor.description else []
