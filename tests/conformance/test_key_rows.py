"""One suite over both stores of wrapped data keys: what is found, what is made once, and what leaves no trace."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, TypeAlias

import apsw
import pytest

from engine.errors import LogUnavailableError
from engine.ledger.keys import Caller, DataKeyRow, ErasureRequest, KeyRows, SecretRow, Subject
from engine.ledger.postgres.keys import PostgresKeys
from engine.ledger.sqlite.keys import SqliteKeys
from engine.ledger.store import UnsafeStoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.postgres_server import PostgresServer

WRAPPING, OTHER = b"w" * 16, b"o" * 16
PATIENT, CALLER = 1, 2
SOMEBODY = Subject(b"s" * 32, 8100)


class SqliteFile:
    """A key store in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "keys.db"

    def open(self) -> KeyRows:
        """Open it."""
        return SqliteKeys(self.path)

    def execute(self, statement: str) -> None:
        """Do something behind its back."""
        connection = apsw.Connection(str(self.path))
        connection.execute(statement)
        connection.close()

    def holds(self, secret: bytes) -> bool:
        """Say whether some file of the store holds these bytes."""
        return any(secret in file.read_bytes() for file in self.folder.iterdir())

    def analyze(self) -> None:
        """Nothing gathers statistics here."""

    def close(self) -> None:
        """Leave it to pytest."""


class PostgresDatabase:
    """A key store in a database, with a role of its own."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.database = server.take_database()
        if not server.execute("SELECT 1 FROM pg_roles WHERE rolname = 'keeper'"):
            server.execute("CREATE ROLE keeper LOGIN")
        server.execute(f"GRANT CREATE ON DATABASE {self.database} TO keeper")

    def open(self) -> KeyRows:
        """Open it."""
        return PostgresKeys(self.server.url(self.database, "keeper"))

    def execute(self, statement: str) -> None:
        """Do something behind its back."""
        self.server.execute(statement.replace("data_key", "keys.data_key"), database=self.database)

    def holds(self, secret: bytes) -> bool:
        """Say whether some file of the database holds these bytes, its write-ahead log not counted."""
        self.server.execute("CHECKPOINT")
        files = (file for file in (self.server.data / "base").rglob("*") if file.is_file())
        return any(secret in file.read_bytes() for file in files)

    def analyze(self) -> None:
        """Have statistics gathered of every row, as the server does by itself now and then."""
        self.server.execute("SET default_statistics_target = 10000; ANALYZE", database=self.database)

    def close(self) -> None:
        """Leave the database as it was."""
        self.server.give_back(self.database)


KeyPlace: TypeAlias = SqliteFile | PostgresDatabase


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyPlace]:
    is_sqlite = request.param == "sqlite"
    place = SqliteFile(tmp_path) if is_sqlite else PostgresDatabase(request.getfixturevalue("postgres_server"))
    yield place
    place.close()


@pytest.fixture
def rows(place: KeyPlace) -> Iterator[KeyRows]:
    rows = place.open()
    rows.activate_wrapping_key(WRAPPING, "file")
    yield rows
    rows.close()


def a_key(part: int = PATIENT, created_at: int = 1_000) -> DataKeyRow:
    return DataKeyRow(os.urandom(16), part, WRAPPING, os.urandom(40), created_at)


def test_owners_are_found_by_their_keys_and_keys_by_whether_they_have_one(rows: KeyRows) -> None:
    of_patient, of_nobody, of_caller = a_key(), a_key(), a_key(CALLER)
    rows.add_key(of_patient, SOMEBODY)
    rows.add_key(of_nobody, None)
    rows.add_key(of_caller, Caller(0, 8100))

    assert rows.owners_of(of_patient.key_id) == [SOMEBODY.pseudonym]
    assert rows.owners_of(of_nobody.key_id) == rows.owners_of(of_caller.key_id) == rows.owners_of(b"?" * 16) == []
    assert rows.patient_keys(is_owned=True) == [of_patient.key_id]
    assert rows.patient_keys(is_owned=False) == [of_nobody.key_id]


def test_a_key_is_found_by_its_id_and_its_owner_also_after_opening_again(place: KeyPlace, rows: KeyRows) -> None:
    of_patient, of_caller, of_nobody = a_key(), a_key(CALLER), a_key()
    caller = Caller(2**32 - 1, 8100)

    assert rows.add_key(of_patient, SOMEBODY) == of_patient
    assert rows.add_key(of_caller, caller) == of_caller
    assert rows.add_key(of_nobody, None) == of_nobody
    rows.close()

    again = place.open()
    for key in (of_patient, of_caller, of_nobody):
        assert again.data_key(key.key_id) == key
    assert again.key_of(SOMEBODY) == of_patient
    assert again.key_of(caller) == of_caller
    assert again.key_of(SOMEBODY._replace(period=8101)) is None
    assert again.key_of(caller._replace(tenant=0)) is None
    assert again.data_key(b"?" * 16) is None
    again.close()


def test_an_owner_has_one_key(rows: KeyRows) -> None:
    first, second = a_key(), a_key()

    assert rows.add_key(first, SOMEBODY) == first
    assert rows.add_key(second, SOMEBODY) == first
    assert rows.data_key(second.key_id) is None


def test_an_owner_has_one_key_also_if_several_servers_make_it_at_once(place: KeyPlace, rows: KeyRows) -> None:
    others = [place.open() for _ in range(3)]
    owners = [Subject(bytes([number]) * 32, 8100) for number in range(10)]
    given: list[tuple[Subject, bytes]] = []

    def work(store: KeyRows) -> None:
        given.extend((owner, store.add_key(a_key(), owner).key_id) for owner in owners)

    threads = [threading.Thread(target=work, args=(store,)) for store in (rows, *others) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in others:
        store.close()

    assert len(given) == 80
    assert len(set(given)) == len(owners)
    assert rows.count_to_rewrap(OTHER) == len(owners)


def test_the_keys_of_a_patient_are_given_by_period(rows: KeyRows) -> None:
    keys = {period: rows.add_key(a_key(), Subject(b"s" * 32, period)).key_id for period in (8103, 8101, 8102)}
    rows.add_key(a_key(), Subject(b"t" * 32, 8101))

    assert rows.key_ids_of(b"s" * 32) == [keys[8101], keys[8102], keys[8103]]
    assert rows.key_ids_of(b"?" * 32) == []


def test_old_keys_of_patients_are_found_unless_they_are_held(rows: KeyRows) -> None:
    old, held, young = a_key(created_at=10), a_key(created_at=11), a_key(created_at=20)
    for key in (old, held, young, a_key(CALLER, created_at=10)):
        rows.add_key(key, None)
    rows.set_hold([held.key_id, b"?" * 16], 77)

    assert rows.patient_keys_before(20) == [old.key_id]
    assert rows.data_key(held.key_id) == held._replace(hold_index=77)

    rows.set_hold([held.key_id], None)
    assert sorted(rows.patient_keys_before(21)) == sorted(key.key_id for key in (old, held, young))


def test_c93_a_deleted_key_leaves_no_trace_in_any_file(place: KeyPlace, rows: KeyRows) -> None:
    keys = [rows.add_key(a_key(), Subject(os.urandom(32), 8100)) for _ in range(300)]
    owner = Subject(os.urandom(32), 8100)
    gone = rows.add_key(a_key(), owner)
    for key in keys[::3]:
        rows.rewrap_key(key.key_id, WRAPPING, os.urandom(40))
    place.analyze()
    assert place.holds(gone.wrapped)
    assert place.holds(owner.pseudonym)

    assert rows.delete_keys([gone.key_id, b"?" * 16]) == []

    assert rows.data_key(gone.key_id) is None
    assert rows.key_of(owner) is None
    for trace in (gone.wrapped, gone.key_id, owner.pseudonym):
        assert not place.holds(trace)
    assert place.holds(keys[1].wrapped)
    assert rows.data_key(keys[1].key_id) == keys[1]
    assert rows.delete_keys([gone.key_id]) == []
    assert rows.delete_keys([]) == []


def test_c95_a_key_under_a_hold_keeps_all_from_being_deleted(rows: KeyRows) -> None:
    held, free = rows.add_key(a_key(), SOMEBODY), rows.add_key(a_key(), None)
    rows.set_hold([held.key_id], 5)

    assert rows.delete_keys([free.key_id, held.key_id]) == [held.key_id]

    assert rows.key_of(SOMEBODY) == held._replace(hold_index=5)
    assert rows.data_key(free.key_id) == free
    rows.set_hold([held.key_id], None)
    assert rows.delete_keys([free.key_id, held.key_id]) == []


def test_a_key_needs_its_wrapping_key(rows: KeyRows) -> None:
    new = a_key()._replace(wrapping_key_id=OTHER)

    with pytest.raises(LogUnavailableError):
        rows.add_key(new, SOMEBODY)
    with pytest.raises(LogUnavailableError):
        rows.add_secret(SecretRow("pseudonym", OTHER, b"x" * 40))

    assert rows.key_of(SOMEBODY) is None
    rows.activate_wrapping_key(OTHER, "file")
    assert rows.add_key(new, SOMEBODY) == new


def test_c99_keys_are_rewrapped_and_their_old_wrapping_key_dropped(rows: KeyRows) -> None:
    keys = [rows.add_key(a_key(), None) for _ in range(3)]
    rows.add_secret(SecretRow("pseudonym", WRAPPING, b"x" * 40))
    assert rows.count_to_rewrap(WRAPPING) == 0
    rows.activate_wrapping_key(OTHER, "file")
    rows.activate_wrapping_key(OTHER, "file")
    assert rows.count_to_rewrap(OTHER) == 3
    assert len(rows.keys_to_rewrap(OTHER, 2)) == 2
    assert sorted(rows.keys_to_rewrap(OTHER, 9)) == sorted(keys)

    for key in keys:
        rows.rewrap_key(key.key_id, OTHER, key.wrapped[::-1])
    rows.rewrap_key(b"?" * 16, OTHER, b"x" * 40)
    rows.drop_wrapping_keys()
    rows.add_key(a_key(), None)  # the secret still names the old one

    rows.rewrap_secret(SecretRow("pseudonym", OTHER, b"y" * 40))
    for key in rows.keys_to_rewrap(OTHER, 9):
        rows.rewrap_key(key.key_id, OTHER, key.wrapped)
    rows.drop_wrapping_keys()
    with pytest.raises(LogUnavailableError):
        rows.add_key(a_key(), None)
    assert rows.count_to_rewrap(OTHER) == 0
    assert rows.data_key(keys[0].key_id) == keys[0]._replace(wrapping_key_id=OTHER, wrapped=keys[0].wrapped[::-1])
    assert rows.secret("pseudonym") == SecretRow("pseudonym", OTHER, b"y" * 40)


def test_a_secret_is_made_once(rows: KeyRows) -> None:
    first = SecretRow("pseudonym", WRAPPING, b"x" * 40)

    assert rows.secret("pseudonym") is None
    assert rows.add_secret(first) == first
    assert rows.add_secret(first._replace(wrapped=b"y" * 40)) == first
    assert rows.secret("pseudonym") == first
    assert rows.secret("idempotency") is None


def test_an_erasure_request_is_used_once_and_not_after_it_expired(rows: KeyRows) -> None:
    rows.add_erasure_request(ErasureRequest(7, b"m" * 32, 100))
    rows.add_erasure_request(ErasureRequest(7, b"m" * 32, 100))
    rows.add_erasure_request(ErasureRequest(8, b"n" * 32, 100))

    assert not rows.take_erasure_request(7, b"?" * 32, 50)
    assert not rows.take_erasure_request(9, b"m" * 32, 50)
    assert rows.take_erasure_request(7, b"m" * 32, 99)
    assert not rows.take_erasure_request(7, b"m" * 32, 99)
    assert not rows.take_erasure_request(8, b"n" * 32, 100)
    assert not rows.take_erasure_request(8, b"n" * 32, 50)


def test_c70_a_key_store_with_something_extra_in_it_is_refused(place: KeyPlace, rows: KeyRows) -> None:
    rows.close()
    place.execute("ALTER TABLE data_key ADD COLUMN extra int")

    with pytest.raises(UnsafeStoreError):
        place.open()


def test_c100_a_key_store_that_is_down_is_unavailable(postgres_server: PostgresServer) -> None:
    place = PostgresDatabase(postgres_server)
    rows = place.open()
    rows.activate_wrapping_key(WRAPPING, "file")
    key = rows.add_key(a_key(), SOMEBODY)

    postgres_server.stop()
    try:
        for call in (
            lambda: rows.data_key(key.key_id),
            lambda: rows.add_key(a_key(), None),
            lambda: rows.delete_keys([key.key_id]),
            place.open,
        ):
            with pytest.raises(LogUnavailableError):
                call()
    finally:
        postgres_server.start()

    assert rows.key_of(SOMEBODY) == key
    rows.close()
    place.close()


def test_keys_of_sqlite_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    rows = SqliteKeys(path)
    rows.activate_wrapping_key(WRAPPING, "file")
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    rows.close()

    path.chmod(0o640)
    with pytest.raises(UnsafeStoreError, match="mode 640"):
        SqliteKeys(path)


@pytest.mark.parametrize("place_for_it", ["no_folder/keys.db", "folder"])
def test_c100_a_place_that_cannot_be_opened_is_unavailable(tmp_path: Path, place_for_it: str) -> None:
    (tmp_path / "folder").mkdir()

    with pytest.raises(LogUnavailableError):
        SqliteKeys(tmp_path / place_for_it)


def test_a_file_that_is_no_key_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.db"
    path.write_bytes(b"no database at all" * 100)
    path.chmod(0o600)

    with pytest.raises(LogUnavailableError):
        SqliteKeys(path)
