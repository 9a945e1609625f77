"""One piece of evidence that a drug was taken, or is: what it says of now, and what speaks against that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from engine.fhir import moment, shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date

    from engine.fhir.bundle import Resource
    from engine.fhir.doses import Dose
    from engine.fhir.moment import Moment
    from engine.fhir.record import Record
    from engine.fhir.tables import MedicationCode

TAKING, ENDED, GIVEN, PLANNED, NOT_TAKEN = "taking", "ended", "given", "planned", "not_taken"
_ONGOING, _SUPPLY = "ongoing", "supply"
_DAYS = {"d": 1, "day": 1, "days": 1, "wk": 7, "mo": 31, "a": 366}
_LONGEST = 36_600
_STATUS_REASON = "statusReason"


@dataclass(frozen=True, slots=True)
class Exposure:
    """One piece of evidence that a drug was taken, or is.

    Attributes:
        ingredients: what the medication consists of.
        names: its ingredients and codes; two records with a common one are of the same drug.
        effects: what it says beside being a trial.
        standing: `taking`, `ended`, `given` (dispensed or administered), `planned` (a plan, or a report that it is
            taken), or `not_taken`, which is no exposure and speaks against others.
        start: when it began, as far as this record says.
        told: when the record was made, which says how far it can be trusted that the drug is taken now.
        end: when it ended, where that is stated.
        is_over: whether it has ended, or may have, by what is stated of its end.
        is_explained: whether a reason for its status is recorded, which may say otherwise.
        supplied: for how many days a supply lasts; None where that is not said.
        dose: the dose a day, where amount and timing are recorded in mg.
        source: the resource, as `Type/id`.
        matched_by: how the drug was found.
        orders: the orders that a dispense says it carries out, as `Type/id`.
        is_self_report: whether the patient or a related person reported it.

    """

    ingredients: frozenset[str]
    names: frozenset[str]
    effects: tuple[MedicationCode, ...]
    standing: str
    start: Moment | None
    told: Moment | None
    end: Moment | None
    is_over: bool
    is_explained: bool
    supplied: int | None
    dose: Dose
    source: str
    matched_by: str
    orders: frozenset[str] = frozenset()
    is_self_report: bool = False

    def last_day(self, as_of: date) -> date | None:
        """Give the last day of a use that is over, where it is known."""
        day = self.end.day if self.end else None
        return day if day is not None and day <= as_of else None

    def doubt(self, stops: Mapping[str, date], record: Record) -> str:
        """Name why a record that the drug is taken does not show that it is taken now; empty if it does.

        `stops` are the last days on which its records say that a drug ended, or was not taken, as `last_stops` gives.
        """
        if self.is_over:
            return "ended"
        if self.told is None:
            return "undated"
        if self.told.first < moment.months_before(record.as_of, record.terminology.policy[_ONGOING].value):
            return "old"
        if self.is_explained:
            return "status_reason"
        stopped = [stops[name] for name in self.names if name in stops]
        return "superseded" if stopped and max(stopped) >= self.told.first else ""

    def may_be_supplied(self, days_after: int, record: Record) -> bool:
        """Say whether what was dispensed or given may still be taken, or was so many days ago; undated it may."""
        if self.told is None:
            return True
        days = record.terminology.policy[_SUPPLY].value if self.supplied is None else self.supplied
        return record.as_of - self.told.last <= timedelta(days=days + days_after)


def last_stops(exposures: Iterable[Exposure]) -> dict[str, date]:
    """Give the last day on which a record says that a drug ended, or was not taken, by each name of the drug."""
    stops: dict[str, date] = {}
    for each in exposures:
        says_so = each.standing in {ENDED, NOT_TAKEN} or (each.standing == TAKING and each.is_over)
        days = [when.last for when in (each.told, each.end) if when is not None]
        if says_so and days:
            for name in each.names:
                stops[name] = max(*days, stops.get(name, days[0]))
    return stops


def ends(resource: Resource, start: Moment | None, as_of: date) -> tuple[Moment | None, bool]:
    """Give the end of a use, where it is stated, and whether it is over, or may be.

    A length of time is no day of an end, but may be over. Of several instructions the last to end counts, and none if
    one has no end. A bound that cannot be read may be over.
    """
    period = shape.element(resource.data.get("effectivePeriod"))
    if period.get("end") is not None:
        stated = moment.read_moment(period["end"])
        return stated, stated is None or stated.first <= as_of
    found = resource.data.get("dosageInstruction") or resource.data.get("dosage")
    repeats = [shape.element(shape.element(each.get("timing")).get("repeat")) for each in shape.elements(found)]
    bounds = [_bound(repeat, start) for repeat in repeats]
    if not bounds or not all(is_bound for _, _, is_bound in bounds):
        return None, False
    lasts = [last for last, _, _ in bounds]
    known = [last for last in lasts if last is not None]
    is_over = len(known) < len(lasts) or all(last.first <= as_of for last in known)
    is_stated = len(known) == len(lasts) and all(is_day for _, is_day, _ in bounds)
    return (max(known, key=lambda last: (last.last, last.first)) if is_stated else None), is_over


def _bound(repeat: shape.Element, start: Moment | None) -> tuple[Moment | None, bool, bool]:
    """Give when an instruction ends, whether that day is stated, and whether it has an end at all."""
    if shape.element(repeat.get("boundsPeriod")).get("end") is not None:
        return moment.read_moment(shape.element(repeat["boundsPeriod"])["end"]), True, True
    length = repeat.get("boundsDuration") or shape.element(repeat.get("boundsRange")).get("high")
    if not length:
        return None, False, "boundsRange" in repeat
    days = days_in(length)
    if days is None or start is None:
        return None, False, True
    lasting = timedelta(days=days)
    try:
        return moment.Moment(start.first + lasting, start.last + lasting), False, True
    except OverflowError:
        return None, False, True


def days_in(quantity: object) -> int | None:
    """Give a length of time in whole days, rounded up; None if it cannot be read."""
    told = shape.element(quantity)
    number = shape.number(told.get("value"))
    days = _DAYS.get(shape.code(told.get("code")) or shape.text(told.get("unit")).lower())
    if number is None or days is None or not 0 <= number <= _LONGEST:
        return None
    return int(-(-number * Decimal(days) // 1))


def has_status_reason(resource: Resource) -> bool:
    """Say whether a reason for the status is recorded, whatever it says."""
    return any(key.startswith(_STATUS_REASON) and bool(value) for key, value in resource.data.items())
