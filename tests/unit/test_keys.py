"""`engine.ledger.keys`: one key a patient and quarter, found by those who may, and gone for good once destroyed."""

from __future__ import annotations

import hmac
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

import pytest

from engine.errors import ErasureRefusedError, IntegrityError, LogUnavailableError
from engine.ledger.keys import Caller, DataKeyRow, KeyStore, Subject, period
from engine.ledger.wrapping import FileWrappingKeys
from tests.unit.memory_rows import CountingKeys, MemoryRows

if TYPE_CHECKING:
    from pathlib import Path

    from engine.ledger.wrapping import WrappingKeys

Q1 = 2026 * 4
NOW = 1_767_225_600_000_000


RANDOM = Random(2026)


def a_store(rows: MemoryRows, wrapping: WrappingKeys, remembered: int = 100) -> KeyStore:
    return KeyStore(rows, wrapping, RANDOM.randbytes, lambda: NOW, remembered)


@pytest.fixture
def rows() -> MemoryRows:
    return MemoryRows()


@pytest.fixture
def wrapping(tmp_path: Path) -> CountingKeys:
    return CountingKeys(FileWrappingKeys.create(tmp_path / "wrapping.keys", RANDOM.randbytes))


@pytest.fixture
def keys(rows: MemoryRows, wrapping: CountingKeys) -> KeyStore:
    return a_store(rows, wrapping)


def test_a_patient_has_one_key_a_quarter(keys: KeyStore) -> None:
    first = keys.subject_key(0, b"patient-1", Q1)

    assert keys.subject_key(0, b"patient-1", Q1) == first
    assert (len(first.key_id), len(first.key)) == (16, 32)
    assert keys.open_key(first.key_id) == first.key


def test_c98_two_patients_tenants_or_quarters_never_share_a_key(keys: KeyStore) -> None:
    made = [
        *(keys.subject_key(tenant, patient, q) for tenant in (0, 1) for patient in (b"1", b"2") for q in (Q1, Q1 + 1)),
        *(keys.caller_key(tenant, q) for tenant in (0, 1) for q in (Q1, Q1 + 1)),
        *(keys.subject_key(0, patient, Q1) for patient in (None, None, b"", b"")),
    ]

    assert len({key.key_id for key in made}) == len({key.key for key in made}) == len(made) == 16


def test_tenant_and_patient_cannot_run_into_each_other(keys: KeyStore) -> None:
    assert keys.pseudonym(0, b"\0\0\0\1patient") != keys.pseudonym(1, b"patient")


def test_a_caller_key_is_found_again(keys: KeyStore) -> None:
    first = keys.caller_key(0, Q1)

    assert keys.caller_key(0, Q1) == first
    assert keys.open_key(first.key_id) == first.key


def test_a_key_without_a_patient_can_be_opened_but_not_looked_for(keys: KeyStore, rows: MemoryRows) -> None:
    key = keys.subject_key(0, None, Q1)

    assert keys.open_key(key.key_id) == key.key
    assert not rows.owners


def test_key_ids_follow_from_nothing(keys: KeyStore, rows: MemoryRows) -> None:
    first = keys.subject_key(0, b"patient-1", Q1)
    keys.destroy([first.key_id])
    second = keys.subject_key(0, b"patient-1", Q1)

    assert first.key_id != second.key_id
    assert first.key != second.key
    assert list(rows.keys) == [second.key_id]


def test_the_rows_hold_neither_keys_nor_patients(keys: KeyStore, rows: MemoryRows) -> None:
    key = keys.subject_key(0, b"patient-1", Q1)
    stored = b"".join(
        [
            *(part for row in rows.keys.values() for part in row if isinstance(part, bytes)),
            *(part for owner in rows.owners for part in owner if isinstance(part, bytes)),
            *(row.wrapped for row in rows.secrets.values()),
        ]
    )

    assert key.key_id in stored
    assert key.key not in stored
    assert b"patient-1" not in stored
    assert key.key.hex() not in repr(key)


def test_rows_say_when_and_for_whom_a_key_was_made(keys: KeyStore, rows: MemoryRows, wrapping: CountingKeys) -> None:
    patient, caller = keys.subject_key(0, b"patient-1", Q1), keys.caller_key(5, Q1)

    assert rows.keys[patient.key_id][1:3] == (1, wrapping.active_id)
    assert rows.keys[caller.key_id][1:3] == (2, wrapping.active_id)
    assert {row.created_at for row in rows.keys.values()} == {NOW}
    assert rows.owners == {
        Subject(keys.pseudonym(0, b"patient-1"), Q1): patient.key_id,
        Caller(5, Q1): caller.key_id,
    }
    assert rows.wrapping == {wrapping.active_id: ("file", True)}


def test_another_process_finds_the_same_keys(keys: KeyStore, rows: MemoryRows, wrapping: CountingKeys) -> None:
    other = a_store(rows, wrapping)
    key = keys.subject_key(0, b"patient-1", Q1)

    assert other.subject_key(0, b"patient-1", Q1) == key
    assert other.request_macs(0, "/m", "id", b"request") == keys.request_macs(0, "/m", "id", b"request")


def test_all_who_ask_first_at_once_get_the_key_that_won(rows: MemoryRows, wrapping: CountingKeys) -> None:
    stores = [a_store(rows, wrapping) for _ in range(4)]
    for store in stores:
        store.pseudonym(0, b"")  # the secret is there, so that only the key is raced for
    rows.before_adding = threading.Barrier(len(stores), timeout=20).wait
    found = []
    threads = [
        threading.Thread(target=lambda store=store: found.append(store.subject_key(0, b"patient-1", Q1)))
        for store in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(found) == len(stores)
    assert len(set(found)) == len(rows.keys) == 1


def test_all_who_need_a_secret_first_at_once_use_the_one_that_won(rows: MemoryRows, wrapping: CountingKeys) -> None:
    stores = [a_store(rows, wrapping) for _ in range(4)]
    rows.before_adding = threading.Barrier(len(stores), timeout=20).wait
    found = []
    threads = [
        threading.Thread(target=lambda store=store: found.append(store.pseudonym(0, b"patient-1"))) for store in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert len(found) == len(stores)
    assert len(set(found)) == 1


def test_the_keys_of_a_patient_are_found_by_quarter(keys: KeyStore) -> None:
    made = [keys.subject_key(0, b"patient-1", q).key_id for q in (Q1 + 1, Q1, Q1 + 2)]
    keys.subject_key(0, b"patient-2", Q1)
    keys.subject_key(1, b"patient-1", Q1)

    assert keys.key_ids_of(0, b"patient-1") == [made[1], made[0], made[2]]
    assert keys.key_ids_of(0, b"nobody") == []


def test_macs_are_those_of_the_format(keys: KeyStore, rows: MemoryRows, wrapping: CountingKeys) -> None:
    macs = keys.request_macs(7, "/service/Method", "request-1", b"bytes")
    pseudonym = keys.pseudonym(7, b"patient-1")
    secrets = {name: wrapping.unwrap(row.wrapping_key_id, row.wrapped) for name, row in rows.secrets.items()}

    assert set(secrets) == {"pseudonym", "idempotency"}
    assert pseudonym == hmac.digest(secrets["pseudonym"], b"\0\0\0\7patient-1", "sha256")
    assert macs == (
        hmac.digest(secrets["idempotency"], b"k\0\0\0\7/service/Method\0request-1", "sha256"),
        hmac.digest(secrets["idempotency"], b"rbytes", "sha256"),
    )


def test_a_destroyed_key_is_gone(keys: KeyStore, rows: MemoryRows) -> None:
    gone, caller = keys.subject_key(0, b"patient-1", Q1), keys.caller_key(0, Q1)
    kept = keys.subject_key(0, b"patient-1", Q1 + 1)

    keys.destroy([gone.key_id, caller.key_id])
    keys.destroy([gone.key_id, bytes(16)])

    assert keys.open_key(gone.key_id) is keys.open_key(caller.key_id) is keys.open_key(bytes(16)) is None
    assert keys.open_key(kept.key_id) == kept.key
    assert keys.key_ids_of(0, b"patient-1") == [kept.key_id]
    assert set(rows.owners.values()) == {kept.key_id}


def test_a_key_that_another_process_destroyed_is_not_used_from_memory(
    keys: KeyStore, rows: MemoryRows, wrapping: CountingKeys
) -> None:
    gone = keys.subject_key(0, b"patient-1", Q1)

    a_store(rows, wrapping).destroy([gone.key_id])

    assert keys.open_key(gone.key_id) is None
    assert keys.subject_key(0, b"patient-1", Q1).key_id != gone.key_id


def is_remembered(keys: KeyStore, rows: MemoryRows, wrapping: CountingKeys, row: DataKeyRow) -> bool:
    """Put a row back behind the store's back, and see whether opening it needs the wrapping key."""
    rows.keys[row.key_id] = row
    before = wrapping.unwrapped[row.wrapped]
    keys.open_key(row.key_id)
    return wrapping.unwrapped[row.wrapped] == before


def test_destroying_forgets_what_was_unwrapped(keys: KeyStore, rows: MemoryRows, wrapping: CountingKeys) -> None:
    row = rows.keys[keys.subject_key(0, b"patient-1", Q1).key_id]
    assert is_remembered(keys, rows, wrapping, row)

    keys.destroy([row.key_id])

    assert not is_remembered(keys, rows, wrapping, row)


def test_a_key_that_is_destroyed_while_it_is_opened_is_not_remembered(
    keys: KeyStore, rows: MemoryRows, wrapping: CountingKeys
) -> None:
    row = rows.keys[a_store(rows, wrapping).subject_key(0, b"patient-1", Q1).key_id]
    wrapping.before_unwrapping = lambda: keys.destroy([row.key_id])
    keys.open_key(row.key_id)
    wrapping.before_unwrapping = lambda: None

    assert not is_remembered(keys, rows, wrapping, row)


def test_few_keys_are_remembered(rows: MemoryRows, wrapping: CountingKeys) -> None:
    keys = a_store(rows, wrapping, remembered=2)
    made = [rows.keys[keys.subject_key(0, patient, Q1).key_id] for patient in (b"1", b"2")]
    keys.open_key(made[0].key_id)
    made.append(rows.keys[keys.subject_key(0, b"3", Q1).key_id])

    assert is_remembered(keys, rows, wrapping, made[0])
    assert is_remembered(keys, rows, wrapping, made[2])
    assert not is_remembered(keys, rows, wrapping, made[1])


def test_a_hold_keeps_every_key_that_was_to_go_with_it(keys: KeyStore) -> None:
    held, free = (keys.subject_key(0, b"patient-1", q) for q in (Q1, Q1 + 1))
    keys.hold([held.key_id, bytes(16)], 12)

    for refused in (keys.destroy, keys.refuse_held):
        with pytest.raises(ErasureRefusedError, match="a legal hold is on 1 of 2 keys: lift it first"):
            refused([held.key_id, free.key_id])
    assert keys.open_key(free.key_id) == free.key
    keys.refuse_held([free.key_id, bytes(16)])

    keys.hold([held.key_id], None)
    keys.refuse_held([held.key_id, free.key_id])
    keys.destroy([held.key_id, free.key_id])
    assert keys.key_ids_of(0, b"patient-1") == []


def test_retention_ends_for_old_patient_keys_that_are_not_held(keys: KeyStore, rows: MemoryRows) -> None:
    old, held, new = (keys.subject_key(0, patient, Q1).key_id for patient in (b"1", b"2", None))
    keys.caller_key(0, Q1)
    keys.hold([held], 12)
    rows.keys[new] = rows.keys[new]._replace(created_at=NOW + 1)

    assert keys.patient_keys_before(NOW) == []
    assert keys.patient_keys_before(NOW + 1) == [old]


def test_a_second_person_uses_up_the_request_of_the_first(keys: KeyStore) -> None:
    keys.request_erasure(20, b"erase patient-1", NOW + 10)
    keys.approve_erasure(20, b"erase patient-1", NOW + 9)

    with pytest.raises(ErasureRefusedError, match="no open request of entry 20"):
        keys.approve_erasure(20, b"erase patient-1", NOW + 9)


@pytest.mark.parametrize(
    ("index", "request_bytes", "now"),
    [(21, b"erase patient-1", NOW), (20, b"erase patient-2", NOW), (20, b"erase patient-1", NOW + 10)],
)
def test_only_the_same_request_in_time_is_approved(
    keys: KeyStore, rows: MemoryRows, index: int, request_bytes: bytes, now: int
) -> None:
    keys.request_erasure(20, b"erase patient-1", NOW + 10)

    with pytest.raises(ErasureRefusedError):
        keys.approve_erasure(index, request_bytes, now)
    assert bool(rows.requests) is (now == NOW)


def opened(rows: MemoryRows, wrapping: WrappingKeys) -> dict[bytes, bytes | None]:
    store = a_store(rows, wrapping)
    return {key_id: store.open_key(key_id) for key_id in rows.keys}


@pytest.mark.parametrize("writes", range(8))
def test_c99_a_rotation_that_crashes_anywhere_leaves_every_key_open_and_is_resumed(
    keys: KeyStore, rows: MemoryRows, wrapping: CountingKeys, tmp_path: Path, writes: int
) -> None:
    made = {key.key_id: key.key for key in (keys.subject_key(0, bytes([n]), Q1) for n in range(4))}
    made |= {key.key_id: key.key for key in (keys.caller_key(0, Q1),)}
    macs, pseudonym = keys.request_macs(0, "/m", "id", b"request"), keys.pseudonym(0, b"\0")
    first_id = wrapping.active_id
    second_id = wrapping.keys.rotate(RANDOM.randbytes)

    rows.crash_after = writes
    with pytest.raises(LogUnavailableError, match="the key store cannot be used"):
        keys.rewrap_all()
    rows.crash_after = None
    after_crash = FileWrappingKeys.open(tmp_path / "wrapping.keys")
    wrapped_by = Counter(row.wrapping_key_id for row in rows.keys.values())
    assert opened(rows, after_crash) == made
    assert wrapped_by[second_id] == max(0, writes - 2)

    progress: list[tuple[int, int]] = []
    resumed = a_store(rows, after_crash)
    count = resumed.rewrap_all(lambda done, of: progress.append((done, of)))
    assert count == wrapped_by[first_id]
    assert progress == [(n + 1, count) for n in range(count)]
    assert rows.wrapping == {second_id: ("file", True)}
    assert {row.wrapping_key_id for row in rows.keys.values()} == {second_id}
    assert {row.wrapping_key_id for row in rows.secrets.values()} == {second_id}

    after_crash.forget(first_id)
    assert opened(rows, FileWrappingKeys.open(tmp_path / "wrapping.keys")) == made
    reopened = a_store(rows, after_crash)
    assert (reopened.request_macs(0, "/m", "id", b"request"), reopened.pseudonym(0, b"\0")) == (macs, pseudonym)


def test_c99_both_wrapping_keys_are_usable_during_a_rotation(
    keys: KeyStore, rows: MemoryRows, wrapping: CountingKeys
) -> None:
    made = {key.key_id: key.key for key in (keys.subject_key(0, bytes([n]), Q1) for n in range(3))}
    wrapping.keys.rotate(RANDOM.randbytes)
    seen = []

    def look(done: int, _all: int) -> None:
        seen.append(opened(rows, wrapping) == made)
        new = keys.subject_key(0, b"new" + bytes([done]), Q1)
        made[new.key_id] = new.key

    assert keys.rewrap_all(look) == 3
    assert seen == [True] * 3
    assert opened(rows, wrapping) == made


def test_a_rotation_during_a_rotation_ends_with_the_last_key(
    keys: KeyStore, rows: MemoryRows, wrapping: CountingKeys
) -> None:
    for n in range(3):
        keys.subject_key(0, bytes([n]), Q1)
    wrapping.keys.rotate(RANDOM.randbytes)

    keys.rewrap_all(lambda done, _all: wrapping.keys.rotate(RANDOM.randbytes) if done == 2 else None)

    assert {row.wrapping_key_id for row in rows.keys.values()} == {wrapping.active_id}


def test_a_key_destroyed_during_a_rotation_stays_destroyed(
    keys: KeyStore, rows: MemoryRows, wrapping: CountingKeys
) -> None:
    first, second = (keys.subject_key(0, bytes([n]), Q1).key_id for n in range(2))
    wrapping.keys.rotate(RANDOM.randbytes)

    keys.rewrap_all(lambda _done, _all: keys.destroy([second]))

    assert set(rows.keys) == {first}


def test_c100_a_key_store_that_is_down_refuses_everything(keys: KeyStore, rows: MemoryRows) -> None:
    key = keys.subject_key(0, b"patient-1", Q1)
    keys.caller_key(0, Q1)

    for fault in (ConnectionRefusedError(111, "Connection refused"), TimeoutError(), LogUnavailableError("locked")):
        rows.fault = fault
        for call in (
            lambda: keys.subject_key(0, b"patient-1", Q1),
            lambda: keys.subject_key(0, None, Q1),
            lambda: keys.caller_key(0, Q1),
            lambda: keys.open_key(key.key_id),
            lambda: keys.key_ids_of(0, b"patient-1"),
            lambda: keys.destroy([key.key_id]),
            lambda: keys.hold([key.key_id], 1),
            keys.rewrap_all,
        ):
            with pytest.raises(LogUnavailableError):
                call()

    rows.fault = None
    assert keys.subject_key(0, b"patient-1", Q1) == key


def test_c100_wrapping_keys_that_are_down_refuse_new_keys(
    keys: KeyStore, rows: MemoryRows, wrapping: CountingKeys
) -> None:
    known = keys.subject_key(0, b"patient-1", Q1)
    wrapping.fault = ConnectionRefusedError(111, "Connection refused")

    with pytest.raises(LogUnavailableError, match="the key store cannot be used: Connection refused"):
        keys.subject_key(0, b"patient-2", Q1)
    with pytest.raises(LogUnavailableError):
        a_store(rows, wrapping).open_key(known.key_id)
    assert set(rows.keys) == {known.key_id}


def test_a_row_that_was_altered_is_an_integrity_fault(keys: KeyStore, rows: MemoryRows, wrapping: CountingKeys) -> None:
    key = keys.subject_key(0, b"patient-1", Q1)
    row = rows.keys[key.key_id]
    fresh = a_store(rows, wrapping)

    for wrapped in (row.wrapped[:-1] + b"\0", wrapping.keys.wrap(b"short")[1], b""):
        rows.keys[key.key_id] = row._replace(wrapped=wrapped)
        with pytest.raises(IntegrityError, match="key store: "):
            fresh.open_key(key.key_id)
    rows.keys[key.key_id] = row._replace(part=2)
    with pytest.raises(IntegrityError, match="key store: "):
        keys.subject_key(0, b"patient-1", Q1)


def test_closing_closes_the_rows(keys: KeyStore, rows: MemoryRows) -> None:
    keys.subject_key(0, b"patient-1", Q1)
    keys.close()

    assert rows.is_closed


@pytest.mark.parametrize(
    ("moment", "quarter"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), 2026 * 4),
        (datetime(2026, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC), 2026 * 4),
        (datetime(2026, 4, 1, tzinfo=UTC), 2026 * 4 + 1),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), 2026 * 4 + 3),
        (datetime(2027, 1, 1, tzinfo=UTC), 2027 * 4),
        (datetime(1970, 1, 1, tzinfo=UTC), 1970 * 4),
        (datetime(2040, 2, 29, tzinfo=UTC), 2040 * 4),
    ],
)
def test_a_period_is_a_quarter_in_utc(moment: datetime, quarter: int) -> None:
    assert period((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)) == quarter
