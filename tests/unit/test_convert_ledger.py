"""Entries of the log as messages, receipts on answers, and what a request names as its patient."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from engine.errors import EntryNotFoundError, IntegrityError
from engine.ledger import body as bodies
from engine.ledger import entry
from engine.ledger.checkpoint import Receipt, SigningKey, format_receipt, parse_receipt
from engine.ledger.entry import Header, Kind, Part
from engine.ledger.log import Opened
from engine.ledger.seal import CallerPart, Context, MessagePart, PatientPart
from server.convert.ledger import (
    EVALUATE,
    EVALUATE_STREAM,
    read_card,
    read_time,
    subject,
    subject_of,
    with_receipt,
    write_caller,
    write_entry,
    write_opened,
    write_receipt,
    write_time,
)
from server.evaluation import Call
from server.faults import Fault
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2
from server.pb.eligibility.v1 import decision_pb2, receipt_pb2
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2

ORIGIN = "convert.example.org/decisions/1"
LOG_ID = b"\x01" * 32
DECISION = Header(
    kind=Kind.DECISION,
    log_id=LOG_ID,
    index=7,
    logged_at=1_700_000_000_123_456,
    clock_flags=5,
    entry_id=bytes(range(15)) + b"\xf0",
    tenant=3,
    batch_id=b"\x0b" * 16,
    pack_digest=b"\xa1" * 32,
    engine_digest=b"\xa2" * 32,
    schema_digest=b"\xa3" * 32,
    reference_digest=b"\xa4" * 32,
    key_id=b"\xb1" * 16,
    caller_key_id=b"\xb2" * 16,
    seal_algorithm=1,
    patient=Part(300, b"\xc1" * 32, b"\xc2" * 32),
    caller=Part(284, b"\xc3" * 32, b"\xc4" * 32),
)
CALLER = CallerPart("ehr-1", "auditor,evaluator", "care", "ipv4:10.0.0.1:1", "r-1", EVALUATE, 250, "OK")
PATIENT = PatientPart(
    EVALUATE,
    b"request",
    b"{}",
    Context(date(2026, 1, 2), "UTC", (("decision_id", b"x"),)),
    b"{}",
    b"{}",
    b"\x01" * 32 + b"\x02" * 32,
    b"[]",
    b"response",
)


def test_a_header_is_shown_field_by_field_beside_its_own_bytes() -> None:
    leaf_data = entry.encode(DECISION)
    item = write_entry(leaf_data)

    assert item.leaf_data == leaf_data
    assert (item.index, item.kind, item.tenant) == (7, log_pb2.ENTRY_KIND_DECISION, 3)
    assert item.entry_id == "00010203-0405-0607-0809-0a0b0c0d0ef0"
    assert list(item.clock_flags) == [log_pb2.CLOCK_FLAG_REGRESSED, log_pb2.CLOCK_FLAG_LEAP]
    assert (item.pack_digest, item.reference_digest) == ("a1" * 32, "a4" * 32)
    assert item.patient_part == log_pb2.SealedPart(key_id="b1" * 16, length=300, sha256="c1" * 32, commitment="c2" * 32)
    assert item.caller_part.key_id == "b2" * 16
    assert not item.body
    assert read_time(item.logged_at) == DECISION.logged_at


@pytest.mark.parametrize(
    ("kind", "body", "shown"),
    [
        (Kind.GENESIS, bodies.Genesis("o", "v", b"\xff"), {"origin": "o", "vkey": "v", "old_checkpoint": "ff"}),
        (
            Kind.BLOB_REGISTERED,
            bodies.BlobRegistered(bodies.BlobKind.PACK_SET, b"\x09" * 32, "rules"),
            {"kind": "pack_set", "digest": "09" * 32, "label": "rules"},
        ),
        (
            Kind.TOMBSTONE,
            bodies.Tombstone((b"\x01" * 16, b"\x02" * 16), "gdpr", "case 1"),
            {"key_ids": f"{'01' * 16},{'02' * 16}", "reason": "gdpr", "authority": "case 1"},
        ),
        (
            Kind.LEGAL_HOLD,
            bodies.LegalHold(is_on=True, key_ids=(b"\x01" * 16,), authority="court"),
            {"is_on": "true", "key_ids": "01" * 16, "authority": "court"},
        ),
        (
            Kind.ACCESS,
            bodies.Access("list", 0, 2**64 - 1, 9),
            {"action": "list", "first": "0", "last": str(2**64 - 1), "tree_size": "9"},
        ),
    ],
)
def test_the_public_fields_of_a_kind_are_shown_as_text(kind: Kind, body: bodies.Body, shown: dict[str, str]) -> None:
    header = Header(kind=kind, log_id=LOG_ID, entry_id=b"\x01" * 16, body=bodies.write_body(body))
    item = write_entry(entry.encode(header))

    assert dict(item.body) == shown
    assert not item.HasField("patient_part")
    assert item.pack_digest == ""


def test_every_kind_of_the_log_has_its_number_on_the_wire() -> None:
    assert {kind.name: kind.value for kind in Kind} == {
        name.removeprefix("ENTRY_KIND_"): number for name, number in log_pb2.EntryKind.items() if number
    }


def test_bytes_that_are_no_header_are_an_integrity_error() -> None:
    with pytest.raises(IntegrityError):
        write_entry(entry.encode(DECISION)[:-1])


def test_an_opened_decision_is_shown_bit_for_bit() -> None:
    shown = write_opened(Opened(7, DECISION, b"", PATIENT, CALLER))

    assert shown.state == log_pb2.PATIENT_PART_STATE_OPENED
    assert (shown.caller.name, list(shown.caller.roles)) == ("ehr-1", ["auditor", "evaluator"])
    decision = shown.decision
    assert (decision.request, decision.response, decision.context) == (
        b"request",
        b"response",
        PATIENT.context.encode(),
    )
    assert (decision.interpret_digest, decision.chain_digest) == (b"\x01" * 32, b"\x02" * 32)


def test_an_erased_entry_shows_its_caller_and_nothing_of_the_patient() -> None:
    shown = write_opened(Opened(7, DECISION, b"", None, CALLER))

    assert shown.state == log_pb2.PATIENT_PART_STATE_ERASED
    assert shown.WhichOneof("content") is None
    assert shown.caller.request_id == "r-1"


def test_an_entry_without_a_patient_part_says_so() -> None:
    header = replace(DECISION, kind=Kind.ACCESS, patient=Part())
    assert write_opened(Opened(7, header, b"", None, CALLER)).state == log_pb2.PATIENT_PART_STATE_NONE


def test_feedback_is_shown_as_its_messages() -> None:
    shown = write_opened(Opened(7, DECISION, b"", MessagePart("/m", b"q", b"a"), None))
    assert shown.message == log_pb2.LoggedMessage(method="/m", request=b"q", response=b"a")
    assert not shown.HasField("caller")


def test_a_receipt_follows_the_logged_bytes_and_merges_into_the_answer() -> None:
    note = SigningKey(ORIGIN, b"\x07" * 32).sign_checkpoint(9, b"\x05" * 32)
    proof = format_receipt(Receipt(entry.encode(DECISION), 7, (b"\x01" * 32,), note))
    logged = service_pb2.EvaluateResponse(
        request_id="r-1", decision=decision_pb2.Decision(decision_id="d")
    ).SerializeToString()

    sent = with_receipt(logged, service_pb2.EvaluateResponse, write_receipt(ORIGIN, 7, proof))
    read = service_pb2.EvaluateResponse.FromString(sent)

    assert sent.startswith(logged)
    assert (read.request_id, read.decision.decision_id) == ("r-1", "d")
    assert (read.receipt.origin, read.receipt.index, read.receipt.tree_size) == (ORIGIN, 7, 9)
    assert read.receipt.acknowledged == receipt_pb2.ACKNOWLEDGED_LEVEL_SIGNED
    assert parse_receipt(read.receipt.proof).checkpoint == note


def test_a_receipt_on_a_stream_leaves_the_outcome_of_its_item_as_it_is() -> None:
    logged = service_pb2.EvaluateStreamResponse(
        request_id="r-1", position=4, decision=decision_pb2.Decision(decision_id="d")
    ).SerializeToString()
    sent = with_receipt(logged, service_pb2.EvaluateStreamResponse, write_receipt(ORIGIN, 7, b""))
    read = service_pb2.EvaluateStreamResponse.FromString(sent)

    assert (read.WhichOneof("outcome"), read.position, read.decision.decision_id) == ("decision", 4, "d")
    assert read.receipt.acknowledged == receipt_pb2.ACKNOWLEDGED_LEVEL_DURABLE
    assert (read.receipt.proof, read.receipt.tree_size) == (b"", 0)


def test_the_patient_of_a_logged_request_is_found_by_its_method() -> None:
    request = service_pb2.EvaluateRequest(patient_reference="Patient/é")
    streamed = service_pb2.EvaluateStreamRequest(request=request)

    assert subject_of(EVALUATE, request.SerializeToString()) == "Patient/é".encode()
    assert subject_of(EVALUATE_STREAM, streamed.SerializeToString()) == subject("Patient/é")
    assert subject_of(EVALUATE, b"") is None
    with pytest.raises(Fault):
        subject_of(EVALUATE, b"\xff")


def test_the_methods_are_those_of_the_contract() -> None:
    service = service_pb2.DESCRIPTOR.services_by_name["EligibilityService"]
    names = {f"/{service.full_name}/{method.name}" for method in service.methods}
    assert {EVALUATE, EVALUATE_STREAM} <= names


def test_a_caller_is_written_with_its_roles_in_order() -> None:
    call = Call(EVALUATE, "ehr-1", frozenset({"evaluator", "auditor"}), "peer", 10)
    part = write_caller(call, purpose="care", request_id="r", status="OK")
    assert part == CallerPart("ehr-1", "auditor,evaluator", "care", "peer", "r", EVALUATE, 10, "OK")


@pytest.mark.parametrize("time", [0, 1, -1, 1_700_000_000_123_456, -1_500_000])
def test_times_come_back_as_they_were(time: int) -> None:
    assert read_time(write_time(time)) == time


def test_a_time_beyond_what_can_be_counted_is_the_last_that_can() -> None:
    assert read_time(Timestamp(seconds=2**62)) == 2**63 - 1
    assert read_time(Timestamp(seconds=-(2**62))) == -(2**63 - 1)


def test_a_card_leads_to_its_decision() -> None:
    decision = entry.entry_uuid(DECISION.entry_id)
    card = f"{decision[:-1]}9"
    assert read_card(decision) == read_card(card) == DECISION.entry_id


@pytest.mark.parametrize(
    "text", ["", "card", "0001020304050607 08090a0b0c0d0ef0", "00010203-0405-0607-0809-0A0B0C0D0EF0"]
)
def test_what_is_no_id_leads_nowhere(text: str) -> None:
    with pytest.raises(EntryNotFoundError):
        read_card(text)
