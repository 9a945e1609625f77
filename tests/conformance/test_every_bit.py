"""C45: whatever is changed in a log, in any column of any row, is seen, and the entry or table is named.

The log lies in memory as SQLite's own bytes, is changed by SQL as somebody with the file could, and is verified as the
real one. By default one bit of some bytes of every column of every row is turned, spread evenly; with
ELIGIBILITY_FAULTS=full every bit of every byte.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw
import pytest

from engine.ledger import fsck
from engine.ledger.sqlite.snapshot import SqliteSnapshot
from tests.conformance.full_log import keys_of, unlock, write_full_log
from tests.conformance.ledger_world import KEY, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engine.ledger.findings import Findings
    from engine.ledger.keys import KeyStore

FULL = os.environ.get("ELIGIBILITY_FAULTS") == "full"
STRIDE = 149
"""By default every so many bytes; prime, so that rows of one length are met at other places."""
INTEGER_BITS = 64

IRRELEVANT = {
    ("head", "id"): "there is one row, and nothing asks for its id",
    ("head", "epoch"): "it fences off writers that an operator replaced: changed, nobody can append, and nothing else",
    ("idempotency", "expires_at"): "how long a hint is kept; what it points to is held against what is sealed",
    ("batch", "expires_at"): "how long it is known which commit wrote what; the entries themselves know it for good",
}
"""Columns that decide nothing about what was logged, with the reason."""

pytestmark = pytest.mark.timeout(6 * 3600 if FULL else 120)


class Cell(NamedTuple):
    """A column of a row."""

    table: str
    column: str
    rowid: int
    key: tuple[Any, ...]
    value: Any


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of a log with an entry of each kind."""
    folder = tmp_path_factory.mktemp("every-bit")
    write_full_log(World(folder))
    return folder


@pytest.fixture
def keys(folder: Path) -> Iterator[KeyStore]:
    """Give its keys."""
    keys = keys_of(folder)
    yield keys
    keys.close()


@pytest.fixture
def connection(folder: Path) -> Iterator[apsw.Connection]:
    """Give the log in memory, with all that guards it taken away."""
    data = bytearray((folder / "log.db").read_bytes())
    data[18:20] = b"\1\1"  # a database in memory has no write-ahead log
    connection = apsw.Connection(":memory:")
    connection.deserialize("main", bytes(data))
    unlock(connection)
    yield connection
    connection.close()


def verify(connection: apsw.Connection, keys: KeyStore | None) -> Findings:
    """Verify the log as it is now."""
    return fsck.verify(SqliteSnapshot(connection), KEY.vkey, keys=keys)


def columns_of(connection: apsw.Connection) -> list[tuple[str, str]]:
    """Give every column of every table."""
    tables: list[Any] = connection.execute("SELECT name FROM sqlite_schema WHERE type='table'").fetchall()
    return [
        (str(table), str(row[1]))
        for (table,) in tables
        for row in connection.execute(f"PRAGMA table_info({table})").fetchall()
    ]


def cells(connection: apsw.Connection) -> Iterator[Cell]:
    """Give every column of every row that is not irrelevant, with the row's first columns to name it."""
    for table, column in columns_of(connection):
        if (table, column) not in IRRELEVANT:
            query = f"SELECT rowid, {column}, * FROM {table}"  # noqa: S608 - names of our own
            rows: list[Any] = connection.execute(query).fetchall()
            for rowid, value, *row in rows:
                yield Cell(table, column, rowid, tuple(row[:2]), value)


def others(value: Any, salt: int) -> Iterator[Any]:  # noqa: ANN401 - any of SQLite's types
    """Give values that differ in one bit."""
    if value in {None, b""}:
        yield b"something"
    elif isinstance(value, int):
        bits = range(INTEGER_BITS) if FULL else [salt % INTEGER_BITS]
        for bit in bits:
            turned = (value ^ (1 << bit)) & (2**INTEGER_BITS - 1)
            yield turned - 2**INTEGER_BITS if turned >= 2 ** (INTEGER_BITS - 1) else turned
    else:
        data = value.encode() if isinstance(value, str) else value
        for place, bit in _turned(len(data), salt):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            yield bytes(changed).decode(errors="replace") if isinstance(value, str) else bytes(changed)
        if FULL or salt % 4 == 0:
            yield data[:-1].decode() if isinstance(value, str) else data[:-1]


def _turned(length: int, salt: int) -> Iterator[tuple[int, int]]:
    if FULL:
        yield from ((place, bit) for place in range(length) for bit in range(8))
        return
    for place in {salt % length, *range(salt % STRIDE, length, STRIDE)}:
        yield place, (place + salt) % 8


def names(findings: Findings, cell: Cell) -> bool:
    """Say whether a fault names what was changed: the entry, or the table or row that is not an entry."""
    places = [fault.place for fault in findings.faults]
    match cell.table:
        case "entry" | "sealed":
            wanted = [f"entry {cell.key[0]}", f"table sealed, entry {cell.key[0]}"]
            if cell.column == "entry_index":
                wanted.append("entry ")
        case "checkpoint":
            wanted = ["checkpoint "]
        case "tile":
            wanted = ["tile "]
        case "blob":
            wanted = ["blob ", "entry "]
        case "search":
            wanted = [f"table search, row {cell.key[0]}"]
        case _:
            wanted = [f"table {cell.table}"]
    return any(
        place == one or (one.endswith(" ") and place.startswith(one)) or place.startswith(one + ",")
        for place in places
        for one in wanted
    )


def test_c45_every_change_of_every_column_of_every_row_is_seen_and_named(
    connection: apsw.Connection, keys: KeyStore
) -> None:
    assert verify(connection, keys).is_whole
    unseen, unnamed, tried, refused = [], [], 0, 0
    for number, cell in enumerate(list(cells(connection))):
        for value in others(cell.value, number):
            tried += 1
            connection.execute("SAVEPOINT edit")
            try:
                query = f"UPDATE {cell.table} SET {cell.column}=? WHERE rowid=?"  # noqa: S608 - names of our own
                connection.execute(query, (value, cell.rowid))
                findings = verify(connection, keys)
            except apsw.ConstraintError:
                refused += 1  # two rows of one key: no such table is possible
                continue
            finally:
                connection.execute("ROLLBACK TO edit")
                connection.execute("RELEASE edit")
            if findings.is_whole:
                unseen.append((cell.table, cell.column, cell.key, value))
            elif not names(findings, cell):
                unnamed.append((cell.table, cell.column, cell.key, [str(fault) for fault in findings.faults][:5]))
    assert unseen == []
    assert unnamed == []
    assert tried > 10 * refused
    assert verify(connection, keys).is_whole
    if FULL:
        print(f"{tried} changes, {refused} of them impossible, all others seen and named")  # noqa: T201 - the report


def test_c45_the_columns_that_are_irrelevant_are_those_that_are_listed(
    connection: apsw.Connection, keys: KeyStore
) -> None:
    """They are changed here all at once, and the log is still the one that was logged."""
    assert set(IRRELEVANT) <= set(columns_of(connection))
    for table, column in IRRELEVANT:
        connection.execute(f"UPDATE {table} SET {column}={column}+1000000007")  # noqa: S608 - names of our own
    assert verify(connection, keys).is_whole


@pytest.mark.parametrize("table", ["blob", "entry", "sealed", "tile", "head", "meta", "search"])
def test_c45_every_row_that_is_deleted_is_missed(connection: apsw.Connection, keys: KeyStore, table: str) -> None:
    """A deleted checkpoint, idempotency or batch row is another matter: see C58; the others are dropped with time."""
    rows: list[Any] = connection.execute(f"SELECT rowid FROM {table}").fetchall()  # noqa: S608 - as above
    for (rowid,) in rows:
        connection.execute("SAVEPOINT edit")
        connection.execute(f"DELETE FROM {table} WHERE rowid=?", (rowid,))  # noqa: S608 - as above
        assert not verify(connection, keys).is_whole, f"row {rowid}"
        connection.execute("ROLLBACK TO edit")
        connection.execute("RELEASE edit")
    connection.execute(f"DELETE FROM {table}")  # noqa: S608 - as above
    assert not verify(connection, keys).is_whole


def test_c45_a_log_of_which_nothing_is_left_is_not_whole(connection: apsw.Connection) -> None:
    for table, _ in columns_of(connection):
        if table != "meta":
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - as above
    connection.execute("INSERT INTO head VALUES(1, 0, x'', 0, 0)")
    findings = verify(connection, None)
    assert [fault.place for fault in findings.faults] == ["entry 0"]
    assert not findings.is_mendable
