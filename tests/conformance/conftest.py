"""A PostgreSQL for the whole run, and the places in which a log can lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.places import PostgresPlace, SqlitePlace
from tests.conformance.postgres_server import PostgresServer, find_programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.places import Place


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Give a running PostgreSQL; whoever stops it starts it again."""
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    server = PostgresServer(programs)
    try:
        server.start()
        yield server
    finally:
        server.destroy()


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[PostgresPlace]:
    """Give a fresh database."""
    place = PostgresPlace(postgres_server)
    yield place
    place.close()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Give a place without a log, of each kind."""
    if request.param == "postgres":
        yield request.getfixturevalue("postgres")
        return
    sqlite = SqlitePlace(tmp_path)
    yield sqlite
    sqlite.close()
