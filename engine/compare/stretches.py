"""One patient under the rules of several jurisdictions and days: what is answered, and for how long.

The patient stays as on the day of the facts; only the rules are those of another day. Between the days on which any
rule of a jurisdiction changes nothing can change, so one evaluation by both engines speaks for all of them: a cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from engine.compiler import form
    from engine.compiler.packset import PackSet
    from engine.evaluator.agree import Evaluator
    from engine.evaluator.decision import Decision
    from engine.facts import PatientFacts

TRIAGE, COVERAGE, REFERRAL = "triage", "coverage", "referral: "
"""Subjects beside the options; a referral's subject ends with its kind."""
ABSENT = "absent"
"""The outcome of a subject that an answer is not about: a referral that is not due."""
NO_RULES = "no_rules"
"""The outcome of coverage where the payer has no rules in a jurisdiction."""
PROVISIONAL = ", provisional"
"""How the outcome of triage ends while an input that decides it is missing."""
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The days from `first` to `last`, both included."""

    first: date
    last: date

    def holds(self, day: date) -> bool:
        """Say whether `day` is one of them."""
        return self.first <= day <= self.last

    @property
    def is_one_day(self) -> bool:
        """Whether it is a single day."""
        return self.first == self.last

    def within(self, other: Span) -> Span | None:
        """Give the days that both have; None if there is none."""
        first, last = max(self.first, other.first), min(self.last, other.last)
        return Span(first, last) if first <= last else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the rules say of one subject.

    Attributes:
        outcome: an option's status, the triage level, the coverage, or state and urgency of a referral.
        criteria: the ids that the answer reports as deciding it, in their order.
        holding: those that hold an option's status down.

    """

    outcome: str
    criteria: tuple[str, ...] = ()
    holding: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Cell:
    """One evaluation: a jurisdiction's rules over days on which none of them changes.

    `packs` are compiled for the first of these days; `values` and `records` are what the engines concluded.
    """

    jurisdiction: str
    span: Span
    packs: PackSet
    decision: Decision
    values: form.Values
    answers: Mapping[str, Answer]


@dataclass(frozen=True)
class Stretch:
    """Neighboring cells with the same answers."""

    cells: tuple[Cell, ...]

    @property
    def span(self) -> Span:
        """All their days."""
        return Span(self.cells[0].span.first, self.cells[-1].span.last)

    @property
    def answers(self) -> Mapping[str, Answer]:
        """What is answered on each of these days."""
        return self.cells[0].answers


@dataclass(frozen=True)
class Lane:
    """One jurisdiction's cells, in the order of days."""

    jurisdiction: str
    cells: tuple[Cell, ...]

    @property
    def reviewed_on(self) -> date:
        """The day up to which all of its rules were reviewed; what changes later is not known."""
        return min(pack.header.last_review_date for pack in self.cells[0].packs.packs)

    def on(self, day: date) -> Cell:
        """Give the cell of a day that was asked for."""
        return next(cell for cell in self.cells if cell.span.holds(day))

    def stretches(self, subject: str | None = None) -> tuple[Stretch, ...]:
        """Merge neighboring cells whose answers are the same: those about one subject, or all of them."""
        groups: list[list[Cell]] = []
        for cell in self.cells:
            before = groups[-1][-1] if groups else None
            if before is not None and are_neighbors(before, cell) and _is_same(before, cell, subject):
                groups[-1].append(cell)
            else:
                groups.append([cell])
        return tuple(Stretch(tuple(group)) for group in groups)


def outcome_words(outcome: str) -> str:
    """Write an outcome as words."""
    return {ABSENT: "not due", NO_RULES: "no rules of this payer"}.get(outcome, outcome.replace("_", " "))


def are_neighbors(one: Cell, other: Cell) -> bool:
    """Say whether no day lies between two cells."""
    return one.span.last + _ONE_DAY == other.span.first


def _is_same(one: Cell, other: Cell, subject: str | None) -> bool:
    return one.answers == other.answers if subject is None else answer_of(one, subject) == answer_of(other, subject)


def answer_of(cell: Cell, subject: str) -> Answer:
    """Give the answer about a subject; one that is not about it is absent."""
    return cell.answers.get(subject, Answer(ABSENT))


def subjects_of(cells: Iterable[Cell]) -> tuple[str, ...]:
    """Name the subjects of any of the answers: options first, then triage, coverage and referrals."""
    found = dict.fromkeys(subject for cell in cells for subject in cell.answers)
    beside = [s for s in found if s.startswith(REFERRAL)]
    return (*(s for s in found if s not in beside), *sorted(beside))


def join_spans(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Sort spans, and join those that overlap or touch."""
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and (joined[-1].last >= span.first or joined[-1].last + _ONE_DAY == span.first):
            joined[-1] = Span(joined[-1].first, max(joined[-1].last, span.last))
        else:
            joined.append(span)
    return tuple(joined)


def plan(
    evaluator: Evaluator, jurisdictions: Iterable[str], payer_id: str | None, spans: Sequence[Span]
) -> Iterator[tuple[str, Span]]:
    """Give what has to be evaluated: each jurisdiction over the days between those on which its rules change.

    Args:
        evaluator: over the rules.
        jurisdictions: each has an active pack.
        payer_id: whose coverage rules, or None.
        spans: the days that are asked for, as `join_spans` gives them.

    Raises:
        NoRulePackError: no pack serves a jurisdiction.

    """
    for jurisdiction in jurisdictions:
        days = evaluator.pack_set(jurisdiction, payer_id, spans[0].first).rule_dates
        for span in spans:
            starts = [span.first, *(day for day in days if span.first < day <= span.last)]
            yield from ((jurisdiction, Span(a, b - _ONE_DAY)) for a, b in pairwise(starts))
            yield jurisdiction, Span(starts[-1], span.last)


def evaluate_cell(
    evaluator: Evaluator, facts: PatientFacts, payer_id: str | None, jurisdiction: str, span: Span
) -> Cell:
    """Evaluate a patient under the rules of one jurisdiction and span. Raises what `Evaluator.evaluate` raises."""
    packs = evaluator.pack_set(jurisdiction, payer_id, span.first)
    evaluation = evaluator.evaluate(facts, jurisdiction, payer_id, span.first, is_full=True)
    answers = dict(_answers(evaluation.decision, packs))
    return Cell(jurisdiction, span, packs, evaluation.decision, evaluation.values, answers)


def lanes(cells: Iterable[Cell]) -> tuple[Lane, ...]:
    """Sort cells into lanes; jurisdictions keep the order in which they first come."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.jurisdiction, []).append(cell)
    return tuple(Lane(name, tuple(sorted(each, key=lambda cell: cell.span))) for name, each in found.items())


def _answers(decision: Decision, packs: PackSet) -> Iterator[tuple[str, Answer]]:
    for option in decision.options:
        reported = tuple(finding.id for finding in option.criteria if finding.is_reported)
        yield option.option, Answer(option.status, reported, frozenset(option.why_not))
    triage = decision.triage
    level = triage.level + (PROVISIONAL if triage.provisional else "")
    yield TRIAGE, Answer(level, tuple(f.id for f in triage.criteria if f.is_reported))
    coverage = decision.coverage
    if coverage is not None:
        has_rules = any(pack.header.payer for pack in packs.packs)
        ids = tuple(finding.id for finding in coverage.criteria)
        yield COVERAGE, Answer(coverage.status, ids) if has_rules else Answer(NO_RULES)
    due: dict[str, list[Answer]] = {}
    for referral in decision.referrals:
        due.setdefault(referral.kind, []).append(Answer(f"{referral.state}, {referral.urgency}", referral.criteria))
    for kind, found in due.items():
        # One kind can be required, and not ruled out yet with a higher urgency.
        outcome = "; ".join(answer.outcome for answer in found)
        yield REFERRAL + kind, Answer(outcome, tuple(dict.fromkeys(i for a in found for i in a.criteria)))
