"""Answers: the engine's decision as a message."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from server.convert.messages import enum_number
from server.pb.eligibility.v1 import decision_pb2, explanation_pb2
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
    from google.protobuf.message import Message
    from google.rpc.status_pb2 import Status

    from engine.evaluator.decision import Citation, Decision
    from server.convert.requests import Request

_TRUTHS: Mapping[str, tuple[str, str]] = {
    "BarrierScope": ("patient", "visit"),
    "Bearing": ("background", "deciding"),
    "TriageStanding": ("settled", "provisional"),
    "EngineAgreement": ("not_compared", "agreed"),
}
"""Answers that the engine holds as bool and the wire as an enum: the value for False, the value for True."""


def write_response(
    decision: Decision, request: Request, *, decision_id: str, moment: datetime, time_zone: str, position: int | None
) -> bytes:
    """Write the response to a request: an EvaluateResponse, or an EvaluateStreamResponse where it has a position."""
    response: service_pb2.EvaluateResponse | service_pb2.EvaluateStreamResponse
    if position is None:
        response = service_pb2.EvaluateResponse(request_id=request.request_id)
    else:
        response = service_pb2.EvaluateStreamResponse(request_id=request.request_id, position=position)
    _write_all(decision, request, response.decision, decision_id, moment, time_zone)
    return response.SerializeToString()


def write_fhir_response(
    decision: Decision,
    request: Request,
    reading: service_pb2.FhirReading,
    *,
    decision_id: str,
    moment: datetime,
    time_zone: str,
) -> bytes:
    """Write the response to a request with a FHIR record."""
    response = service_pb2.EvaluateFhirResponse(request_id=request.request_id)
    _write_all(decision, request, response.decision, decision_id, moment, time_zone)
    response.reading.CopyFrom(reading)
    return response.SerializeToString()


def _write_all(
    decision: Decision,
    request: Request,
    message: decision_pb2.Decision,
    decision_id: str,
    moment: datetime,
    time_zone: str,
) -> None:
    message.decision_id = decision_id
    message.evaluate_time.FromDatetime(moment)
    message.time_zone = time_zone
    is_given = request.as_of is not None
    message.as_of_origin = decision_pb2.AS_OF_ORIGIN_CALLER if is_given else decision_pb2.AS_OF_ORIGIN_SERVER
    message.facts_given.extend(sorted(request.raw))
    write_decision(decision, message, is_full_view=request.is_full_view)


def write_stream_error(request_id: str, position: int, status: Status) -> bytes:
    """Write the answer to a request of a stream for which there is no decision."""
    response = service_pb2.EvaluateStreamResponse(request_id=request_id, position=position, error=status)
    return response.SerializeToString()


def write_decision(decision: Decision, target: decision_pb2.Decision, *, is_full_view: bool) -> None:
    """Write the engine's decision into a message.

    The basic view leaves out criteria that are not met and decide nothing.
    """
    _write(decision, target, (lambda _: True) if is_full_view else _is_basic)
    if decision.engines.mode != "both":
        target.engines.agree = decision_pb2.ENGINE_AGREEMENT_NOT_COMPARED


@cache
def _plan(descriptor: Descriptor) -> tuple[tuple[str, FieldDescriptor], ...]:
    return tuple((field.name, field) for field in descriptor.fields)


@cache
def _citation(citation: Citation) -> explanation_pb2.Citation:
    """Give a source as a message; sources come from the rules and are the same for everyone."""
    return explanation_pb2.Citation(
        source=citation.source, title=citation.title, section=citation.section, supports=citation.supports
    )


def _is_basic(finding: object) -> bool:
    return getattr(finding, "truth", "") != "not_met" or bool(getattr(finding, "is_reported", False))


def _write(source: object, target: Message, is_shown: Callable[[object], bool]) -> None:
    for name, field in _plan(target.DESCRIPTOR):
        value = getattr(source, name, None)
        if value is None:
            continue
        if field.message_type is not None:
            if not field.is_repeated:
                _write(value, getattr(target, name), is_shown)
                getattr(target, name).SetInParent()
                continue
            shown = value if field.message_type.name != "CriterionFinding" else filter(is_shown, value)
            if field.message_type.name == "Citation":
                getattr(target, name).extend(map(_citation, shown))
                continue
            for item in shown:
                _write(item, getattr(target, name).add(), is_shown)
        elif field.enum_type is not None:
            _write_enum(field, value, target)
        elif field.is_repeated:
            getattr(target, name).extend(value)
        else:
            setattr(target, name, value)


def _write_enum(field: FieldDescriptor, value: Any, target: Message) -> None:  # noqa: ANN401 - a word, a bool or words
    kind: EnumDescriptor = field.enum_type  # type: ignore[assignment]
    if isinstance(value, bool):
        value = _TRUTHS[kind.name][value]
    if field.is_repeated:
        getattr(target, field.name).extend(enum_number(kind, word) for word in value)
    else:
        setattr(target, field.name, enum_number(kind, value))
