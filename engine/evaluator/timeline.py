"""When the answer changes by time alone: the next day on which the same facts would give an option another status."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

from engine.compiler.levels import STATUS_OF_LEVEL
from engine.compiler.packset import PackSet, status_node
from engine.compiler.stages import compile_packs
from engine.evaluator.decision import ChangeDate, Decision
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.facts import Observed, PatientFacts
    from engine.pack.book import RuleBook


def changes_on(
    book: RuleBook, packs: PackSet, interpreter: Interpreter, facts: PatientFacts, decision: Decision
) -> Decision:
    """Add the next change to a decision: a rule's or parameter's date, a closing window, a value going stale."""
    now = {o.option: o.status for o in decision.options}
    for day, fact in sorted(set(_days(book, packs, facts))):
        later = _at(book, facts, day)
        current, engine = packs, interpreter
        if any(p.at(day) != number for p, number in packs.parameters.values()):
            current = compile_packs(book, packs.jurisdiction, packs.payer_id, day)
            engine = Interpreter(current.compiled)
        values = engine.evaluate(prepare(book, current, later)).values
        for option in packs.options:
            status = STATUS_OF_LEVEL[str(values[status_node(option.id)])]
            if status != now[option.id]:
                label = book.facts[fact].label if fact else ""
                change = ChangeDate(day.isoformat(), fact, label, option.id, status)  # type: ignore[arg-type]
                return replace(decision, changes_on=change)
    return decision


def _days(book: RuleBook, packs: PackSet, facts: PatientFacts) -> Iterator[tuple[date, str]]:
    """The days after `as_of` on which something could change, with the fact that moves (empty for a rule's date)."""
    if packs.rule_dates and packs.rule_dates[-1] > facts.as_of:
        yield from ((day, "") for day in packs.rule_dates if day > facts.as_of)
    for past in packs.past.values():
        if past.days is not None:
            seen = facts.stale.get(past.fact) or facts.known.get(past.fact)
            if seen is not None and seen.observed_on is not None:
                yield from _later(facts.as_of, seen.observed_on, past.days + 1, past.fact)
    for name, seen in facts.known.items():
        limit = book.facts[name].valid_for_days
        if seen.observed_on is not None and limit is not None:
            yield from _later(facts.as_of, seen.observed_on, limit + 1, name)
        if isinstance(seen.value, date):
            for window in packs.windows.get(name, ()):
                yield from _later(facts.as_of, seen.value, window, name)


def _later(as_of: date, start: date, days: int, fact: str) -> Iterator[tuple[date, str]]:
    """The day `days` after `start`, if it lies after `as_of` and the calendar reaches that far."""
    if days > (date.max - start).days:
        return
    day = start + timedelta(days=days)
    if day > as_of:
        yield day, fact


def _at(book: RuleBook, facts: PatientFacts, day: date) -> PatientFacts:
    """The same facts on a later day: what has gone stale counts no longer."""

    def is_fresh(name: str, seen: Observed) -> bool:
        limit = book.facts[name].valid_for_days
        return seen.observed_on is None or limit is None or (day - seen.observed_on).days <= limit

    known = {n: o for n, o in facts.known.items() if is_fresh(n, o)}
    stale = {n: o for n, o in facts.known.items() if n not in known}
    return replace(facts, as_of=day, known=known, stale={**facts.stale, **stale})
