"""Flag: a warning in a chart. It says that there is something to ask, and never settles anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.fhir import moment, shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.fhir.record import Record
    from engine.fhir.tables import ObservationCode

_KINDS = frozenset({"suggested", "flag"})


def read_flags(record: Record) -> None:
    """Read every flag whose code a table has, or whose text has a phrase that suggests a fact."""
    for resource in record.of_kind("Flag"):
        concept = resource.data.get("code")
        coded = {row.fact: "" for row in _rows(concept, record) if record.knows(row.fact)}
        suggested = {**_told(concept, record, has_code=bool(coded)), **coded}
        if not suggested or not record.counts(resource, suggested):
            continue
        record.note_shape(resource)
        start = moment.of_start(resource.data, "period")
        for fact, value in suggested.items():
            if start is not None and start.first > record.as_of:
                record.notes.note("fhir/date-future", f"{resource.name}.period", fact)
            else:
                code = "fhir/needs-confirmation" if fact in coded else "fhir/text-only"
                record.notes.suggest(fact, value, code, f"{resource.name}.code")


def _rows(concept: object, record: Record) -> Iterator[ObservationCode]:
    """Give the rows of a flag's codes, also of those of another edition of a known code system."""
    for coding in shape.elements(shape.element(concept).get("coding")):
        uri = coding.get("system")
        system = record.terminology.system(uri) or record.terminology.edition(uri)
        found = record.terminology.observations.find_loosely((system, shape.code(coding.get("code"))))
        yield from (row for row in found if row.kind in _KINDS)


def _told(concept: object, record: Record, *, has_code: bool) -> dict[str, str]:
    """Give what the text of a flag suggests."""
    told = record.terminology.suggested_by(record.texts(concept), has_code=has_code)
    return {row.fact: row.value for row in told if record.knows(row.fact)}
