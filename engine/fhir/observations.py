"""Observation: scores, measurements, blood pressure, coded answers, and panels that are there for their parts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from engine.fhir import forms, moment, shape, values
from engine.fhir.notes import Evidence, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.fhir.bundle import Resource
    from engine.fhir.moment import Moment
    from engine.fhir.record import Record
    from engine.fhir.tables import ObservationCode

_PRESSURE, _MEAN = "pressure", "mean"


@dataclass(frozen=True, slots=True)
class _Sighting:
    """A value that was seen and not read yet: most of a long record is older than what counts."""

    row: ObservationCode
    holder: shape.Element
    when: Moment | None
    resource: Resource
    path: str


def read_observations(record: Record) -> None:
    """Read every observation that a table has; interpretations and reference ranges are not read."""
    seen: dict[str, list[_Sighting]] = {}
    for resource in record.of_kind("Observation"):
        codings = record.codings(resource.data.get("code"))
        rows = _rows(codings, record)
        panels = [row for coding in codings for row in record.terminology.panels.find(coding)]
        if not rows and not panels:
            continue
        record.note_shape(resource)
        parts = panels[0].parts if panels else ""
        components = list(_components(resource, record)) if parts in {_PRESSURE, _MEAN} else []
        facts = {row.fact for row in rows} | {row.fact for _, row in components}
        if not record.counts(resource, facts or forms.facts_of(parts, record)):
            continue
        when = moment.of_value(resource.data, "effective")
        sightings = [_Sighting(row, resource.data, when, resource, resource.name) for row in rows]
        sightings += [
            _Sighting(row, holder, when, resource, f"{resource.name}.component") for holder, row in components
        ]
        for each in sightings:
            kind = _MEAN if parts == _MEAN else each.row.kind
            name = kind if kind == _PRESSURE else f"{kind} {each.row.fact}"
            seen.setdefault(name, []).append(each)
        if panels and not components:
            forms.read_panel(resource, parts, when, record)
    for name, those in seen.items():
        _read(those, record, is_mean=name.startswith(_MEAN))


def _rows(codings: list[tuple[str, str]], record: Record) -> list[ObservationCode]:
    """Give one row for each fact that the codes lead to."""
    found = [row for coding in codings for row in record.terminology.observations.find(coding)]
    return list({row.fact: row for row in reversed(found) if record.knows(row.fact)}.values()) if found else found


def _components(resource: Resource, record: Record) -> Iterator[tuple[shape.Element, ObservationCode]]:
    """Give the parts of a blood pressure, in whatever order they stand."""
    for component in shape.elements(resource.data.get("component")):
        for row in _rows(record.codings(component.get("code")), record):
            if row.kind in {_PRESSURE, _MEAN}:
                yield component, row


def _read(seen: Sequence[_Sighting], record: Record, *, is_mean: bool) -> None:
    """Read those of the values of one kind that may count; a mean is no reading of today and is only suggested."""
    past = [each for each in seen if each.when is not None and each.when.first <= record.as_of]
    latest = set(moment.newest(each.when for each in past if each.when is not None))
    if is_mean:
        for each in past:
            found = _evidence(each, record)
            if each.when in latest and not found.fault:
                record.suggest(each.row.fact, plain(found.value), "mean", each.path)
        return
    for each in seen:
        if each.when is None or each.when.first > record.as_of or each.when in latest:
            found = _evidence(each, record)
            if _is_too_old(found, record):
                record.suggest(found.fact, plain(found.value), "too_old", each.path)
            else:
                record.notes.observe(found)


def _is_too_old(found: Evidence, record: Record) -> bool:
    """Say whether an answer that only speaks for some days was given longer ago."""
    days = record.terminology.aging.get((found.fact, str(found.value)))
    if days is None or found.fault or found.moment is None:
        return False
    return found.moment.first < record.as_of - timedelta(days=days)


def _evidence(seen: _Sighting, record: Record) -> Evidence:
    row, definition = seen.row, record.definitions[seen.row.fact]
    match row.kind:
        case "score":
            found = _score(seen.holder, row, record, seen.path)
        case "coded":
            found = values.read_coded(seen.holder, definition, record)
        case _:
            found = values.read_quantity(seen.holder, definition, record, seen.path)
    return Evidence(
        row.fact,
        found.value,
        seen.when,
        seen.resource.name,
        seen.path,
        row.matched_by,
        found.raw,
        definition.unit,
        found.fault,
        is_stated=row.fact == record.terminology.forms.phq9.total_fact,
    )


def _score(holder: shape.Element, row: ObservationCode, record: Record, path: str) -> values.Read:
    """Read a score; an item of a scored questionnaire may be coded as an answer."""
    form, definition = record.terminology.forms.phq9, record.definitions[row.fact]
    if row.fact in form.item_facts.values():
        found = shape.choice(holder, "value")
        if found is not None and found[0] == "CodeableConcept":
            return values.read_item_score(holder, form, record, path)
    return values.read_score(holder, definition, record, path)
