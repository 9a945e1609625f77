"""The log as servers use it: what is acknowledged, repeated, erased, held, exported, and refused at the start."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import apsw
import fhirkit
import pytest

from engine.errors import (
    EntryNotFoundError,
    ErasureRefusedError,
    IntegrityError,
    LogUnavailableError,
    RequestConflictError,
    ResponseErasedError,
)
from engine.ledger import erasure, fsck, offline
from engine.ledger.body import UNKNOWN_DECISION, Access, Correction, DecisionError, Feedback
from engine.ledger.checkpoint import SigningKey, open_note
from engine.ledger.entry import Kind, log_id
from engine.ledger.export import ExportError, write_export, write_fhir
from engine.ledger.log import Account, Blob
from engine.ledger.seal import CallerPart, MessagePart
from engine.ledger.signer import Signer, StateFile
from engine.ledger.sqlite.log import SqliteLog
from engine.ledger.store import UnsafeStoreError
from tests.conformance import ledger_world
from tests.conformance.ledger_world import (
    DIGESTS,
    FIRST_DECISION,
    KEY,
    LOG_ID,
    VKEY,
    World,
    account,
    check_receipt,
    check_whole,
    register,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from engine.ledger.log import DecisionLog

DAY = 24 * 3600
OFFICERS = tuple(
    CallerPart(name, "key_officer", "", "unix:", "", "/log/ShredPatient", 0, "OK")
    for name in ("officer-1", "officer-2")
)
CANARY = b"canary-7f3a91 severe recurrent"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def log(world: World) -> DecisionLog:
    opened = world.open()
    register(opened)
    return opened


def wanted(patient: bytes) -> erasure.ErasureRequest:
    return erasure.ErasureRequest(patient, "subject-request", "case 17")


def erase(log: DecisionLog, patient: bytes) -> erasure.Erased:
    asked = erasure.request(log, wanted(patient), OFFICERS[0])
    return erasure.approve(log, wanted(patient), asked.index, OFFICERS[1])


def with_canary(number: int, patient: bytes, request_id: str = "") -> Account:
    made = account(number, request_id, patient)
    return replace(made, content=replace(made.content, request=CANARY + b" %d" % number))


def found_in(folder: Path, text: bytes) -> list[str]:
    return [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() and text in file.read_bytes()]


def test_what_is_acknowledged_is_there_and_proven(log: DecisionLog) -> None:
    logged = [log.append(account(number)) for number in range(5)]

    assert [one.index for one in logged] == list(range(FIRST_DECISION, FIRST_DECISION + 5))
    assert [check_receipt(one)[0] for one in logged] == [one.index + 1 for one in logged]
    assert check_whole(log, {one.index: account(number) for number, one in enumerate(logged)}) == FIRST_DECISION + 5
    assert log.alarms() == ()
    assert log.acknowledged == log.written


def test_a_later_receipt_proves_the_same_entry(log: DecisionLog) -> None:
    first = log.append(account(1))
    for number in range(2, 10):
        log.append(account(number))
    again = log.receipt(first.index)

    assert check_receipt(replace(first, receipt=again))[0] >= first.index + 1
    with pytest.raises(EntryNotFoundError):
        log.receipt(10_000)


def test_c10_a_repeated_request_gets_the_first_answer(log: DecisionLog) -> None:
    first = log.append(account(1, "r-1"))
    again = log.append(account(1, "r-1"))

    assert (again.index, again.entry_id, again.response) == (first.index, first.entry_id, b"response 1")
    assert check_receipt(again)[0] >= first.index + 1
    assert check_whole(log) == first.index + 1


def test_c38_a_request_id_is_not_used_for_another_request(log: DecisionLog) -> None:
    first = log.append(account(1, "r-1"))
    with pytest.raises(RequestConflictError):
        log.append(account(2, "r-1"))

    assert check_whole(log) == first.index + 1


def test_c37_the_same_request_at_once_is_one_entry(log: DecisionLog) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: log.append(account(1, "r-1")), range(32)))

    assert len({one.index for one in answers}) == 1
    assert sum(one.response is None for one in answers) == 1
    assert check_whole(log) == FIRST_DECISION + 1


def test_c39_a_request_id_is_free_again_after_a_day_and_kept_over_a_restart(world: World, log: DecisionLog) -> None:
    first = log.append(account(1, "r-1"))
    world.close()
    log = world.open()
    assert log.append(account(1, "r-1")).index == first.index
    world.close()
    world.time.go(DAY + 60)
    log = world.open()
    fresh = log.append(account(1, "r-1"))

    assert (fresh.index > first.index, fresh.response) == (True, None)
    assert check_whole(log) == fresh.index + 1


def test_an_error_is_logged_and_its_request_may_be_tried_again(log: DecisionLog) -> None:
    refused = replace(account(1, "r-1", kind=Kind.DECISION_ERROR), body=DecisionError("no-rule-pack"))
    first, second = log.append(refused), log.append(refused)

    assert second.index == first.index + 1
    with log.reading() as snapshot:
        opened = log.open_entry(snapshot, first.index)
    assert (opened.header.kind, opened.content) == (Kind.DECISION_ERROR, refused.content)


def feedback(decision_index: int) -> Account:
    caller = CallerPart("ehr", "evaluator", "", "unix:", "card overridden", "/log/RecordFeedback", 0, "OK")
    return Account(
        Kind.FEEDBACK,
        MessagePart("/log/RecordFeedback", b"fb", b"ok"),
        caller,
        DIGESTS,
        b"patient 1",
        body=Feedback(decision_index),
    )


def test_c69_feedback_and_corrections_point_backward_only(log: DecisionLog) -> None:
    decision = log.append(account(1))
    given = log.append(feedback(decision.index))
    unknown = log.append(replace(feedback(UNKNOWN_DECISION), caller=replace(feedback(0).caller, request_id="other")))
    with pytest.raises(IntegrityError, match="not before it"):
        log.append(replace(feedback(10_000), caller=replace(feedback(0).caller, request_id="third")))
    forward = replace(feedback(0), kind=Kind.CORRECTION, body=Correction(99, "typo"))
    with pytest.raises(IntegrityError, match="not before it"):
        log.append(replace(forward, caller=replace(forward.caller, request_id="fourth")))

    assert [given.index, unknown.index] == [decision.index + 1, decision.index + 2]
    assert check_whole(log) == unknown.index + 1


def test_a_decision_that_names_an_unregistered_blob_is_refused_alone(log: DecisionLog) -> None:
    stray = replace(account(1), digests=replace(DIGESTS, schema=b"\x07" * 32))
    with pytest.raises(IntegrityError, match="never registered"):
        log.append(stray)

    assert log.append(account(2)).index == FIRST_DECISION
    assert log.alarms() == ()


def test_registering_twice_adds_the_activation_alone(log: DecisionLog) -> None:
    register(log)

    assert log.append(account(1)).index == FIRST_DECISION + 1


def test_every_blob_is_registered_before_it_is_named(log: DecisionLog) -> None:
    blob = Blob(5, b"a report", "r")  # type: ignore[arg-type] # kind 5 is a report
    told = log.tell(Access("list", 0, 1, 2), OFFICERS[0], [blob])

    with log.reading() as snapshot:
        assert snapshot.blob(blob.digest) is not None
        assert log.open_entry(snapshot, told.index).caller == OFFICERS[0]


def test_erasure_takes_two_officers(log: DecisionLog) -> None:
    log.append(account(1, patient=b"patient x"))
    asked = erasure.request(log, wanted(b"patient x"), OFFICERS[0])
    with pytest.raises(ErasureRefusedError, match="another one"):
        erasure.approve(log, wanted(b"patient x"), asked.index, OFFICERS[0])
    with pytest.raises(ErasureRefusedError, match="no open request"):
        erasure.approve(log, replace(wanted(b"patient x"), reason="other"), asked.index, OFFICERS[1])
    done = erasure.approve(log, wanted(b"patient x"), asked.index, OFFICERS[1])

    assert (done.keys, done.bodies) == (1, 1)
    with pytest.raises(EntryNotFoundError):
        erasure.request(log, wanted(b"patient x"), OFFICERS[0])
    assert check_whole(log) > done.tombstone_index


def test_an_erasure_request_is_good_for_a_day(world: World, log: DecisionLog) -> None:
    log.append(account(1, patient=b"patient x"))
    asked = erasure.request(log, wanted(b"patient x"), OFFICERS[0])
    world.time.go(DAY + 1)

    with pytest.raises(ErasureRefusedError, match="no open request"):
        erasure.approve(log, wanted(b"patient x"), asked.index, OFFICERS[1])


def test_c93_what_is_erased_is_in_no_file_and_proofs_still_hold(world: World, log: DecisionLog) -> None:
    kept = log.append(with_canary(1, b"patient y"))
    gone = [log.append(with_canary(number, b"patient x", f"r-{number}")) for number in range(2, 20)]
    with log.reading() as snapshot:
        before = {one.index: snapshot.sealed(one.index, 1) for one in gone}
        key_id = log.open_entry(snapshot, gone[0].index).header.key_id
    wrapped = log.keys.open_key(key_id)
    done = erase(log, b"patient x")

    assert done.bodies == len(gone)
    assert found_in(world.folder, CANARY) == []
    assert found_in(world.folder, wrapped or b"-") == []
    assert found_in(world.folder, key_id + b"\x01") == []  # the row of the key
    with log.reading() as snapshot:
        for one in gone:
            opened = log.open_entry(snapshot, one.index)
            assert (opened.content, opened.caller is None) == (None, False)
            assert snapshot.sealed(one.index, 1) is None
            assert before[one.index]
        assert log.open_entry(snapshot, kept.index).content is not None
    for one in gone:
        check_receipt(one)
        check_receipt(replace(one, receipt=log.receipt(one.index)))
    check_whole(log)


def test_c39_a_repeated_request_whose_answer_was_erased_is_told_so(log: DecisionLog) -> None:
    first = log.append(account(7, "again", b"patient z"))
    erase(log, b"patient z")
    for number in (7, 8):  # of the request itself nothing is kept to compare with
        with pytest.raises(ResponseErasedError) as caught:
            log.append(account(number, "again", b"patient z"))

    check_receipt(replace(first, receipt=caught.value.receipt))
    check_whole(log)


def test_c63_a_restored_key_file_does_not_undo_an_erasure(world: World, log: DecisionLog) -> None:
    logged = log.append(account(1, patient=b"patient x"))
    world.close()
    backup = world.folder / "keys.backup"
    shutil.copy(world.folder / "keys.db", backup)
    erase(world.open(), b"patient x")
    world.close()
    shutil.copy(backup, world.folder / "keys.db")
    backup.unlink()
    log = world.open()

    with log.reading() as snapshot:
        assert log.open_entry(snapshot, logged.index).content is None
    check_whole(log)


def test_c94_a_crash_after_the_tombstone_is_finished_at_the_next_start(
    world: World, log: DecisionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = log.append(account(1, patient=b"patient x"))
    asked = erasure.request(log, wanted(b"patient x"), OFFICERS[0])

    def crash(*_: object) -> None:
        raise LogUnavailableError("the process ends here")

    with monkeypatch.context() as patched:
        patched.setattr(log.keys, "destroy", crash)
        with pytest.raises(LogUnavailableError):
            erasure.approve(log, wanted(b"patient x"), asked.index, OFFICERS[1])
    world.close()
    log = world.open()

    with log.reading() as snapshot:
        assert log.open_entry(snapshot, logged.index).content is None
        assert snapshot.sealed(logged.index, 1) is None
    check_whole(log)


def test_c95_a_legal_hold_keeps_from_erasure_and_survives_a_restored_key_file(world: World, log: DecisionLog) -> None:
    log.append(account(1, patient=b"patient x"))
    world.close()
    backup = world.folder / "keys.backup"
    shutil.copy(world.folder / "keys.db", backup)
    log = world.open()
    erasure.hold(log, b"patient x", "court 3", OFFICERS[0], is_on=True)
    with pytest.raises(ErasureRefusedError, match="hold"):
        erasure.request(log, wanted(b"patient x"), OFFICERS[0])
    world.close()
    shutil.copy(backup, world.folder / "keys.db")
    log = world.open()
    with pytest.raises(ErasureRefusedError, match="hold"):
        erasure.request(log, wanted(b"patient x"), OFFICERS[0])
    erasure.hold(log, b"patient x", "court 3", OFFICERS[0], is_on=False)

    assert erase(log, b"patient x").keys == 1
    check_whole(log)


def test_retention_ends_by_the_same_way(world: World, log: DecisionLog) -> None:
    old = log.append(account(1, patient=b"old"))
    world.time.go(200 * DAY)
    world.close()
    log = world.open()
    fresh = log.append(account(2, patient=b"fresh"))
    before = world.time.now - 100 * DAY * 1_000_000
    aged = erasure.ErasureRequest(b"", erasure.RETENTION, "policy 6 years", before)
    asked = erasure.request(log, aged, OFFICERS[0])
    with pytest.raises(ErasureRefusedError, match="no open request"):
        erasure.approve(log, replace(aged, before=before + 1), asked.index, OFFICERS[1])
    done = erasure.approve(log, aged, asked.index, OFFICERS[1])

    assert (done.keys, done.bodies) == (1, 1)
    with log.reading() as snapshot:
        assert log.open_entry(snapshot, old.index).content is None
        assert log.open_entry(snapshot, fresh.index).content is not None
    check_whole(log)


def test_a_patient_gets_all_that_is_kept_of_them(log: DecisionLog) -> None:
    mine = [log.append(account(number, patient=b"me")).index for number in (1, 3, 5)]
    log.append(account(2, patient=b"you"))

    assert [opened.index for opened in erasure.subject_access(log, b"me")] == mine
    with pytest.raises(EntryNotFoundError):
        list(erasure.subject_access(log, b"nobody"))


def test_an_export_is_verified_without_any_of_our_code(log: DecisionLog, tmp_path: Path) -> None:
    logged = [log.append(account(number, patient=b"patient %d" % (number % 9))) for number in range(300)]
    erase(log, b"patient 3")
    note = log.checkpoint()
    folder, since, receipt = tmp_path / "export", tmp_path / "since", tmp_path / "receipt"
    since.write_bytes(note)
    receipt.write_bytes(logged[7].receipt)
    log.append(account(301))
    with log.reading() as snapshot:
        size = write_export(snapshot, folder, tree_size=open_note(note, VKEY).tree_size)
        with pytest.raises(ExportError, match="not empty"):
            write_export(snapshot, folder)

    assert size == open_note(note, VKEY).tree_size
    assert offline.main([str(folder), "--vkey", KEY.vkey, "--since", str(since), "--receipt", str(receipt)]) == 0
    other = SigningKey("log.example.org/tests/1", b"\x09" * 32)
    assert offline.main([str(folder), "--vkey", other.vkey]) == 3
    assert found_in(folder, b"request 7") == []


def test_entries_are_exported_as_fhir_without_opening_anything(log: DecisionLog, tmp_path: Path) -> None:
    log.append(account(1, patient=b"patient x"))
    log.tell(Access("list", 0, 1, 2), OFFICERS[0])  # with it the checkpoint over the decision is stored
    with log.reading() as snapshot:
        size = write_fhir(snapshot, tmp_path / "fhir")
    events = (tmp_path / "fhir" / "audit-events.ndjson").read_text().splitlines()
    sources = (tmp_path / "fhir" / "provenance.ndjson").read_text().splitlines()

    assert (len(events), len(sources)) == (size, 1)
    assert [fhirkit.validate(line) for line in events + sources] == [[]] * (size + 1)
    assert "sealed" in events[-1]


def test_c83_an_export_that_lacks_a_blob_is_incomplete(log: DecisionLog, tmp_path: Path) -> None:
    log.append(account(1))
    with log.reading() as snapshot:
        write_export(snapshot, tmp_path / "export")
    (tmp_path / "export" / "blob" / DIGESTS.schema.hex()).unlink()

    assert offline.main([str(tmp_path / "export"), "--vkey", KEY.vkey]) == 1


def test_c27_a_log_behind_its_signer_is_refused(
    world: World, log: DecisionLog, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log.append(account(1))
    world.close()
    older = world.copied(tmp_path_factory.mktemp("older") / "log")
    world.open().append(account(2))
    world.close()
    shutil.copy(world.state_path, older.state_path)

    with pytest.raises(IntegrityError, match="rolled back or lost data"):
        older.open()
    older.close()


def test_an_empty_log_with_a_signer_that_signed_is_refused(world: World, log: DecisionLog) -> None:
    log.append(account(1))
    world.close()
    for file in world.folder.glob("log.db*"):
        file.unlink()

    with pytest.raises(IntegrityError, match="lost or replaced"):
        world.open()


def test_a_forked_signer_is_refused(world: World, log: DecisionLog) -> None:
    size = log.append(account(1)).index + 1
    world.close()
    world.state_path.unlink()
    state = StateFile(world.state_path, LOG_ID)
    state.append(size, b"\x05" * 32)
    state.close()

    with pytest.raises(IntegrityError, match="not the one that was signed"):
        world.open()


@pytest.mark.parametrize("left", [None, b""])
def test_c27_a_log_whose_signer_has_no_memory_is_refused(world: World, log: DecisionLog, left: bytes | None) -> None:
    """With the memory gone, nothing would tell a log that was rolled back; it would be signed a second time."""
    log.append(account(1))
    world.close()
    world.state_path.unlink()
    if left is not None:
        world.state_path.write_bytes(left)

    for _ in range(2):
        with pytest.raises(IntegrityError, match="remembers only 0"):
            world.open()


def test_c8_a_log_that_was_only_begun_needs_no_memory_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first start was killed between the genesis and its checkpoint."""
    world = World(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("engine.ledger.recovery.check_edge", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            world.open()
    assert not world.state_path.read_bytes()

    with world.opened() as again:
        check_whole(again)


def test_c27_a_signer_that_forgets_while_the_log_is_in_work_stops_it(world: World, log: DecisionLog) -> None:
    log.append(account(1))
    signer = log._writer._signer  # noqa: SLF001 - its memory is to go
    assert isinstance(signer, Signer)
    signer._state.latest = None  # noqa: SLF001 - as a signer that was restarted without its file

    with pytest.raises(IntegrityError, match="the signer remembers 0 entries"):
        log.append(account(2))
    assert "integrity" in log.alarms()
    assert world.stops


def test_c62_a_log_whose_newest_keys_are_gone_is_refused(world: World, log: DecisionLog) -> None:
    index = log.append(account(1)).index
    world.close()
    (world.folder / "keys.db").unlink()

    for _ in range(2):
        with pytest.raises(IntegrityError, match=f"entry {index}: the key of what is sealed is gone"):
            world.open()


def test_a_log_of_which_the_newest_patient_was_erased_opens(world: World, log: DecisionLog) -> None:
    log.append(account(1, patient=b"erased"))
    erasure.erase(log, log.keys.key_ids_of(0, b"erased"), "r", "a", None)
    world.close()
    with world.opened() as again:
        check_whole(again)


def test_c66_a_log_does_not_pass_for_that_of_another_origin(
    world: World, log: DecisionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    del log
    world.close()
    world.state_path.unlink()
    stranger = SigningKey("log.example.org/tests/2", bytes(range(32)))
    monkeypatch.setattr(ledger_world, "KEY", stranger)
    monkeypatch.setattr(ledger_world, "LOG_ID", log_id(stranger.verifier.name, stranger.verifier.public_key))
    other = World(world.folder)
    with pytest.raises(IntegrityError, match="another log"):
        other.open()
    other.close()


def test_another_schema_version_is_refused(world: World, log: DecisionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    del log
    world.close()
    monkeypatch.setattr("engine.ledger.recovery.SCHEMA_VERSION", "2")

    with pytest.raises(UnsafeStoreError, match="migrate"):
        world.open()


def test_c42_a_gap_is_named(world: World, log: DecisionLog) -> None:
    indexes = [log.append(account(number)).index for number in range(5)]
    world.close()
    connection = apsw.Connection(str(world.path))
    connection.execute("DROP TRIGGER entry_d")
    connection.execute("DELETE FROM entry WHERE entry_index=?", (indexes[2],))
    connection.close()
    store = SqliteLog(world.path, is_writer=False)
    with store.reading() as snapshot:
        findings = fsck.verify(snapshot, KEY.vkey)
    store.close()

    assert f"entry {indexes[2]}" in {fault.place for fault in findings.faults if not fault.is_derived}
