"""Procedure: treatments that were given. What came of them is not coded, so most of them only suggest."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from engine.fhir import moment
from engine.fhir.notes import Statement

if TYPE_CHECKING:
    from engine.fhir.bundle import Resource
    from engine.fhir.record import Record
    from engine.fhir.tables import ProcedureCode


def read_procedures(record: Record) -> None:
    """Read the completed procedures that a table has."""
    for resource in record.of_kind("Procedure"):
        codings = record.codings(resource.data.get("code"))
        rows = [row for coding in codings for row in record.terminology.procedures.find(coding)]
        rows = [row for row in rows if record.knows(row.fact)]
        if rows and record.counts(resource, {row.fact for row in rows}):
            record.note_shape(resource)
            for row in rows:
                _read_row(resource, row, record)


def _read_row(resource: Resource, row: ProcedureCode, record: Record) -> None:
    when, path = moment.of_value(resource.data, "performed"), f"{resource.name}.code"
    if when is not None and when.first > record.as_of:
        record.notes.note("fhir/date-future", f"{resource.name}.performed", row.fact)
    elif row.certainty != "sets":
        record.notes.suggest(row.fact, row.value, "fhir/needs-confirmation", path, row.why)
    elif when is None:
        record.suggest(row.fact, row.value, "undated", path)
    elif record.as_of - when.first <= timedelta(days=record.terminology.policy[row.within].value):
        record.notes.state(Statement(row.fact, row.value, when.day, resource.name, row.matched_by))
    else:
        record.suggest(row.fact, row.value, "too_old", path)
