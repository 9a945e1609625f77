"""A store that may lose, hide or change what is acknowledged is refused, at the start and while it runs."""

from __future__ import annotations

import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

import apsw
import pytest

from engine.ledger.postgres import catalog, schema
from engine.ledger.postgres.connection import DEFAULT_LIMITS, begin_writing
from engine.ledger.postgres.log import PostgresLog
from engine.ledger.postgres.session import Session
from engine.ledger.sqlite.log import SqliteLog
from engine.ledger.store import SCHEMA_VERSION, BatchRejectedError, Head, StoreBusyError, UnsafeStoreError
from tests.conformance.batches import META, append, decision, decisions, tombstone
from tests.conformance.places import SqlitePlace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conformance.places import PostgresPlace
    from tests.conformance.postgres_server import PostgresServer

PASSWORD = "not-to-be-shown"  # noqa: S105 - of nobody


@contextmanager
def setting(server: PostgresServer, name: str, value: str) -> Iterator[None]:
    """Run the server with a setting for a while."""
    server.set(name, value)
    try:
        yield
    finally:
        server.set(name, None)


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_c24_postgres_that_does_not_sync_is_refused_also_at_run_time(postgres: PostgresPlace, name: str) -> None:
    store = postgres.create()
    append(store, decisions(1))
    store.check()

    with setting(postgres.server, name, "off"):
        with pytest.raises(UnsafeStoreError, match=f"`{name}` is `off`"):
            store.check()
        with pytest.raises(UnsafeStoreError, match="lose acknowledged entries"):
            append(store, decisions(1))

    store.check()
    append(store, decisions(1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("synchronous_commit", "off"),
        ("synchronous_commit", "local"),
        ("synchronous_commit", "remote_write"),
        ("data_sync_retry", "on"),
        ("zero_damaged_pages", "on"),
        ("ignore_checksum_failure", "on"),
        ("session_replication_role", "replica"),
    ],
)
def test_c24_other_unsafe_settings_are_refused(postgres: PostgresPlace, name: str, value: str) -> None:
    store = postgres.create()
    if name == "data_sync_retry":  # read at the start only
        postgres.server.execute("ALTER SYSTEM SET data_sync_retry = on")
        postgres.server.stop()
        postgres.server.start()
    try:
        with setting(postgres.server, name, value), pytest.raises(UnsafeStoreError, match=f"`{name}` is `{value}`"):
            store.check()
    finally:
        if name == "data_sync_retry":
            postgres.server.stop()
            postgres.server.start()
    store.check()


def test_c24_a_setting_of_the_role_is_seen_although_a_connection_is_open(postgres: PostgresPlace) -> None:
    store = postgres.create()
    append(store, decisions(1))
    role = f"ALTER ROLE log_writer IN DATABASE {postgres.database}"
    postgres.execute(f"{role} SET synchronous_commit = off")
    try:
        with pytest.raises(UnsafeStoreError, match="`synchronous_commit` is `off`"):
            store.check()
    finally:
        postgres.execute(f"{role} RESET ALL")
    store.check()


def test_c24_a_commit_is_synchronous_even_where_the_default_is_not(postgres: PostgresPlace) -> None:
    store = postgres.create()
    with setting(postgres.server, "synchronous_commit", "off"), store.appending() as appending:
        assert appending.head.size == 0  # lock_head refuses a transaction that would commit without a sync


def test_c24_postgres_without_checksums_is_refused(postgres: PostgresPlace) -> None:
    store, server = postgres.create(), postgres.server
    server.stop()
    server.run("pg_checksums", "--disable", "-D", str(server.data))
    server.start()
    try:
        with pytest.raises(UnsafeStoreError, match="data_checksums"):
            store.check()
    finally:
        server.stop()
        server.run("pg_checksums", "--enable", "-D", str(server.data))
        server.start()
    store.check()


def test_c26_a_standby_is_refused(postgres: PostgresPlace) -> None:
    store, server = postgres.create(), postgres.server
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    try:
        with pytest.raises(UnsafeStoreError, match="standby"):
            store.check()
        with pytest.raises(UnsafeStoreError, match="standby"):
            append(store, decisions(1))
    finally:
        server.execute("SELECT pg_promote()")
    append(store, decisions(1))


def test_a_missing_standby_is_refused_where_one_is_expected(postgres: PostgresPlace) -> None:
    postgres.create()
    store = postgres.open(has_standby=True)

    with pytest.raises(UnsafeStoreError, match="synchronous_standby_names"):
        store.check()
    with setting(postgres.server, "synchronous_standby_names", "another"):
        store.check()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("synchronous", 1), ("synchronous", 0), ("foreign_keys", 0), ("trusted_schema", 1), ("cell_size_check", 0)],
)
def test_c24_sqlite_with_a_setting_switched_off_is_refused(tmp_path: Path, pragma: str, value: int) -> None:
    place = SqlitePlace(tmp_path)
    store = place.create()
    store.check()
    connection = store._writer  # noqa: SLF001 - settings belong to a connection, and there is no other way to this one
    connection.pragma(pragma, value)

    with pytest.raises(UnsafeStoreError, match=pragma):
        store.check()
    if pragma == "synchronous":
        with pytest.raises(UnsafeStoreError, match=pragma):
            append(store, decisions(1))
    place.close()


def test_c21_a_second_server_on_one_file_is_refused(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    place.create()

    with pytest.raises(UnsafeStoreError, match="another process"):
        place.open()
    reader = SqliteLog(place.path, is_writer=False)
    with reader.reading() as snapshot:
        assert snapshot.head().size == 0
    reader.close()
    place.close()


def test_c70_a_sqlite_log_with_a_trigger_dropped_is_refused(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    store = place.create()
    connection = apsw.Connection(str(place.path))
    connection.execute("DROP TRIGGER entry_u")
    connection.close()

    with pytest.raises(UnsafeStoreError, match="triggers"):
        store.check()
    place.close()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("CREATE RULE extra AS ON INSERT TO batch DO INSTEAD NOTHING", "rule batch.extra"),
        ("CREATE POLICY extra ON entry USING (entry_index < 5)", "policy entry.extra"),
        ("ALTER TABLE entry ENABLE ROW LEVEL SECURITY", "relation entry"),
        ("CREATE TABLE public.extra() INHERITS (entry)", "child public.extra of entry"),
        ("ALTER TABLE sealed DISABLE TRIGGER ALL", "switched D"),
        ("ALTER TABLE sealed DROP CONSTRAINT sealed_entry_index_fkey", "constraint sealed.sealed_entry_index_fkey"),
        ("ALTER TABLE entry DROP CONSTRAINT entry_check", "constraint entry.entry_check"),
        ("ALTER TABLE batch ALTER expires_at SET DEFAULT 0", "default batch"),
        ("ALTER TABLE head ALTER epoch DROP NOT NULL", "column head.epoch"),
        ("ALTER TABLE tile SET UNLOGGED", "relation tile"),
        ("ALTER TABLE batch OWNER TO log_writer", "relation batch"),
        ("CREATE FUNCTION sha256(text) RETURNS bytea LANGUAGE sql AS 'SELECT null::bytea'", "function sha256"),
        ("CREATE OPERATOR === (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = byteaeq)", "operator ==="),
        ("CREATE DOMAIN extra AS int", "type extra"),
        ("CREATE OR REPLACE FUNCTION expire(p_now bigint) RETURNS void LANGUAGE sql AS ''", "function expire"),
        ("ALTER FUNCTION lock_head SECURITY INVOKER", "function lock_head"),
        ("ALTER FUNCTION append_batch RESET ALL", "function append_batch"),
        ("DROP FUNCTION erase_bodies", "missing `function erase_bodies"),
        ("GRANT UPDATE ON head TO log_writer", "right UPDATE on head to log_writer"),
        ("GRANT INSERT (note) ON checkpoint TO PUBLIC", "right INSERT on checkpoint.note to everybody"),
        ("GRANT EXECUTE ON FUNCTION erase_bodies TO log_writer", "right EXECUTE on erase_bodies to log_writer"),
        ("GRANT CREATE ON SCHEMA log TO log_writer", "right CREATE on log to log_writer"),
        ("ALTER INDEX batch_pkey RENAME TO another", "constraint batch.another"),
    ],
)
def test_c70_a_postgres_schema_that_differs_is_refused(postgres: PostgresPlace, statement: str, named: str) -> None:
    store = postgres.create()
    store.check()
    postgres.execute(statement)

    with pytest.raises(UnsafeStoreError) as refused:
        store.check()

    assert named in every_difference(postgres)
    assert "schema `log` is not what this build makes" in str(refused.value)
    postgres.execute("DROP TABLE IF EXISTS public.extra")


def every_difference(postgres: PostgresPlace) -> str:
    """List how the schema differs from the one that is made in a new database."""
    session = Session(postgres.server.url(postgres.database), DEFAULT_LIMITS)
    with session.transaction(catalog.BEGIN) as transaction:
        differing = catalog.differences(transaction, "log")
    session.close()
    return "\n".join(differing)


def test_c70_a_writer_that_may_change_what_is_written_is_refused(postgres: PostgresPlace) -> None:
    store = postgres.create()
    postgres.execute("GRANT log_owner TO log_writer")
    try:
        with pytest.raises(UnsafeStoreError, match="log_writer may change"):
            store.check()
    finally:
        postgres.execute("REVOKE log_owner FROM log_writer")
    store.check()


def test_a_database_without_a_log_is_refused_and_a_writer_cannot_make_one(postgres: PostgresPlace) -> None:
    store = postgres.open(is_alone=True)
    postgres.create()
    postgres.server.execute("DROP SCHEMA log CASCADE", database=postgres.database)

    with pytest.raises(UnsafeStoreError):
        store.check()
    with pytest.raises(UnsafeStoreError):
        store.create({})
    with pytest.raises(UnsafeStoreError), store.appending():
        pass


def test_what_only_the_owner_or_the_eraser_may_do_is_refused_to_the_writer(postgres: PostgresPlace) -> None:
    postgres.create()
    store = postgres.open(is_alone=True)

    with pytest.raises(UnsafeStoreError, match="42501"):
        store.erase_bodies(0, b"k" * 16)
    with pytest.raises(UnsafeStoreError, match="42501"):
        store.rebuild(Head(0, b"", 0, 0), {}, [])
    with pytest.raises(UnsafeStoreError, match="owner"):
        store.scrub()
    assert not store.create({})  # that the log is there it may see


def test_one_address_that_may_do_everything_is_enough(postgres: PostgresPlace) -> None:
    store = postgres.open(url=postgres.server.url(postgres.database), is_alone=True)

    assert store.create(META)
    store.check()
    append(store, [decision(key_id=b"k" * 16), tombstone(b"k" * 16)])
    assert store.erase_bodies(1, b"k" * 16) == 1
    store.scrub()
    with store.reading() as snapshot:
        head, tiles, rows = snapshot.head(), list(snapshot.tiles()), list(snapshot.search_rows())
    store.rebuild(head, {(level, number): hashes for level, number, hashes in tiles}, rows)
    append(store, decisions(1))
    store.check()


def test_the_scripts_lead_to_the_version_of_this_build() -> None:
    assert str(len(schema.MIGRATIONS)) == SCHEMA_VERSION


def test_a_log_is_migrated_once_and_not_by_an_older_build(postgres: PostgresPlace) -> None:
    store = postgres.create()
    store.migrate()
    scripts = (*schema.MIGRATIONS, "CREATE TABLE newer(a int)", "ALTER TABLE newer ADD COLUMN b int")
    session = Session(postgres.server.url(postgres.database), DEFAULT_LIMITS)
    for _ in range(2):
        with session.transaction(begin_writing(DEFAULT_LIMITS)) as transaction:
            schema.migrate(transaction, scripts)
    session.close()

    assert postgres.execute("SELECT v FROM meta WHERE k = 'schema'") == [(b"3",)]
    assert postgres.execute("SELECT a, b FROM newer") == []
    assert postgres.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'newer'") == [("log_owner",)]
    with pytest.raises(UnsafeStoreError, match="newer than this build"):
        store.migrate()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://log_writer:{PASSWORD}@127.0.0.1:1/log",
        f"postgresql://log_writer:{PASSWORD}@/log?host=/nowhere",
        f"postgresql://log_writer:{PASSWORD}@/log?no_such_option=1",
        f"postgresql://log_writer:{PASSWORD}@[half/log",
        f"user=log_writer password={PASSWORD} dbname",
    ],
)
def test_g7_no_error_shows_the_password(url: str) -> None:
    store = PostgresLog(url)

    with pytest.raises((StoreBusyError, UnsafeStoreError)) as refused:
        store.check()

    assert PASSWORD not in "".join(traceback.format_exception(refused.value))


def test_g7_no_error_shows_what_was_to_be_written(postgres: PostgresPlace) -> None:
    store = postgres.create()

    with pytest.raises(BatchRejectedError) as refused:
        append(store, decisions(2), change=lambda batch: batch.leaves.reverse())

    shown = "".join(traceback.format_exception(refused.value))
    assert "SQLSTATE 23514" in shown
    assert "Failing row" not in shown
    assert b"CDSLOG1".hex() not in shown
