"""Observation: scores, measurements, blood pressure, coded answers, and panels that are there for their parts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from engine.fhir import c_ssrs, forms, moment, shape, values
from engine.fhir.focus import fault_of_focus
from engine.fhir.notes import Evidence, plain
from engine.fhir.panel import are_all_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from engine.fhir.bundle import Resource
    from engine.fhir.moment import Moment
    from engine.fhir.record import Record
    from engine.fhir.tables import ObservationCode

_CONCEPT = "valueCodeableConcept"
_PRESSURE, _MEAN, _SUGGESTED, _FLAG = "pressure", "mean", "suggested", "flag"
_UNCONFIRMED = "fhir/needs-confirmation"


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
    loose: list[Resource] = []
    members: set[int] = set()
    for resource in record.of_kind("Observation"):
        codings = record.codings(resource.data.get("code"))
        rows = [*_rows(codings, record), *_suggested(resource, record)]
        panels = [row for coding in codings for row in record.terminology.panels.find(coding)]
        parts = panels[0].parts if panels else forms.parts_of_items(codings, record)
        held = frozenset() if parts else forms.held_parts(resource, record)
        if not rows and not parts and not held:
            continue
        record.note_shape(resource)
        components = list(_components(resource, record)) if parts in {_PRESSURE, _MEAN} else []
        facts = {row.fact for row in rows} | {row.fact for _, row in components} | {*_facts_of({parts} | held, record)}
        if not _is_about_patient(resource, record) or not record.counts(resource, sorted(facts)):
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
        if parts == _PRESSURE:
            _read_lack(resource, {row.fact for _, row in components}, when, record)
        elif panels:
            members |= forms.read_panel(resource, parts, when, record)
        elif parts:
            loose.append(resource)
        elif held:
            members |= forms.read_held(resource, held, when, record)
    forms.read_loose([each for each in loose if id(each.data) not in members], record)
    for name, those in seen.items():
        _read(those, record, is_mean=name.startswith(_MEAN))


def _is_about_patient(resource: Resource, record: Record) -> bool:
    """Say whether an observation is about the patient; if it is about another or who knows whom, that is noted."""
    fault = fault_of_focus(resource.data, record)
    if fault:
        record.notes.note(fault, f"{resource.name}.focus")
    return not fault


def _facts_of(parts: AbstractSet[str], record: Record) -> Iterator[str]:
    for each in parts:
        yield from record.terminology.pressures if each == _PRESSURE else forms.facts_of(each, record)


def _rows(codings: list[tuple[str, str]], record: Record) -> list[ObservationCode]:
    """Give one row for each fact that the codes lead to."""
    found = [row for coding in codings for row in record.terminology.observations.find(coding)]
    by_fact = {row.fact: row for row in reversed(found) if record.knows(row.fact) and row.kind != _FLAG}
    return list(by_fact.values())


def _suggested(resource: Resource, record: Record) -> list[ObservationCode]:
    """Give a row for each fact of which the value of an observation says that there is something to ask."""
    value = shape.choice(resource.data, "value") if _CONCEPT in resource.data else None
    if value is None:
        return []
    return [row for row in _rows(record.codings(value[1]), record) if row.kind == _SUGGESTED]


def _components(resource: Resource, record: Record) -> Iterator[tuple[shape.Element, ObservationCode]]:
    """Give the parts of a blood pressure, in whatever order they stand."""
    for component in shape.elements(resource.data.get("component")):
        for row in _rows(record.codings(component.get("code")), record):
            if row.kind in {_PRESSURE, _MEAN}:
                yield component, row


def _read_lack(resource: Resource, here: set[str], when: Moment | None, record: Record) -> None:
    """Keep that a reading of blood pressure came without one that is understood, unless its members are read alone."""
    if are_all_here(resource, record):
        return
    for fact in record.terminology.pressures:
        if fact not in here:
            lack = Evidence(fact, None, when, resource.name, resource.name, fault="fhir/value-absent", is_absent=True)
            record.notes.observe(lack)


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
            if each.row.kind == _SUGGESTED and c_ssrs.denies(each.holder, record):
                record.notes.suggest(found.fact, "", found.fault, found.path)
            elif _is_too_old(found, record):
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
        case "suggested":
            found = values.Read(fault=_UNCONFIRMED, suggests="")
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
        suggests=found.suggests,
    )


def _score(holder: shape.Element, row: ObservationCode, record: Record, path: str) -> values.Read:
    """Read a score; an item of a scored questionnaire may be answered by a code."""
    form, definition = record.terminology.forms.phq9, record.definitions[row.fact]
    if row.fact in form.item_facts.values():
        return values.read_item_score(holder, form, record, path)
    return values.read_score(holder, definition, record, path)
