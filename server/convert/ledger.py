"""Entries of the decision log as messages, and receipts on answers."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp

from engine.ledger import entry
from engine.ledger.checkpoint import parse_checkpoint, parse_receipt
from engine.ledger.entry import NO_PART, ZERO_DIGEST, ZERO_ID
from engine.ledger.seal import CallerPart, MessagePart, PatientPart
from server.convert.messages import parse
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.pb.eligibility.v1 import receipt_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message

    from engine.ledger.log import Opened
    from server.evaluation import Call

MICROSECONDS = 1_000_000
_END_OF_TIME = 2**63 - 1
EVALUATE = "/eligibility.v1.EligibilityService/Evaluate"
EVALUATE_STREAM = "/eligibility.v1.EligibilityService/EvaluateStream"
EVALUATE_FHIR = "/eligibility.v1.EligibilityService/EvaluateFhir"


def subject(patient_reference: str) -> bytes | None:
    """Give what the log knows a patient by; None where the caller named nobody."""
    return patient_reference.encode() or None


def subject_of(method: str, request: bytes) -> bytes | None:
    """Give what a logged request named as its patient.

    Raises:
        Fault: the bytes are no request of the method.
        KeyError: a method whose requests name no patient.

    """
    if method == EVALUATE_STREAM:
        return subject(parse(service_pb2.EvaluateStreamRequest, request).request.patient_reference)
    if method == EVALUATE_FHIR:
        return subject(fhir_reference(parse(service_pb2.EvaluateFhirRequest, request)))
    return subject(parse(_NAMING[method], request).patient_reference)


def fhir_reference(request: service_pb2.EvaluateFhirRequest) -> str:
    """Give the reference to the patient of an EvaluateFhir request: its own, or that of the resource that it names."""
    return request.patient_reference or (f"Patient/{request.patient_id}" if request.patient_id else "")


RESPONSES: Mapping[
    str,
    type[service_pb2.EvaluateResponse | service_pb2.EvaluateStreamResponse | service_pb2.EvaluateFhirResponse],
] = {
    EVALUATE: service_pb2.EvaluateResponse,
    EVALUATE_STREAM: service_pb2.EvaluateStreamResponse,
    EVALUATE_FHIR: service_pb2.EvaluateFhirResponse,
}
"""What answers a request for a decision, by method."""

_NAMING: Mapping[str, type[service_pb2.EvaluateRequest]] = {EVALUATE: service_pb2.EvaluateRequest}


def write_caller(call: Call, *, purpose: str = "", request_id: str = "", status: str = "") -> CallerPart:
    """Say who made a call, for the caller part of its entry; `status` is the name of a gRPC status, or empty."""
    return CallerPart(
        caller=call.caller,
        role=",".join(sorted(call.roles)),
        purpose=purpose,
        peer=call.peer,
        request_id=request_id,
        method=call.method,
        deadline_ms=call.deadline_ms,
        status=status,
    )


def write_receipt(origin: str, index: int, proof: bytes) -> receipt_pb2.LogReceipt:
    """Write a receipt; `proof` is a tlog-proof, empty while no checkpoint covers the entry. Raises: IntegrityError."""
    level = receipt_pb2.ACKNOWLEDGED_LEVEL_SIGNED if proof else receipt_pb2.ACKNOWLEDGED_LEVEL_DURABLE
    tree_size = tree_size_of(parse_receipt(proof).checkpoint) if proof else 0
    return receipt_pb2.LogReceipt(origin=origin, index=index, tree_size=tree_size, proof=proof, acknowledged=level)


def tree_size_of(note: bytes) -> int:
    """Read the size of the tree from a note of our own; no signature is looked at. Raises: IntegrityError."""
    return parse_checkpoint(note.partition(b"\n\n")[0].decode() + "\n").tree_size


_POSITION_ZERO = bytes([service_pb2.EvaluateStreamResponse.POSITION_FIELD_NUMBER << 3, 0])


def with_receipt(
    response: bytes, kind: Callable[..., Message], receipt: receipt_pb2.LogReceipt, position: int | None = None
) -> bytes:
    """Add a receipt to the bytes that were logged as the response.

    INVARIANT: those bytes come first and stay as they are. A message of the same kind that holds the receipt alone
    follows them, and a reader merges the two. `position` is the place of a request on this stream, where the logged
    response names that of its first one: it follows too, also where it is 0, which no library would write.
    """
    given = response + kind(receipt=receipt).SerializeToString()
    if position is None:
        return given
    return given + (kind(position=position).SerializeToString() or _POSITION_ZERO)


def write_entry(leaf_data: bytes) -> log_pb2.LogEntry:
    """Show the header of an entry. Raises: IntegrityError."""
    header = entry.decode(leaf_data)
    flags = [number for number in log_pb2.ClockFlag.values() if header.clock_flags & number]
    message = log_pb2.LogEntry(
        leaf_data=leaf_data,
        index=header.index,
        kind=log_pb2.EntryKind.ValueType(header.kind),
        logged_at=write_time(header.logged_at),
        clock_flags=[log_pb2.ClockFlag.ValueType(number) for number in flags],
        entry_id=entry.entry_uuid(header.entry_id),
        tenant=header.tenant,
        batch_id=entry.entry_uuid(header.batch_id),
        pack_digest=_hex(header.pack_digest),
        engine_digest=_hex(header.engine_digest),
        schema_digest=_hex(header.schema_digest),
        reference_digest=_hex(header.reference_digest),
        body=body_fields(leaf_data),
    )
    if header.patient != NO_PART:
        message.patient_part.CopyFrom(_part(header.patient, header.key_id))
    if header.caller != NO_PART:
        message.caller_part.CopyFrom(_part(header.caller, header.caller_key_id))
    return message


def body_fields(leaf_data: bytes) -> dict[str, str]:
    """Give the public fields of an entry's kind as texts, in the order of the log's format. Raises: IntegrityError."""
    body = entry.read_body(entry.decode(leaf_data))
    return {} if body is None else {name: _text(getattr(body, name)) for name in body.__slots__}


def write_opened(opened: Opened) -> log_pb2.OpenedEntry:
    """Show what an entry seals."""
    message = log_pb2.OpenedEntry(state=_state(opened))
    if opened.caller is not None:
        message.caller.CopyFrom(_caller(opened.caller))
    match opened.content:
        case PatientPart() as part:
            message.decision.CopyFrom(_decision(part))
        case MessagePart() as part:
            message.message.CopyFrom(
                log_pb2.LoggedMessage(method=part.method, request=part.request, response=part.response)
            )
    return message


def write_time(microseconds: int) -> Timestamp:
    """Write µs since 1970 UTC, as the log counts time."""
    seconds, rest = divmod(microseconds, MICROSECONDS)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def read_time(message: Timestamp) -> int:
    """Read a time as the log counts it; what is finer than a microsecond, or beyond what it can count, is cut off."""
    return max(-_END_OF_TIME, min(_END_OF_TIME, message.seconds * MICROSECONDS + message.nanos // 1000))


def is_time(message: Timestamp) -> bool:
    """Say whether a time is one that the type allows: between the years 1 and 9999."""
    try:
        message.ToJsonString()
    except ValueError:
        return False
    return True


def read_card(text: str) -> bytes:
    """Give the id of the decision's entry, from the id of the decision or of one of its cards.

    Raises:
        EntryNotFoundError: it is no id that the log gives.

    """
    card = entry.entry_id_of(text)
    return card[:15] + bytes([card[15] & 0xF0])


def _state(opened: Opened) -> log_pb2.PatientPartState.ValueType:
    if opened.content is not None:
        return log_pb2.PATIENT_PART_STATE_OPENED
    if opened.header.patient == NO_PART:
        return log_pb2.PATIENT_PART_STATE_NONE
    return log_pb2.PATIENT_PART_STATE_ERASED


def _caller(part: CallerPart) -> log_pb2.LoggedCaller:
    return log_pb2.LoggedCaller(
        name=part.caller,
        roles=filter(None, part.role.split(",")),
        purpose=part.purpose,
        peer=part.peer,
        request_id=part.request_id,
        method=part.method,
        deadline_ms=part.deadline_ms,
        status=part.status,
    )


def _decision(part: PatientPart) -> log_pb2.LoggedDecision:
    half = len(part.digests) // 2
    return log_pb2.LoggedDecision(
        method=part.method,
        request=part.request,
        facts=part.facts,
        context=part.context.encode(),
        parameters=part.parameters,
        decision=part.decision,
        interpret_digest=part.digests[:half],
        chain_digest=part.digests[half:],
        explanation=part.explanation,
        response=part.response,
    )


def _part(part: entry.Part, key_id: bytes) -> log_pb2.SealedPart:
    return log_pb2.SealedPart(
        key_id=key_id.hex(), length=part.length, sha256=part.sha256.hex(), commitment=part.commitment.hex()
    )


def _hex(value: bytes) -> str:
    return "" if value in {ZERO_ID, ZERO_DIGEST} else value.hex()


def _text(value: object) -> str:
    match value:
        case bytes():
            return value.hex()
        case tuple():
            return ",".join(map(_text, value))
        case IntEnum():
            return value.name.lower()
        case bool():
            return str(value).lower()
    return str(value)
