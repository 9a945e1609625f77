"""Trials of antidepressants and augmentation agents: one for each ingredient, with what the record says and no more.

Requests rarely carry a dose and stay active for years, so most trials cannot be judged; what is missing is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.fhir.exposure import GIVEN, NOT_TAKEN, PLANNED, TAKING, last_stops
from engine.fhir.notes import MODIFIED, WAYS
from engine.fhir.reading import TRIALS, Sourced

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date
    from decimal import Decimal

    from engine.fhir.drugs import TrialDrug
    from engine.fhir.exposure import Exposure
    from engine.fhir.record import Record

_NO_USE = frozenset({PLANNED, NOT_TAKEN})
"""What is no exposure to a drug."""
_NEVER_READ = ("weeks_at_adequate_dose", "adherence", "outcome")
"""Nothing that is read states them."""
_SELF_REPORT = "self_report"
_CONCOMITANT, _CLASS = "concomitant_oral_ad", "oral_ad_class"


def read_trials(exposures: Sequence[Exposure], record: Record) -> None:
    """Read one trial for each ingredient. Without any the fact is missing: a record is no complete history."""
    if not record.knows(TRIALS):
        return
    by_ingredient: dict[str, list[Exposure]] = {}
    for exposure in exposures:
        for ingredient in exposure.ingredients & record.terminology.drugs.trials.keys():
            by_ingredient.setdefault(ingredient, []).append(exposure)
    trials = []
    for ingredient, those in sorted(by_ingredient.items()):
        drug = record.terminology.drugs.trials[ingredient]
        real = [each for each in those if each.standing not in _NO_USE]
        for each in those:
            if each.standing == PLANNED:
                record.suggest(TRIALS, drug.drug, "planned", f"{each.source}.intent")
        if drug.certainty == "suggests":
            why = drug.why or record.terminology.reasons["augmentation"]
            for each in real:
                path = f"{each.source}.medication"
                record.notes.suggest(TRIALS, drug.drug, "fhir/needs-confirmation", path, why)
        elif modified := [each for each in real if each.source in record.notes.modified]:
            for each in modified:
                record.notes.suggest(TRIALS, drug.drug, MODIFIED, f"{each.source}.medication")
        elif real:
            trials.append(_trial(drug, real, those, record))
    if trials:
        counted = [each for those in by_ingredient.values() for each in those if each.standing not in _NO_USE]
        used = [each for each in counted if each.source not in record.notes.modified]
        sources = tuple(sorted({each.source for each in used}))
        matched_by = min((each.matched_by for each in used), key=WAYS.index)
        record.notes.facts[TRIALS] = Sourced(trials, sources=sources, matched_by=matched_by)


def _trial(
    drug: TrialDrug, exposures: Sequence[Exposure], those: Sequence[Exposure], record: Record
) -> dict[str, object]:
    """Give the trial of the exposures to a drug; `those` are all its records, also those that it was not taken."""
    trial: dict[str, object] = {"drug": drug.drug}
    if drug.rxnorm:
        trial["rxnorm"] = drug.rxnorm
    dose = _highest_dose(drug, exposures)
    if dose is not None:
        trial["max_dose_mg"] = dose
    trial |= _dates(drug, exposures, those, record)
    if all(each.is_self_report for each in exposures):
        trial["documentation"] = _SELF_REPORT
    missing = [name for name in ("max_dose_mg",) if name not in trial] + list(_NEVER_READ)
    is_inadequate = dose is not None and drug.minimum_daily_dose_mg is not None and dose < drug.minimum_daily_dose_mg
    _note_missing(trial, exposures, record)
    return trial | {
        "sources": sorted({each.source for each in exposures}),
        "adequacy": "inadequate" if is_inadequate else "cannot tell",
        "missing": missing,
    }


def _highest_dose(drug: TrialDrug, exposures: Sequence[Exposure]) -> Decimal | None:
    """Give the highest daily dose, if every record of the drug has one: an unknown dose may be the highest."""
    known = [dose for each in exposures if (dose := _dose(each, exposures)) is not None]
    return max(known) if drug.is_daily and known and len(known) == len(exposures) else None


def _dose(exposure: Exposure, exposures: Sequence[Exposure]) -> Decimal | None:
    """Give the dose of a record; of a dispense that says nothing of it, that of the orders which it names."""
    if len(exposure.ingredients) != 1:
        return None
    if exposure.dose.is_told or not exposure.orders:
        return exposure.dose.daily_mg
    carried_out = [each for each in exposures if each.source in exposure.orders]
    doses = {each.dose.daily_mg for each in carried_out}
    return doses.pop() if len(carried_out) == len(exposure.orders) and len(doses) == 1 else None


def _dates(
    drug: TrialDrug, exposures: Sequence[Exposure], those: Sequence[Exposure], record: Record
) -> dict[str, object]:
    """Give start, end and whether it goes on; each only where all records of the drug allow to say so."""
    dates: dict[str, object] = {}
    starts = [each.start.day if each.start else None for each in exposures]
    for each, day in zip(exposures, starts, strict=True):
        if day is None:
            code = "fhir/date-missing" if each.start is None else "fhir/date-imprecise"
            record.notes.note(code, each.source, TRIALS, "noted")
    known = [day for day in starts if day is not None]
    if len(known) == len(starts):
        dates["start_date"] = min(known).isoformat()
    if _is_ongoing(drug, exposures, those, record):
        return dates | {"ongoing": True}
    ends = [each.last_day(record.as_of) for each in exposures]
    stated = [end for end in ends if end is not None]
    if len(stated) == len(ends) and not any(each.standing == TAKING for each in exposures):
        dates |= {"end_date": max(stated).isoformat(), "ongoing": False}
    return dates


def _is_ongoing(drug: TrialDrug, exposures: Sequence[Exposure], those: Sequence[Exposure], record: Record) -> bool:
    """Say whether a recent record says that the drug is taken, and no later one otherwise; else it only suggests."""
    stops, lapsed = last_stops(those), _last_lapse(exposures, record)
    active = [(each, each.doubt(stops, record)) for each in exposures if each.standing == TAKING]
    active = [
        (each, doubt or ("lapsed" if lapsed and each.told and each.told.first <= lapsed else ""))
        for each, doubt in active
    ]
    sure = [each for each, doubt in active if not doubt]
    if sure:
        _suggest_companion(drug, sure, record)
        return True
    for each, doubt in active:
        record.suggest(TRIALS, drug.drug, doubt, f"{each.source}.status")
    return False


def _last_lapse(exposures: Iterable[Exposure], record: Record) -> date | None:
    """Give the day of the last dispense, if what was dispensed then has run out: no older order shows more."""
    given = [(each.told.last, each) for each in exposures if each.standing == GIVEN and each.told and each.supplied]
    latest = max((day for day, _ in given), default=None)
    return None if any(each.may_be_supplied(0, record) for day, each in given if day == latest) else latest


def _suggest_companion(drug: TrialDrug, recent: Iterable[Exposure], record: Record) -> None:
    """Suggest that the drug goes on beside esketamine: that it is taken now does not say so."""
    if not drug.counts_as_oral_ad:
        return
    for each in recent:
        path = f"{each.source}.medication"
        for fact, value in ((_CONCOMITANT, "yes"), (_CLASS, drug.drug_class)):
            if record.knows(fact):
                record.suggest(fact, value, "companion", path)


def _note_missing(trial: dict[str, object], exposures: Sequence[Exposure], record: Record) -> None:
    for each in exposures:
        path = f"{each.source}.dosage"
        if "max_dose_mg" not in trial and _dose(each, exposures) is None:
            record.notes.note(each.dose.fault or "fhir/dose-missing", path, TRIALS)
        record.notes.note("fhir/duration-missing", path, TRIALS)
