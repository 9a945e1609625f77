"""Whether an answer is better under one rule book than under another, judged on every part of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.compiler.levels import LEVELS
from engine.compiler.packset import COVERAGE, TRIAGE, PackSet, referral_node, status_node
from engine.compiler.stages import compile_packs
from engine.errors import RulePackError
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter
from engine.pack.mentions import mentions
from tests.property.patients import TODAY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import date

    from engine.compiler import form
    from engine.evaluator.decision import Decision
    from engine.facts import PatientFacts
    from engine.pack.book import RuleBook
    from engine.pack.mentions import Item

RANK = {level: rank for rank, level in enumerate(LEVELS)}
TRUTHS: tuple[bool | None, ...] = (False, None, True)
RESTRAINING = ("contraindicates", "excludes", "advises_against", "defers", "cautions", "triages", "denies")
OPENING = ("indicates", "requires", "covers")
"""A `requires` criterion is true while nothing is lacking."""
URGENCY = ("routine", "same_day", "emergency")
COVERED = {"not_covered": 0, "not_met": 1, "insufficient_data": 2, "prior_approval": 2, "covered": 3}
"""Not knowing yet and asking the payer first are alike: either may come out of the other when a rule is stricter."""


class Side:
    """One of two rule books that answer for the same patients."""

    def __init__(self, book: RuleBook, jurisdiction: str, payer: str | None, day: date = TODAY) -> None:
        self.book = book
        self.packs = compile_packs(book, jurisdiction, payer, day)
        self.options = [option.id for option in self.packs.options]
        self.interpreter = Interpreter(self.packs.compiled)

    def inputs(self, facts: PatientFacts) -> form.Inputs:
        return prepare(self.book, self.packs, facts)

    def values(self, facts: PatientFacts) -> form.Values:
        return self.interpreter.evaluate(self.inputs(facts))


def better(packs: PackSet, before: form.Values, after: form.Values) -> Iterator[str]:
    """List what of an answer is better under the packs with a local one than under the national packs alone."""
    for option in packs.options:
        name = status_node(option.id)
        if RANK[str(after.values[name])] > RANK[str(before.values[name])]:
            yield f"{option.id} went from {before.values[name]} to {after.values[name]}"
    levels = packs.triage.levels
    if levels.index(str(after.values[TRIAGE])) < levels.index(str(before.values[TRIAGE])):
        yield f"triage went from {before.values[TRIAGE]} to {after.values[TRIAGE]}"
    for name in map(referral_node, packs.referrals):
        was, now = before.values[name], after.values[name]
        if (was is True and now is not True) or (was is None and now is False):
            yield f"{name} went from {was} to {now}"
    if packs.payer_id:
        covered, still = str(before.values[COVERAGE]), str(after.values[COVERAGE])
        if COVERED[still] > COVERED[covered]:
            yield f"coverage went from {covered} to {still}"


def looser(packs: PackSet, before: form.Values, after: form.Values) -> Iterator[str]:
    """List the criteria that stand less in the way of an answer, or open one more, whether or not that changes it."""
    for name, criterion in packs.criteria.items():
        if name in packs.nodes and criterion.effect in (*RESTRAINING, *OPENING):
            was, now = (TRUTHS.index(values.values[name]) for values in (before, after))
            if now < was if criterion.effect in RESTRAINING else now > was:
                yield f"{name} went from {before.values[name]} to {after.values[name]}"


def better_said(before: Decision, after: Decision) -> Iterator[str]:
    """List what a decision says better with a local pack: referrals as they are told, and the best still in reach."""
    for wanted in before.referrals:
        kept = [r for r in after.referrals if r.kind == wanted.kind]
        kept = [r for r in kept if r.state == "required" or wanted.state == "unresolved"]
        if not any(URGENCY.index(r.urgency) >= URGENCY.index(wanted.urgency) for r in kept):
            yield f"{wanted.kind} {wanted.urgency} {wanted.state} is gone"
    for was, now in zip(before.options, after.options, strict=True):
        if max(map(reach, now.could_be)) > max(map(reach, was.could_be)):
            yield f"{was.option} could be {now.could_be}, not {was.could_be}"


def reach(status: str) -> int:
    """Rank what an option could be; all that blocks it is alike."""
    return max(RANK.get(status, 0) - RANK["insufficient_data"], -1)


def untouched(packs: PackSet, numbers: Collection[str]) -> list[str]:
    """Name the criteria with a truth that read none of some parameters, through however many concepts."""
    items: dict[str, Item] = {**packs.derived, **packs.criteria}
    reading = {f"${name}" for name in numbers}
    while grown := {n for n, item in items.items() if n not in reading and mentions(item) & reading}:
        reading |= grown
    return [n for n in packs.criteria if n in packs.nodes and n not in reading]


def refusals(book: RuleBook, jurisdiction: str, payer: str | None, day: date = TODAY) -> set[str]:
    """Give the codes of the faults for which packs are refused; none if they are taken."""
    try:
        compile_packs(book, jurisdiction, payer, day)
    except RulePackError as error:
        return {fault.code for fault in error.diagnostics}
    return set()
