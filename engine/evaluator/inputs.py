"""From one patient's facts to what the back ends read."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from engine import trials
from engine.compiler import form
from engine.compiler.packset import in_force

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.compiler.check import Past
    from engine.compiler.packset import PackSet
    from engine.dictionary import Typed
    from engine.facts import PatientFacts
    from engine.pack.book import RuleBook


def prepare(book: RuleBook, packs: PackSet, facts: PatientFacts, rules_of: date | None = None) -> form.Inputs:
    """Give the values of the fact nodes: dates as days before `as_of`, sets as how many members, trials enriched.

    Missing facts have no value. Dated criteria and comparisons with fixed days are settled here. Criteria are in force
    as on `rules_of`, which is the day of the facts unless another day's rules are asked about them.
    """
    day = rules_of or facts.as_of
    values: dict[str, form.Value] = {name: _value(seen.value, facts.as_of) for name, seen in facts.known.items()}
    for name, period in packs.periods.items():
        values[in_force(name)] = period.holds(day)
    for node, (fact, limit) in packs.dates.items():
        seen = facts.known.get(fact)
        if seen is not None and isinstance(seen.value, date):
            values[node] = seen.value < limit
    for node, past in packs.past.items():
        values[node] = _was(past, facts)
    records: dict[str, tuple[dict[str, form.Value], ...] | None] = {}
    for name in packs.compiled.records:
        given = facts.records.get(name)
        records[name] = (
            None
            if given is None
            else tuple(dict(trials.enrich(t, facts, book.fields[name], book.drugs, packs.trial_limits)) for t in given)
        )
    return form.Inputs(values, records)


def _was(past: Past, facts: PatientFacts) -> bool:
    seen = facts.stale.get(past.fact)
    if seen is None or seen.observed_on is None or seen.value not in past.values:
        return False
    return past.days is None or (facts.as_of - seen.observed_on).days <= past.days


def _value(value: Typed, as_of: date) -> form.Value:
    match value:
        case date():
            return (as_of - value).days
        case tuple():
            return len(value)
        case _:
            return value


def parameters_in_effect(packs: PackSet) -> Mapping[str, tuple[str, str]]:
    """Give each parameter's number, as text, and its unit."""
    return {name: (format(number, "f"), parameter.unit) for name, (parameter, number) in packs.parameters.items()}
