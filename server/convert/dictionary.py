"""The data dictionary as messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.convert.requests import HISTORY, path_of
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2

if TYPE_CHECKING:
    from engine.dictionary import FactDefinition


def write_description(definition: FactDefinition, path: str | None = None) -> service_pb2.FactDescription:
    """Describe a fact of the data dictionary; `path` is given for a field of a record."""
    if path is None:
        known = path_of(definition.id)
        path = "" if known == HISTORY else known
    low, high = definition.range or (None, None)
    message = service_pb2.FactDescription(
        fact=definition.id,
        area=definition.area,
        type=service_pb2.FactType.Value(f"FACT_TYPE_{definition.type.upper()}"),
        unit=definition.unit,
        minimum="" if low is None else f"{low:f}",
        maximum="" if high is None else f"{high:f}",
        scale=definition.scale,
        values=[service_pb2.AllowedValue(value=v, label=label) for v, label in definition.values.items()],
        label=definition.label,
        meaning=definition.meaning,
        question=definition.ask,
        if_unknown=definition.if_unknown,
        valid_for_days=definition.valid_for_days,
        fields=[write_description(field, f"{path}[].{field.id}") for field in definition.fields],
        path=path,
    )
    if definition.fhir is not None:
        message.fhir.CopyFrom(service_pb2.FhirBinding(**definition.fhir.model_dump()))
    return message
