"""Questionnaires that are read item by item, PHQ-9 and C-SSRS: gathered from a response, a panel or loose observations.

A form that came and cannot be read says so: an older one does not stand in for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.fhir import c_ssrs, moment, panel, scored, values
from engine.fhir.form import Form
from engine.fhir.moment import Moment
from engine.fhir.response import questionnaire, read_response

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from engine.fhir.bundle import Resource
    from engine.fhir.record import Record
    from engine.fhir.response import Answers

PHQ9, C_SSRS = "phq9", "c-ssrs"
_LOINC = "LOINC"
_UNCONFIRMED = "fhir/needs-confirmation"
_FEWEST_TO_KNOW = 2
"""PHQ-2 is the first two items of PHQ-9; a third one shows that it is not PHQ-2."""


def facts_of(parts: str, record: Record) -> tuple[str, ...]:
    """Give the facts that a panel's parts lead to."""
    if parts == PHQ9:
        return scored.facts(record)
    return c_ssrs.facts(record.terminology.forms.c_ssrs) if parts == C_SSRS else ()


def read_responses(record: Record) -> None:
    """Read every QuestionnaireResponse: the two questionnaires, and totals that are stated in others."""
    for resource in record.of_kind("QuestionnaireResponse"):
        found = read_response(resource.data)
        form = Form((resource.name,), moment.of_value(resource.data, "authored"), found.answers, ".item", found.is_torn)
        by_number = {code: found.numbered.get(n, []) for n, code in enumerate(record.terminology.forms.phq9.items, 1)}
        asked = Form(form.sources, form.when, by_number, form.part)
        named = questionnaire(resource.data)
        parts = _parts(form, named, record)
        facts = {*_facts(form, parts, record)}
        is_numbered = not found.answers and sorted(found.numbered) == [*range(1, len(by_number) + 1)]
        if is_numbered and not facts and not named and record.meanings(resource, "status") == {"counts"}:
            scored.suggest_numbered(asked, record)
        if not facts:
            continue
        record.note_shape(resource)
        if not record.counts(resource, facts):
            continue
        if PHQ9 in parts and not form.has((*record.terminology.forms.phq9.items, record.terminology.forms.phq9.total)):
            scored.read_numbered(asked, record)
        elif PHQ9 in parts:
            scored.read(form, record)
        if C_SSRS in parts:
            c_ssrs.read(form, record)
        _read_totals(form, record)
        _read_suggested(form, record)


def read_panel(resource: Resource, parts: str, when: Moment | None, record: Record) -> set[int]:
    """Read a panel of observations by its components and members; give the identities of its members' content."""
    found = panel.gather(resource, record)
    is_partial = found.is_partial or not found.answers
    form = Form((resource.name,), when, found.answers, ".hasMember", is_partial, found.unsure)
    if parts == PHQ9:
        scored.read(form, record)
    elif parts == C_SSRS:
        c_ssrs.read(form, record)
    return found.members


def read_held(resource: Resource, parts: AbstractSet[str], when: Moment | None, record: Record) -> set[int]:
    """Read the items that are parts of an observation that is no panel, as of a total; give their identities."""
    found = panel.gather(resource, record)
    form = Form((resource.name,), when, found.answers, ".component", found.is_partial, found.unsure)
    if PHQ9 in parts:
        total = record.terminology.forms.phq9.total
        is_total = (_LOINC, total) in record.codings(resource.data.get("code"))
        scored.read_beside_total(form, resource.data if is_total else None, record)
    if C_SSRS in parts:
        c_ssrs.read(form, record)
    return found.members


def read_loose(resources: Iterable[Resource], record: Record) -> None:
    """Read C-SSRS items that stand alone: those of one day are one form."""
    days: dict[tuple[object, object] | None, list[tuple[Resource, Moment | None]]] = {}
    for resource in resources:
        when = moment.of_value(resource.data, "effective")
        days.setdefault((when.first, when.last) if when else None, []).append((resource, when))
    for those in days.values():
        answers: Answers = {}
        for resource, _ in those:
            for _, code in record.codings(resource.data.get("code")):
                answers.setdefault(code, []).append(resource.data)
        sources = tuple(sorted({resource.name for resource, _ in those}))
        c_ssrs.read(Form(sources, _last([when for _, when in those]), answers, ""), record)


def parts_of_items(codings: Iterable[tuple[str, str]], record: Record) -> str:
    """Give the questionnaire of whose items an observation is one; empty if it is none that is read alone."""
    items = c_ssrs.items(record.terminology.forms.c_ssrs)
    return C_SSRS if any(system == _LOINC and code in items for system, code in codings) else ""


def held_parts(resource: Resource, record: Record) -> frozenset[str]:
    """Give the questionnaires of which an observation holds items, as that of a total may, whatever it is itself."""
    if not panel.has_parts(resource.data):
        return frozenset()
    return frozenset(_parts(Form((resource.name,), None, panel.gather(resource, record).answers, ""), "", record))


def _last(moments: list[Moment | None]) -> Moment | None:
    """Give the last of several moments of one day; without a time if one of them has none."""
    known = [each for each in moments if each is not None]
    if not known:
        return None
    is_timed = all(each.clock is not None for each in known)
    return moment.newest(known)[0] if is_timed else Moment(known[0].first, known[0].last)


def _parts(form: Form, named: str, record: Record) -> set[str]:
    """Give which of the two questionnaires a form is, by its items or by the name of its questionnaire."""
    forms = record.terminology.forms
    parts: set[str] = {row.parts for row in record.terminology.panels.find((_LOINC, named))}
    if form.has((*forms.phq9.items[_FEWEST_TO_KNOW:], forms.phq9.total)):
        parts.add(PHQ9)
    if form.has(c_ssrs.items(forms.c_ssrs)):
        parts.add(C_SSRS)
    return parts & {PHQ9, C_SSRS}


def _facts(form: Form, parts: set[str], record: Record) -> Iterator[str]:
    for each in parts:
        yield from facts_of(each, record)
    yield from (fact for _, fact, _ in _coded(form, "score", record))
    yield from (fact for _, fact, _ in _coded(form, "suggested", record))


def _coded(form: Form, kind: str, record: Record) -> Iterator[tuple[str, str, str]]:
    """Give code, fact and match of what else a form states, except what is read by item."""
    by_item = scored.facts(record)
    for code in form.answers:
        for row in record.terminology.observations.find((_LOINC, code)):
            if row.kind == kind and row.fact not in by_item and record.knows(row.fact):
                yield code, row.fact, row.matched_by


def _read_totals(form: Form, record: Record) -> None:
    for code, fact, matched_by in _coded(form, "score", record):
        form.observe(fact, scored.stated(form, code, fact, record), matched_by, record)


def _read_suggested(form: Form, record: Record) -> None:
    """Read what only says that there is something to ask; the items of the same form go before it."""
    for _, fact, matched_by in _coded(form, "suggested", record):
        form.observe(fact, values.Read(fault=_UNCONFIRMED), matched_by, record, suggests="", is_absent=True)
