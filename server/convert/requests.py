"""Requests: the bytes of an EvaluateRequest, alone or on a stream, or of an EvaluateFhirRequest, in our words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from google.protobuf.message import Message

from engine.errors import Violation
from engine.facts import DATE
from server.convert.ledger import fhir_reference
from server.convert.messages import enum_text, parse, refuse_unknown
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.pb.eligibility.v1 import explanation_pb2, patient_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.descriptor import FieldDescriptor

Asking: TypeAlias = service_pb2.EvaluateRequest | service_pb2.EvaluateFhirRequest

HISTORY = "patient_history"
MAX_REQUEST_ID = 128
MAX_TEXT = 256

_PROVENANCE = "fact_provenance"


@dataclass(frozen=True, slots=True)
class Request:
    """A request in the engine's words. `raw` is what `engine.facts.read_facts` takes.

    `violations` holds what is already known to be wrong; the rest of the request is still there, so that a caller hears
    of everything at once.
    """

    request_id: str
    patient_reference: str
    jurisdiction: str
    payer_id: str | None
    as_of: date | None
    purpose: str
    is_full_view: bool
    raw: Mapping[str, object]
    violations: tuple[Violation, ...]


@dataclass(frozen=True, slots=True)
class FhirRequest:
    """A request with a FHIR record: its content as it came, and the id of the patient to read, if it names one."""

    request: Request
    content: bytes
    patient_id: str | None


def read_request(data: bytes, max_trials: int, *, is_streamed: bool) -> Request:
    """Translate a request. What is wrong with its fields becomes a violation.

    Paths begin at the EvaluateRequest, also on a stream.

    Raises:
        Fault: bytes that are no message.

    """
    whole: Message
    if is_streamed:
        whole = parse(service_pb2.EvaluateStreamRequest, data)
        message = whole.request
    else:
        whole = message = parse(service_pb2.EvaluateRequest, data)
    violations = [Violation(v.path.removeprefix("request."), v.code, v.message) for v in refuse_unknown(whole)]
    if is_streamed and not message.request_id:
        violations.append(Violation("request_id", "request/missing", "is required on a stream; it keys the answer"))
    violations += _too_long(message, "request_id", "patient_reference", "payer_id")
    return _request(message, message.patient_reference, max_trials, violations)


def read_fhir_request(data: bytes, max_trials: int) -> FhirRequest:
    """Translate a request with a FHIR record, which stays as it is. Wrong fields become violations.

    Raises:
        Fault: bytes that are no message.

    """
    message = parse(service_pb2.EvaluateFhirRequest, data)
    violations = refuse_unknown(message)
    violations += _too_long(message, "request_id", "patient_reference", "payer_id", "patient_id")
    if not message.content:
        violations.append(Violation("content", "request/missing", "is required; it holds the FHIR R4 record, as JSON"))
    request = _request(message, fhir_reference(message), max_trials, violations)
    return FhirRequest(request, message.content, message.patient_id or None)


def _too_long(message: Asking, *names: str) -> list[Violation]:
    limits = {"request_id": MAX_REQUEST_ID}
    return [
        Violation(name, "request/too-long", f"has more than {limits.get(name, MAX_TEXT)} characters")
        for name in names
        if len(getattr(message, name)) > limits.get(name, MAX_TEXT)
    ]


def _request(message: Asking, reference: str, max_trials: int, violations: list[Violation]) -> Request:
    jurisdiction = enum_text(service_pb2.Jurisdiction.DESCRIPTOR, message.jurisdiction)
    if jurisdiction is None and not any(v.path == "jurisdiction" for v in violations):
        violations.append(Violation("jurisdiction", "request/missing", "is required; it names whose rules are asked"))
    as_of = _as_of(message.as_of, violations)
    raw = _raw_facts(message.patient_history, max_trials, violations)
    return Request(
        request_id=message.request_id,
        patient_reference=reference,
        jurisdiction=(jurisdiction or "").upper(),
        payer_id=message.payer_id or None,
        as_of=as_of,
        purpose=enum_text(service_pb2.Purpose.DESCRIPTOR, message.purpose) or "unspecified",
        is_full_view=message.view == explanation_pb2.EXPLANATION_VIEW_FULL,
        raw=raw,
        violations=tuple(violations),
    )


def path_of(fact: str) -> str:
    """Give the caller's own path to a fact; the history itself for a name that the contract does not have.

    `NAME.date` and `NAME.source` stand for what was observed beside a value.
    """
    name, _, part = fact.partition(".")
    if part:
        return f"{HISTORY}.{_PROVENANCE}[{name}].{part}"
    return _paths().get(name, HISTORY)


def request_id_of(data: bytes) -> str:
    """Give the request_id of an EvaluateStreamRequest; empty if it cannot be read. Raises: Fault."""
    return parse(service_pb2.EvaluateStreamRequest, data).request.request_id[:MAX_REQUEST_ID]


def _as_of(text: str, violations: list[Violation]) -> date | None:
    if not text:
        return None
    try:
        if DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    violations.append(Violation("as_of", "request/malformed-date", "must be a day that exists, written as YYYY-MM-DD"))
    return None


def _raw_facts(history: patient_pb2.PatientHistory, max_trials: int, violations: list[Violation]) -> dict[str, object]:
    raw: dict[str, object] = {}
    for area_field, area in history.ListFields():
        if area_field.name == _PROVENANCE:
            continue
        for field, value in area.ListFields():
            if _is_records(field) and len(value.items) > max_trials:
                message = f"holds more than {max_trials} records; send those of the current episode"
                violations.append(Violation(path_of(field.name), "request/too-many", message))
            elif (plain := _raw(field, value)) is not None:
                raw[field.name] = plain
    for name, provenance in sorted(history.fact_provenance.items()):
        if name in raw and not _has_records(name):
            raw[name] = {"value": raw[name], "date": provenance.date or None, "source": provenance.source}
        else:
            place = f"{HISTORY}.{_PROVENANCE}" + (f"[{name}]" if name in _paths() else "")
            reason = "names a fact that did not come, or a list of records, whose dates stand in the records"
            violations.append(Violation(place, "request/stray-provenance", reason))
    return raw


def _raw(field: FieldDescriptor, value: Any) -> object:  # noqa: ANN401 - any field's value
    if field.message_type is not None:
        items = field.message_type.fields_by_name["items"]
        return [_raw_item(items, item) for item in value.items]
    if field.enum_type is not None:
        return enum_text(field.enum_type, value)
    if isinstance(value, float) and math.isfinite(value):
        return Decimal(repr(value))
    return value


def _raw_item(field: FieldDescriptor, item: Any) -> object:  # noqa: ANN401 - a record or an enum's number
    if isinstance(item, Message):
        pairs = ((inner.name, _raw(inner, value)) for inner, value in item.ListFields())
        return {name: value for name, value in pairs if value is not None}
    return enum_text(field.enum_type, item) or "unknown"


def _is_records(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and kind.fields_by_name["items"].message_type is not None


@cache
def _fields() -> Mapping[str, tuple[str, FieldDescriptor]]:
    areas = [f for f in patient_pb2.PatientHistory.DESCRIPTOR.fields if f.name != _PROVENANCE]
    return {field.name: (area.name, field) for area in areas if area.message_type for field in area.message_type.fields}


@cache
def _paths() -> Mapping[str, str]:
    return {
        name: f"{HISTORY}.{area}.{name}" + (".items" if _is_records(field) else "")
        for name, (area, field) in _fields().items()
    }


def _has_records(name: str) -> bool:
    return _is_records(_fields()[name][1])
