"""Where a log can lie, and what its tests do there behind the store's back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import apsw
import psycopg

from engine.ledger.postgres.connection import Limits
from engine.ledger.postgres.log import PostgresLog
from engine.ledger.sqlite.log import SqliteLog
from tests.conformance.batches import META

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.postgres_server import PostgresServer

PATIENT = Limits(lock=60, statement=60, idle=60)
"""A loaded machine must not fail a test that says nothing about time."""


class SqlitePlace:
    """A folder."""

    refusal: type[Exception] = apsw.ConstraintError
    """What keeps the writer's own connection from changing what is written: a trigger."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.db"
        self._open: list[SqliteLog] = []

    def open(self, epoch: int = 0) -> SqliteLog:
        """Open the log, which may not be there yet."""
        store = SqliteLog(self.path, epoch=epoch)
        self._open.append(store)
        return store

    def create(self) -> SqliteLog:
        """Open a new log."""
        store = self.open()
        assert store.create(META)
        return store

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Do something behind the store's back; tables have their bare names."""
        connection = apsw.Connection(str(self.path))
        try:
            connection.pragma("foreign_keys", value=True)
            return connection.execute(statement.replace("%s", "?"), values).fetchall()
        finally:
            connection.close()

    execute_as_writer = execute

    def close(self) -> None:
        """Close every store that was opened."""
        for store in self._open:
            store.close()


class PostgresPlace:
    """A database of a running server."""

    refusal: type[Exception] = psycopg.errors.InsufficientPrivilege
    """What keeps the writer's role from changing what is written: it has no right to."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.database = server.take_database()
        self._open: list[PostgresLog] = []

    def open(
        self,
        epoch: int = 0,
        limits: Limits = PATIENT,
        *,
        has_standby: bool = False,
        is_alone: bool = False,
        url: str | None = None,
    ) -> PostgresLog:
        """Open the log, which may not be there yet; `is_alone` without the addresses of owner and eraser."""
        store = PostgresLog(
            url or self.server.url(self.database, "log_writer"),
            epoch=epoch,
            owner_url=None if is_alone else self.server.url(self.database),
            eraser_url=None if is_alone else self.server.url(self.database, "log_eraser"),
            has_standby=has_standby,
            limits=limits,
        )
        self._open.append(store)
        return store

    def create(self) -> PostgresLog:
        """Open a new log."""
        store = self.open()
        assert store.create(META)
        return store

    def execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Do something behind the store's back; tables have their bare names."""
        return self.execute_as_writer(statement, *values, role="postgres")

    def execute_as_writer(self, statement: str, *values: object, role: str = "log_writer") -> list[tuple[Any, ...]]:
        """Do something with no more rights than the store has."""
        with psycopg.connect(self.server.url(self.database, role), autocommit=True) as connection:
            connection.execute("SET search_path = log")
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Close every store that was opened, and leave the database as it was."""
        for store in self._open:
            store.close()
        self.server.give_back(self.database)


Place: TypeAlias = SqlitePlace | PostgresPlace
