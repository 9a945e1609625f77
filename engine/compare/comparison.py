"""A whole comparison: one patient in several jurisdictions and on several days, and what cannot wait for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from engine.compare.contrast import Contrast, between, turns
from engine.compare.stretches import COVERAGE, PROVISIONAL, REFERRAL, TRIAGE, subjects_of

if TYPE_CHECKING:
    from datetime import date

    from engine.compare.stretches import Cell, Lane, Span
    from engine.evaluator.decision import Referral, TriageAnswer

URGENT_LEVELS = frozenset({"high", "emergency"})
"""Levels of triage that stand before everything."""


@dataclass(frozen=True)
class Comparison:
    """One patient in several jurisdictions and on several days.

    Attributes:
        own_day: the day of the patient's facts, which was evaluated too.
        payer_id: whose coverage rules were asked, or None.
        spans: the days whose rules were asked, as they were asked, sorted; `own_day` need not be among them.
        lanes: what each jurisdiction answers; the first is the base with which the others are compared.

    """

    own_day: date
    payer_id: str | None
    spans: tuple[Span, ...]
    lanes: tuple[Lane, ...]

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """What the answers are about: options first, then triage, coverage and referrals."""
        return subjects_of(cell for lane in self.lanes for cell in lane.cells)

    def title(self, subject: str) -> str:
        """Give a subject's title."""
        if subject == TRIAGE:
            return "Suicide-risk triage"
        if subject == COVERAGE:
            return f"Coverage by {self.payer_id}"
        decisions = [cell.decision for lane in self.lanes for cell in lane.cells]
        options = (option.title for d in decisions for option in d.options if option.option == subject)
        kind = subject.removeprefix(REFERRAL)
        referrals = (f"Referral: {r.title}" for d in decisions for r in d.referrals if r.kind == kind)
        return next(options, None) or next(referrals, subject)

    @cached_property
    def options(self) -> tuple[str, ...]:
        """The options among the subjects."""
        return tuple(s for s in self.subjects if s not in {TRIAGE, COVERAGE} and not s.startswith(REFERRAL))

    @cached_property
    def days(self) -> tuple[date, ...]:
        """The patient's own day, and the single days that were asked."""
        return tuple(dict.fromkeys((self.own_day, *(span.first for span in self.spans if span.is_one_day))))

    @property
    def has_range(self) -> bool:
        """Whether more than single days was asked."""
        return any(not span.is_one_day for span in self.spans)

    @cached_property
    def turns(self) -> tuple[Contrast, ...]:
        """What changes from one stretch of days to the next, by jurisdiction and day."""
        return tuple(contrast for lane in self.lanes for contrast in turns(lane))

    @cached_property
    def contrasts(self) -> tuple[Contrast, ...]:
        """What differs between the base and each other jurisdiction, by jurisdiction and subject."""
        return tuple(contrast for lane in self.lanes[1:] for contrast in between(self.lanes[0], lane))

    @cached_property
    def triage(self) -> TriageAnswer:
        """The worst suicide-risk triage that any jurisdiction gives on the patient's own day."""
        own = self._own_cells
        levels = own[0].packs.triage.levels
        return max((cell.decision.triage for cell in own), key=lambda t: (levels.index(t.level), not t.provisional))

    @cached_property
    def emergencies(self) -> tuple[Referral, ...]:
        """The emergency referrals of any jurisdiction on the patient's own day, required or not ruled out."""
        found = (r for cell in self._own_cells for r in cell.decision.referrals if r.urgency == "emergency")
        return tuple({(r.kind, r.state): r for r in found}.values())

    @property
    def is_urgent(self) -> bool:
        """Whether something stands before every comparison of rules, if only to be ruled out."""
        return self.triage.level in URGENT_LEVELS or bool(self.emergencies)

    @property
    def is_open_only(self) -> bool:
        """Whether all that stands before it is what is not ruled out yet."""
        return self.triage.level not in URGENT_LEVELS and all(r.state == "unresolved" for r in self.emergencies)

    @property
    def _own_cells(self) -> tuple[Cell, ...]:
        return tuple(lane.on(self.own_day) for lane in self.lanes)

    @property
    def is_provisional(self) -> bool:
        """Whether a missing fact leaves triage, an option or coverage undecided in any of the answers."""
        outcomes = {a.outcome for lane in self.lanes for cell in lane.cells for a in cell.answers.values()}
        return any(outcome == "insufficient_data" or outcome.endswith(PROVISIONAL) for outcome in outcomes)
