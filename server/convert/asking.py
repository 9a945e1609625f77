"""Requests as bytes: the way back of `server.convert.requests`, for faces that ask on their caller's behalf."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp

from server.convert.messages import enum_number
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.pb.eligibility.v1 import patient_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from google.protobuf.descriptor import FieldDescriptor

_PROVENANCE = "fact_provenance"


def write_fhir_request(
    *,
    content: bytes,
    patient_id: str,
    facts: Mapping[str, object],
    jurisdiction: str,
    purpose: str,
    request_id: str,
) -> bytes:
    """Write an EvaluateFhirRequest about the Patient of an id, who is also what the log knows the patient by.

    `facts` win over those of the record. Raises: as `write_history`, and KeyError for an unknown word.
    """
    return service_pb2.EvaluateFhirRequest(
        request_id=request_id,
        patient_reference=f"Patient/{patient_id}",
        jurisdiction=enum_number(service_pb2.Jurisdiction.DESCRIPTOR, jurisdiction),  # type: ignore[arg-type]
        purpose=enum_number(service_pb2.Purpose.DESCRIPTOR, purpose),  # type: ignore[arg-type]
        content=content,
        patient_id=patient_id,
        patient_history=write_history(facts),
    ).SerializeToString()


def write_feedback_request(*, card: str, outcome: str, reason: str, comment: str, moment: datetime) -> bytes:
    """Write a RecordFeedbackRequest; `reason` is a code, `comment` the clinician's words. Raises: KeyError."""
    time = Timestamp()
    time.FromDatetime(moment)
    return log_pb2.RecordFeedbackRequest(
        card_id=card,
        outcome=enum_number(log_pb2.FeedbackOutcome.DESCRIPTOR, outcome),  # type: ignore[arg-type]
        override_reason_code=reason,
        override_reason_text=comment,
        outcome_time=time,
    ).SerializeToString()


def write_history(facts: Mapping[str, object]) -> patient_pb2.PatientHistory:
    """Write facts as `engine.facts.read_facts` takes them: values, values with date and source, lists of records.

    A fact that is None stays out, as does one that the contract has no field for.

    Raises:
        KeyError: a value that its enum does not have.
        TypeError: a value of another type than the fact's.
        ValueError: a number that its field cannot hold.

    """
    history = patient_pb2.PatientHistory()
    for area in patient_pb2.PatientHistory.DESCRIPTOR.fields:
        if area.name != _PROVENANCE:
            _fill(getattr(history, area.name), facts, history.fact_provenance)
    return history


def _fill(message: Any, facts: Mapping[str, object], provenance: Any) -> None:  # noqa: ANN401 - a message and a map of messages
    for field in message.DESCRIPTOR.fields:
        value: Any = facts.get(field.name)
        if isinstance(value, dict):
            told = {key: str(value[key]) for key in ("date", "source") if value.get(key)}
            value = value["value"]
            if value is not None and told:
                provenance[field.name].CopyFrom(patient_pb2.Provenance(**told))
        if value is None:
            continue
        if field.message_type is None:
            setattr(message, field.name, _scalar(field, value))
            continue
        wrapper = getattr(message, field.name)
        wrapper.SetInParent()
        items = field.message_type.fields_by_name["items"]
        for item in value:
            if items.message_type is None:
                wrapper.items.append(_scalar(items, item))
            else:
                _fill(wrapper.items.add(), item, provenance)


def _scalar(field: FieldDescriptor, value: Any) -> Any:  # noqa: ANN401 - any field's value
    if field.enum_type is not None:
        return enum_number(field.enum_type, value)
    if field.cpp_type in {field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT}:
        return float(value)
    return value.isoformat() if isinstance(value, date) else value
