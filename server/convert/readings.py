"""What was read of a FHIR record, as a message."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from engine.fhir.reading import Reading, Sourced


def write_reading(reading: Reading, overridden: AbstractSet[str]) -> service_pb2.FhirReading:
    """Tell what was read; `overridden` names the facts that the caller gave too, and better."""
    message = service_pb2.FhirReading(patient_id=reading.patient or "")
    for name in sorted(reading.facts):
        message.facts.append(_fact(name, reading.facts[name], is_overridden=name in overridden))
    for candidate in reading.candidates:
        message.candidates.add(
            fact=candidate.fact, suggests=_text(candidate.suggests), why=candidate.why, sources=candidate.sources
        )
    for issue in reading.issues:
        message.issues.add(
            code=issue.code, paths=issue.paths, fact=issue.fact or "", effect=issue.effect, count=issue.count
        )
    return message


def _fact(name: str, sourced: Sourced, *, is_overridden: bool) -> service_pb2.ReadFact:
    value, raw = _json(sourced.value), "" if sourced.raw is None else _json(sourced.raw)
    return service_pb2.ReadFact(
        fact=name,
        value=value,
        raw=raw if raw != value else "",
        unit=sourced.unit or "",
        date=sourced.date or "",
        sources=sourced.sources,
        matched_by=sourced.matched_by or "",
        standing=service_pb2.READ_STANDING_OVERRIDDEN if is_overridden else service_pb2.READ_STANDING_USED,
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=_plain)


def _plain(value: object) -> object:
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case date():
            return value.isoformat()
    raise TypeError(type(value).__name__)


def _text(value: object) -> str:
    return value if isinstance(value, str) else _json(value)
