"""The clinician's page in reading order: questions with their controls, what is wrong with a post, what was read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from engine.page.answers import Control, control, posted_rows, posted_text
from engine.page.argument import Argument
from engine.page.render import Case
from engine.page.timeline import TRIALS, Chart, draw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from engine.evaluator.decision import Question
    from engine.pack.model import PackHeader
    from engine.page.clinician import Candidate, ClinicianView, Issue

BLANK_TRIALS = 2
_FEEDBACK_FIELDS = ("reason", "comment")
_CONFLICTS = frozenset({"fhir/conflict", "fhir/score-disagrees", "fhir/answer-conflict"})


@dataclass(frozen=True)
class Asked:
    """A question with its control, or with the trials as rows of controls; and what the record suggests."""

    question: Question
    control: Control
    rows: tuple[tuple[Control, ...], ...]
    candidates: tuple[Candidate, ...]

    @property
    def has_error(self) -> bool:
        """Whether something in it is wrong."""
        return bool(self.control.error) or any(c.error for row in self.rows for c in row)


@dataclass(frozen=True)
class Reading:
    """What a page shows, in reading order."""

    view: ClinicianView

    @cached_property
    def case(self) -> Case:
        """The decision, as every page reads it."""
        return Case("d", self.view.patient, self.view.decision)

    @cached_property
    def argument(self) -> Argument:
        """The criteria over all options."""
        return Argument(self.case)

    @cached_property
    def asked(self) -> tuple[Asked, ...]:
        """The questions in the order of the decision; what the record suggests comes before the rest.

        Nothing comes before suicide risk while its level is provisional.
        """
        decision, suggested = self.view.decision, {c.fact for c in self.view.candidates}

        def place(question: Question) -> tuple[bool, bool]:
            is_urgent = decision.triage.provisional and "triage" in question.purposes
            return not is_urgent, question.fact not in suggested

        return tuple(map(self._ask, sorted(decision.missing, key=place)))

    @cached_property
    def also_asked(self) -> tuple[Asked, ...]:
        """The questions that no status turns on by themselves."""
        return tuple(map(self._ask, self.view.decision.also_ask))

    def _ask(self, question: Question) -> Asked:
        view, name = self.view, f"fact.{question.fact}"
        made = control(name, view.definitions[question.fact], view.entered, view.errors, view.drugs)
        rows = tuple(self._rows()) if question.fact == TRIALS else ()
        return Asked(question, made, rows, tuple(c for c in view.candidates if c.fact == question.fact))

    def _rows(self) -> Iterator[tuple[Control, ...]]:
        """The trials as controls: those that were posted, else those on record; then blank ones."""
        view, fields = self.view, self.view.definitions[TRIALS].fields
        entered, numbers = view.entered, posted_rows(view.entered)
        if not numbers:
            records = view.facts.records.get(TRIALS, ())
            on_record = {
                f"trial.{number}.{f.id}": posted_text(f, record.values[f.id])
                for number, record in enumerate(records)
                for f in fields
                if f.id in record.values
            }
            entered, numbers = {**entered, **on_record}, list(range(len(records) + BLANK_TRIALS))
        for number in numbers:
            yield tuple(control(f"trial.{number}.{f.id}", f, entered, view.errors, view.drugs) for f in fields)

    @cached_property
    def faults(self) -> tuple[tuple[str, str, str], ...]:
        """What is wrong with a post: label, message, and the anchor of the field; empty where the page lacks it."""
        every = (*self.asked, *self.also_asked)
        controls = [c for asked in every for row in ((asked.control,), *asked.rows) for c in row]
        places = {c.name: (c.definition.label, c.anchor) for c in controls}
        places |= {name: (name, name) for name in _FEEDBACK_FIELDS}
        found = ((*places.get(name, (name, "")), message) for name, message in self.view.errors.items())
        return tuple((label, message, anchor) for label, anchor, message in found)

    @cached_property
    def chart(self) -> Chart | None:
        """The trials in time; None where there is nothing to draw."""
        return draw(self.view.history) if self.view.history else None

    @property
    def conflicts(self) -> tuple[Issue, ...]:
        """What the record says in two ways."""
        return tuple(i for i in self.view.issues if i.code in _CONFLICTS)

    @property
    def oddities(self) -> tuple[Issue, ...]:
        """The issues that are no conflict."""
        return tuple(i for i in self.view.issues if i.code not in _CONFLICTS)

    def text(self, name: str) -> str:
        """Give what was posted for a field of one value."""
        posted = self.view.entered.get(name, "")
        return posted if isinstance(posted, str) else "".join(posted[:1])

    def label(self, fact: str) -> str:
        """Give a fact's name as a sentence has it."""
        definition = self.view.definitions.get(fact)
        return definition.label if definition else self.case.label(fact)

    def said(self, fact: str, value: object) -> str:
        """Write a value in the words of its fact."""
        definition = self.view.definitions.get(fact)
        if isinstance(value, list | tuple):
            return ", ".join(self.said(fact, member) for member in value) or "none"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return definition.values.get(str(value), str(value)) if definition else str(value)

    @staticmethod
    def since(header: PackHeader) -> date:
        """Give the first day on which the pack speaks."""
        return header.effective_period.start

    def is_overdue(self, header: PackHeader) -> bool:
        """Say whether the pack's review was due before the day of the decision."""
        return header.last_review_date + timedelta(days=header.review_interval_days) < self.view.facts.as_of
