"""From everything that a record says of a fact to one value, or to the reason why there is none.

The newest value rules, and if it cannot be used, nothing older stands in for it. What counts alike and differs settles
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.fhir.moment import newest
from engine.fhir.notes import WAYS, plain
from engine.fhir.reading import Sourced

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from engine.dictionary import FactDefinition
    from engine.fhir.notes import Evidence, Notes, Statement


def settle(notes: Notes, definitions: Mapping[str, FactDefinition], as_of: date) -> None:
    """Turn the evidence and statements of `notes` into facts, conflicts into issues and candidates."""
    pending = dict(notes.evidence)
    blocked: set[str] = set()
    for group in notes.terminology.together:
        together = [pending.pop(name) for name in group if name in pending]
        if together:
            _settle_evidence([e for found in together for e in found], notes, definitions, as_of, blocked)
    for found in pending.values():
        _settle_evidence(found, notes, definitions, as_of, blocked)
    for name, statements in notes.statements.items():
        definition = definitions[name]
        if definition.type == "set":
            _settle_set(definition, statements, notes)
        else:
            _settle_statements(definition, statements, notes, blocked)
    _date_scales(notes, definitions, blocked)


def _settle_evidence(
    found: Sequence[Evidence], notes: Notes, definitions: Mapping[str, FactDefinition], as_of: date, blocked: set[str]
) -> None:
    """Settle the facts of one group, of which only the newest reading counts, as a whole."""
    past = []
    for each in found:
        if each.moment is not None and each.moment.first > as_of:
            notes.note("fhir/date-future", each.path, each.fact)
        else:
            past.append(each)
    undated = [each for each in past if each.moment is None]
    latest = set(newest(each.moment for each in past if each.moment is not None))
    coarse = [each for each in past if each.moment in latest and not each.moment.is_exact]
    if undated or coarse:
        for fact in sorted({each.fact for each in past}):
            blocked.add(fact)
            for each in undated or coarse:
                notes.note("fhir/date-missing" if undated else "fhir/date-imprecise", each.path, fact)
        return
    rest = [each for each in past if each.moment in latest]
    for fact in sorted({each.fact for each in rest}):
        mine = [each for each in past if each.fact == fact]
        now = [each for each in rest if each.fact == fact]
        _settle_newest(fact, [*now, *_compared(now, mine)], notes, blocked)
        if fact in blocked:
            _suggest_earlier(definitions[fact], [each for each in mine if each.moment not in latest], notes, as_of)


def _compared(now: Sequence[Evidence], found: Sequence[Evidence]) -> list[Evidence]:
    """Give the sums of the day on which the newest total was stated, or the totals of the day of the newest sum."""
    if not any(each.is_stated for each in found):
        return []
    has_both = {each.is_stated for each in now} == {True, False}
    days = {each.moment.day for each in now if each.moment is not None}
    others = [
        each
        for each in found
        if each.is_stated is not now[0].is_stated and each.moment is not None and each.moment.day in days
    ]
    if has_both or not others:
        return []
    latest = newest(each.moment for each in others if each.moment is not None)
    return [each for each in others if each.moment in latest and not each.is_absent]


def _suggest_earlier(definition: FactDefinition, earlier: Sequence[Evidence], notes: Notes, as_of: date) -> None:
    """Suggest what an earlier C-SSRS found where the newest cannot be used, unless it found nothing.

    One that is too old to count is kept besides, for the alarm that it may still raise; so is the worst that there is.
    """
    fact, limit = definition.id, definition.valid_for_days
    form = notes.terminology.forms.c_ssrs
    nothing = {form.fact: form.none, form.behavior.fact: form.behavior.values["never"]}
    known = [each for each in earlier if fact in nothing and not each.fault and each.moment is not None]
    latest = newest(each.moment for each in known if each.moment is not None)
    found = [each for each in known if each.moment in latest and each.value != nothing[fact]]
    for each in found:
        reason = notes.terminology.reasons["earlier"]
        notes.suggest(fact, plain(each.value), "fhir/needs-confirmation", each.path, reason)
    if found and limit is not None:
        order = list(definition.values)
        worst = max(found, key=lambda each: (order.index(str(each.value)), each.source))
        day = worst.moment.last if worst.moment is not None else as_of
        if (as_of - day).days > limit or worst.value == order[-1]:
            told = Sourced(worst.value, date=day.isoformat(), sources=(worst.source,), matched_by=worst.matched_by)
            notes.earlier[fact] = told


def _settle_newest(fact: str, found: Sequence[Evidence], notes: Notes, blocked: set[str]) -> None:
    read = {each.moment for each in found if not each.is_absent}
    latest = [each for each in found if not each.is_absent or each.moment not in read]
    for each in found:
        if each not in latest:
            notes.note(each.fault, each.path, fact, "noted")
    best = [each for each in latest if not each.is_stated] or list(latest)
    faulty = [each for each in best if each.fault]
    if faulty:
        for each in faulty:
            if each.suggests is None:
                notes.note(each.fault, each.path, fact)
            else:
                notes.suggest(fact, each.suggests, each.fault, each.path)
        blocked.add(fact)
        return
    values = {each.value for each in best}
    if len(values) > 1:
        _conflict(fact, [(each.value, each.path) for each in best], notes)
        blocked.add(fact)
        return
    for each in latest:
        if each.is_stated and each not in best and (each.fault or each.value not in values):
            notes.note("fhir/score-disagrees", each.path, fact)
    for each in best:
        if each.is_open:
            notes.note("fhir/needs-confirmation", each.path, fact, "noted")
    first = min(best, key=lambda e: (e.source, str(e.raw)))
    day = first.moment.day if first.moment else None
    notes.facts[fact] = Sourced(
        first.value,
        first.raw if first.raw != first.value else None,
        first.unit,
        day.isoformat() if day else "",
        tuple(sorted({each.source for each in best})),
        min((each.matched_by for each in best), key=WAYS.index),
    )


def _settle_statements(
    definition: FactDefinition, statements: Sequence[Statement], notes: Notes, blocked: set[str]
) -> None:
    fact = definition.id
    exact = [each for each in statements if not each.is_loose] or list(statements)
    values = {each.value for each in exact}
    order = notes.terminology.orders.get(fact, ())
    value = max(values, key=order.index) if values <= set(order) else min(values)
    observed = notes.facts.get(fact)
    if fact in blocked or (all(each.is_negative for each in statements) and notes.suggests_other(fact, value)):
        for each in statements:
            path = f"{each.source}.code"
            notes.suggest(fact, each.value, "fhir/needs-confirmation", path, notes.terminology.reasons["contradicted"])
        return
    differs = observed is not None and observed.value != typed(definition, value)
    if differs or (len(values) > 1 and not values <= set(order)):
        said: list[tuple[object, str]] = [(each.value, f"{each.source}.code") for each in exact]
        if observed is not None:
            said += [(observed.value, source) for source in observed.sources]
        _conflict(fact, said, notes)
        notes.facts.pop(fact, None)
        blocked.add(fact)
        return
    if observed is None:
        supporting = [each for each in exact if each.value == value]
        for each in supporting:
            if each.is_loose:
                notes.note("fhir/needs-confirmation", f"{each.source}.code", fact, "noted")
        notes.facts[fact] = _stated(typed(definition, value), supporting)


def _settle_set(definition: FactDefinition, statements: Sequence[Statement], notes: Notes) -> None:
    """Settle a fact that has several values: those that the record shows. None of it says that there are no others."""
    values = {each.value for each in statements}
    notes.facts[definition.id] = _stated([v for v in definition.values if v in values], statements)


def _stated(value: object, supporting: Sequence[Statement]) -> Sourced:
    days = [each.day for each in supporting if each.day is not None]
    return Sourced(
        value,
        date=max(days).isoformat() if days else "",
        sources=tuple(sorted({each.source for each in supporting})),
        matched_by=min((each.matched_by for each in supporting), key=WAYS.index),
    )


def _conflict(fact: str, said: Iterable[tuple[object, str]], notes: Notes) -> None:
    for value, path in said:
        notes.suggest(fact, plain(value), "fhir/conflict", path)


def _date_scales(notes: Notes, definitions: Mapping[str, FactDefinition], blocked: set[str]) -> None:
    """Date the newest severity scale, unless one of them came and cannot be used."""
    for dated in set(notes.terminology.scales.values()):
        scales = [name for name, target in notes.terminology.scales.items() if target == dated]
        known = [notes.facts[name] for name in scales if name in notes.facts]
        if not known or dated not in definitions or not blocked.isdisjoint(scales):
            continue
        day = max(fact.date for fact in known)
        sources = {source for fact in known if fact.date == day for source in fact.sources}
        notes.facts[dated] = Sourced(day, date=day, sources=tuple(sorted(sources)))


def typed(definition: FactDefinition, value: str) -> object:
    """Give a value of a table as the data dictionary has it."""
    return value == "true" if definition.type == "bool" else value
