"""A diagnosis on the day of the evaluation: its state and dates, and why it may settle nothing of what is now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from engine.fhir import moment, shape

if TYPE_CHECKING:
    from datetime import date

    from engine.fhir.bundle import Resource
    from engine.fhir.moment import Moment
    from engine.fhir.record import Record
    from engine.fhir.tables import ConditionCode

CURRENT, REMISSION, PAST, UNSURE = "current", "remission", "past", "unsure"
_MONTHS = "mo"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A diagnosis on the day of the evaluation.

    Attributes:
        resource: the Condition.
        onset: when it began, as far as that is said.
        recorded: when it was recorded, as far as that is said.
        end: when it ended, as far as that is said.
        state: current, remission, past, or unsure.
        is_told: whether the record states the state.
        verification: what its verification status means.
        concern: the reason why it only suggests whatever its code, if there is one.

    """

    resource: Resource
    onset: Moment | None
    recorded: Moment | None
    end: Moment | None
    state: str
    is_told: bool
    verification: frozenset[str]
    concern: str

    @property
    def path(self) -> str:
        """Where its code stands, for issues."""
        return f"{self.resource.name}.code"

    @property
    def verification_path(self) -> str:
        """Where its verification status stands, for issues."""
        return f"{self.resource.name}.verificationStatus"

    @property
    def day(self) -> Moment | None:
        """When it was: its onset, else its record."""
        return self.onset or self.recorded

    @property
    def is_verified(self) -> bool:
        """Whether it counts; an absent status does, one that is not understood does not."""
        return self.verification <= {"counts"}

    @property
    def is_refuted(self) -> bool:
        """Whether it is refuted, and nothing else is said beside it."""
        return self.verification == {"refuted"}

    def is_later(self, as_of: date) -> bool:
        """Say whether it is dated after the day of the evaluation."""
        return self.day is not None and self.day.first > as_of

    def last_told(self, as_of: date) -> date | None:
        """Give the last day that the record tells of it, up to the day of the evaluation; the first such day may be."""
        dated = (self.onset, self.recorded, self.end if self.state == REMISSION else None)
        told = [each.first for each in dated if each is not None and each.first <= as_of]
        return max(told) if told else None

    def doubt(self, row: ConditionCode, record: Record) -> str:
        """Name why it does not settle the fact of a row; empty if it does.

        What is now needs a record that is recent enough, unless it is said when it ended: problem lists keep what is
        active for decades. One without any date counts as long as it is a hazard, since nothing says that it is old; an
        episode or a remission does not.
        """
        if row.when == "present" and self.state == PAST:
            return "past"
        if row.when not in {"ever", "remission"} and self.state == UNSURE:
            return "when"
        if row.when not in {"ever", "remission"} and not self.is_told:
            return "no_status"
        if not row.within or (row.when == "state" and self.state not in {CURRENT, UNSURE}):
            return ""
        if self.state == CURRENT and self.end is not None:
            return ""
        told = self.last_told(record.as_of)
        if told is None:
            return "undated" if row.when == "active" or row.within == REMISSION else ""
        return "" if told >= since(row.within, record) else "old"

    def ended_lately(self, policy: str, record: Record) -> bool:
        """Say whether it may have ended within the time that a policy number gives; an unknown end may."""
        return self.end is None or self.end.last >= since(policy, record)


def since(policy: str, record: Record) -> date:
    """Give the first day from which on a record still speaks, by a policy number."""
    number = record.terminology.policy[policy]
    if number.unit == _MONTHS:
        return moment.months_before(record.as_of, number.value)
    return record.as_of - timedelta(days=number.value)


def read_diagnosis(resource: Resource, record: Record) -> Diagnosis:
    """Read what a Condition says of itself, whatever its code."""
    onset = moment.of_start(resource.data, "onset")
    recorded = moment.of_start(resource.data, "recordedDate", "assertedDate")
    end = moment.of_value(resource.data, "abatement")
    state, is_told = _state(resource, end, record)
    category = record.meanings(resource, "category")
    concern = "concern" if "concern" in category and "counts" not in category else ""
    verification = frozenset(record.meanings(resource, "verificationStatus"))
    return Diagnosis(resource, onset, recorded, end, state, is_told, verification, concern)


def _state(resource: Resource, end: Moment | None, record: Record) -> tuple[str, bool]:
    """Give the state on the day of the evaluation, and whether the record states it.

    Dates go before the status, which is that of the day on which the record was taken.
    """
    status = record.meanings(resource, "clinicalStatus")
    if shape.count_choices(resource.data, "abatement"):
        if end is None:
            return PAST if status <= {"past"} else UNSURE, False
        if end.last <= record.as_of:
            return REMISSION if status == {"remission"} else PAST, True
        return (CURRENT, True) if end.first > record.as_of else (UNSURE, False)
    match sorted(status):
        case ["active"]:
            return CURRENT, True
        case ["remission"]:
            return REMISSION, True
        case ["past"]:
            return PAST, True
        case []:
            return CURRENT, False
        case _:
            return UNSURE, False
