"""Decisions as one page of HTML that stands alone: no script, no network, every text escaped.

Nothing is concluded here: the page puts what a decision says into reading order, safety first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from engine.page.environment import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from engine.evaluator.decision import (
        CriterionFinding,
        Decision,
        FactRead,
        OptionAnswer,
        Question,
        Referral,
        ShownItem,
    )
    from engine.page.environment import Words

_LEDGER: Mapping[str, Words] = {
    "pro": {"for": "For"},
    "con": {"against": "Against", "deferring": "What it waits for", "cautioning": "Cautioning"},
    "across": {"unresolved": "Unresolved", "informing": "For information"},
}
_SHOWN: Words = {"plan": "Plan", "dosing": "Dosing", "monitoring": "Monitoring and warnings", "notes": "Notes"}
_PURPOSES: Words = {"triage": "suicide-risk triage", "coverage": "coverage"}
_URGENT_LEVELS = frozenset({"high", "emergency"})


def render_decisions(items: Sequence[tuple[str, Decision]]) -> str:
    """Render decisions, each with its case id, as one self-contained HTML page.

    Args:
        items: pairs of case id and decision, in the order in which they are to be read. The case id is all the page
            says about who the patient is.

    """
    cases = [Case(f"c{number}", name, decision) for number, (name, decision) in enumerate(items, 1)]
    return environment().get_template("page.html.j2").render(cases=cases)


@dataclass(frozen=True)
class Entry:
    """A criterion at its place on the page.

    `is_deciding`: it holds the status down. `options` names the options it speaks to, where they share one place.
    """

    anchor: str
    finding: CriterionFinding
    is_deciding: bool
    options: tuple[str, ...] = ()

    @property
    def has_origins(self) -> bool:
        """Whether a fact came with a date or a source."""
        return any(f.date or f.source for f in self.finding.facts)


@dataclass(frozen=True)
class Line:
    """A line of the plan, the dosing, the monitoring or the notes; `entry` is its criterion, if the decision has it."""

    item: ShownItem
    entry: Entry | None


@dataclass(frozen=True)
class Group:
    """The criteria on one side of the argument."""

    side: str
    heading: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Option:
    """One option in reading order."""

    anchor: str
    answer: OptionAnswer

    @property
    def others(self) -> tuple[str, ...]:
        """What else the status could be, once missing facts are known."""
        return tuple(s for s in self.answer.could_be if s != self.answer.status)

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """Its criteria as they were listed."""
        why_not = set(self.answer.why_not)
        return tuple(
            Entry(f"{self.anchor}-{number}", finding, finding.id in why_not)
            for number, finding in enumerate(self.answer.criteria, 1)
        )

    @property
    def deciding(self) -> tuple[Entry, ...]:
        """The criteria that hold its status down."""
        return tuple(e for e in self.entries if e.is_deciding)

    @cached_property
    def shown(self) -> tuple[tuple[str, tuple[Line, ...]], ...]:
        """Pairs of heading and lines; only those with lines."""
        entries = {e.finding.id: e for e in self.entries if e.finding.side == "informing"}
        sections = (
            (heading, tuple(Line(item, entries.get(item.id)) for item in getattr(self.answer, place)))
            for place, heading in _SHOWN.items()
        )
        return tuple((heading, lines) for heading, lines in sections if lines)

    @property
    def ledger(self) -> Mapping[str, tuple[Group, ...]]:
        """The argument, side by side, and what belongs to no side; only what has criteria."""
        places = ((place, tuple(self._groups(sides))) for place, sides in _LEDGER.items())
        return {place: groups for place, groups in places if groups}

    @cached_property
    def not_met(self) -> tuple[Entry, ...]:
        """What would have spoken for the option, is not met, and decides nothing, such as another indication."""
        return tuple(
            e
            for e in self.entries
            if e.finding.side == "against" and e.finding.truth == "not_met" and not e.finding.is_reported
        )

    def _groups(self, sides: Words) -> Iterator[Group]:
        """Criteria by side, deciding ones first, without those that have another place."""
        placed = {e.anchor for e in self.not_met}
        placed |= {line.entry.anchor for _, lines in self.shown for line in lines if line.entry}
        for side, heading in sides.items():
            found = [e for e in self.entries if e.finding.part == side and e.anchor not in placed]
            if found:
                found.sort(key=lambda e: (not e.is_deciding, not e.finding.is_reported))
                yield Group(side, heading, tuple(found))


@dataclass(frozen=True)
class Case:
    """One decision in reading order. `anchor` begins every anchor of it: nothing that a caller wrote becomes one."""

    anchor: str
    name: str
    decision: Decision

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """The options in the order of the decision; one that it leaves out comes last."""
        order = {option: place for place, option in enumerate(self.decision.option_order)}
        answers = sorted(self.decision.options, key=lambda o: order.get(o.option, len(order)))
        return tuple(Option(f"{self.anchor}-o{number}", answer) for number, answer in enumerate(answers, 1))

    @cached_property
    def triage(self) -> tuple[Entry, ...]:
        """The criteria behind the suicide-risk level."""
        return self._entries("t", self.decision.triage.criteria)

    @cached_property
    def coverage(self) -> tuple[Entry, ...]:
        """The criteria behind the payer's answer; none without a payer."""
        return self._entries("p", self.decision.coverage.criteria if self.decision.coverage else ())

    @property
    def awaited(self) -> frozenset[str]:
        """The missing facts that the payer's answer waits for."""
        return frozenset(q.fact for q in self.decision.missing if "coverage" in q.purposes)

    def _entries(self, prefix: str, findings: Sequence[CriterionFinding]) -> tuple[Entry, ...]:
        return tuple(
            Entry(f"{self.anchor}-{prefix}{number}", f, is_deciding=False) for number, f in enumerate(findings, 1)
        )

    @property
    def is_urgent(self) -> bool:
        """Whether a safety block stands above the options."""
        return self.decision.triage.level in _URGENT_LEVELS or any(
            r.urgency == "emergency" for r in self.decision.referrals
        )

    @property
    def is_open_only(self) -> bool:
        """Whether the safety block only holds what is not ruled out yet."""
        return self.decision.triage.level not in _URGENT_LEVELS and not any(
            r.urgency == "emergency" and r.state == "required" for r in self.decision.referrals
        )

    @property
    def urgent(self) -> tuple[Referral, ...]:
        """The required referrals of the safety block."""
        return tuple(r for r in self._first if r.state == "required")

    @property
    def to_rule_out(self) -> tuple[Referral, ...]:
        """The emergency referrals of which it is not known yet whether they are needed."""
        return tuple(r for r in self._first if r.state == "unresolved")

    @property
    def later(self) -> tuple[Referral, ...]:
        """The referrals that the safety block leaves out."""
        return tuple(r for r in self.decision.referrals if r not in self._first)

    @cached_property
    def _first(self) -> tuple[Referral, ...]:
        return tuple(
            r
            for r in self.decision.referrals
            if r.urgency == "emergency" or (self.is_urgent and r.urgency == "same_day" and r.state == "required")
        )

    @cached_property
    def labels(self) -> Words:
        """Labels of the facts that some criterion read."""
        return {f.fact: f.label for f in self._facts()}

    def _facts(self) -> Iterator[FactRead]:
        for entry in (*self.triage, *(e for o in self.options for e in o.entries), *self.coverage):
            yield from entry.finding.facts

    def label(self, fact: str) -> str:
        """Give a fact's name as a sentence has it."""
        return self.labels.get(fact) or fact.replace("_", " ")

    def option_title(self, option: str) -> str:
        """Give an option's title; its id where the decision has no such option."""
        return next((o.answer.title for o in self.options if o.answer.option == option), option)

    def purposes(self, question: Question) -> str:
        """Say what the answer to a question is for."""
        return ", ".join(_PURPOSES.get(p) or self.option_title(p) for p in question.purposes)
