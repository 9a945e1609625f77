"""Condition: what a diagnosis settles, suggests or refutes, judged by its dates on the day of the evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from engine.fhir import moment, shape
from engine.fhir.notes import Evidence, Statement
from engine.fhir.record import NOT_COUNTED, RETRACTED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from engine.fhir.bundle import Resource
    from engine.fhir.moment import Moment
    from engine.fhir.record import Record
    from engine.fhir.tables import ConditionCode

_CURRENT, _REMISSION, _PAST, _UNSURE = "current", "remission", "past", "unsure"
_NEGATIVES = ("no", "none")
_ONGOING, _REFUTED = "ongoing", "refuted"
_DAYS_A_WEEK = 7


@dataclass(frozen=True, slots=True)
class _Diagnosis:
    """A diagnosis on the day of the evaluation.

    `state` is current, remission, past, or unsure. `doubt` names the reason why it only suggests, if there is one;
    `is_told` says that the record states whether it is current.
    """

    resource: Resource
    onset: Moment | None
    day: Moment | None
    state: str
    is_told: bool
    doubt: str
    is_verified: bool

    @property
    def path(self) -> str:
        return f"{self.resource.name}.code"


def read_conditions(record: Record) -> None:
    """Read every diagnosis that a table has; family history is no Condition and is not read."""
    for resource in record.of_kind("Condition"):
        codings = record.codings(resource.data.get("code"))
        rows = [row for coding in codings for row in record.terminology.conditions.find(coding)]
        rows = [row for row in rows if record.knows(row.fact)]
        if rows:
            record.note_shape(resource)
            _read_coded(resource, rows, record)
        elif not codings:
            _read_text(resource, record)


def _read_coded(resource: Resource, rows: list[ConditionCode], record: Record) -> None:
    facts = {row.fact for row in rows}
    verification = record.meanings(resource, "verificationStatus")
    if "retracted" in verification:
        for fact in facts:
            record.notes.note(RETRACTED, f"{resource.name}.verificationStatus", fact)
        return
    diagnosis = _diagnosis(resource, verification, record)
    if diagnosis.day is not None and diagnosis.day.first > record.as_of:
        for fact in facts:
            record.notes.note("fhir/date-future", f"{resource.name}.onset", fact)
    elif "refuted" in verification:
        _read_refuted(diagnosis, rows, record)
    else:
        for row in rows:
            _read_row(diagnosis, row, record)


def _diagnosis(resource: Resource, verification: set[str], record: Record) -> _Diagnosis:
    onset = moment.of_start(resource.data, "onset")
    day = onset or _recorded(resource)
    state, is_told = _state(resource, record)
    category = record.meanings(resource, "category")
    doubt = "concern" if "concern" in category and "counts" not in category else ""
    return _Diagnosis(resource, onset, day, state, is_told, doubt, verification in ({"counts"}, set()))


def _recorded(resource: Resource) -> Moment | None:
    return moment.of_start(resource.data, "recordedDate", "assertedDate")


def _state(resource: Resource, record: Record) -> tuple[str, bool]:
    """Give the state on the day of the evaluation, and whether the record states it.

    Dates go before the status, which is that of the day on which the record was taken.
    """
    status = record.meanings(resource, "clinicalStatus")
    if shape.count_choices(resource.data, "abatement"):
        end = moment.of_value(resource.data, "abatement")
        if end is None:
            return _PAST if status <= {"past"} else _UNSURE, False
        if end.last <= record.as_of:
            return _REMISSION if status == {"remission"} else _PAST, True
        return (_CURRENT, True) if end.first > record.as_of else (_UNSURE, False)
    match sorted(status):
        case ["active"]:
            return _CURRENT, True
        case ["remission"]:
            return _REMISSION, True
        case ["past"]:
            return _PAST, True
        case []:
            return _CURRENT, False
        case _:
            return _UNSURE, False


def _read_row(diagnosis: _Diagnosis, row: ConditionCode, record: Record) -> None:
    value = _value(diagnosis, row)
    if value is None:
        return
    notes, path = record.notes, diagnosis.path
    if row.certainty == "notes":
        notes.note("fhir/needs-confirmation", path, row.fact, "noted")
    elif not diagnosis.is_verified:
        notes.suggest(row.fact, value, "fhir/not-verified", f"{diagnosis.resource.name}.verificationStatus")
    elif row.certainty == "suggests":
        notes.suggest(row.fact, value, "fhir/needs-confirmation", path, row.why)
    else:
        doubt = diagnosis.doubt or _doubt(diagnosis, row, record)
        if doubt:
            record.suggest(row.fact, value, doubt, path)
            return
        day = diagnosis.day.day if diagnosis.day else None
        is_loose = row.certainty == "confirm"
        notes.state(Statement(row.fact, value, day, diagnosis.resource.name, row.matched_by, is_loose))
        _read_onset(diagnosis, row, record)


def _value(diagnosis: _Diagnosis, row: ConditionCode) -> str | None:
    """Give the value that a row has in the diagnosis's state; None if it says nothing then."""
    state = diagnosis.state
    match row.when:
        case "ever":
            return row.value
        case "state":
            return "current" if state in {_CURRENT, _UNSURE} else "past"
        case "present":
            return row.value
        case "remission":
            return row.value if state == _REMISSION else None
        case _:
            return row.value if state in {_CURRENT, _UNSURE} else None


def _doubt(diagnosis: _Diagnosis, row: ConditionCode, record: Record) -> str:
    """Name why a diagnosis does not settle the fact of a row; empty if it does."""
    if row.when in {"ever", "remission"}:
        return ""
    if row.when == "present" and diagnosis.state == _PAST:
        return "past"
    if diagnosis.state == _UNSURE:
        return "when"
    if not diagnosis.is_told:
        return "no_status"
    return _age(diagnosis, record) if row.when == "active" else ""


def _age(diagnosis: _Diagnosis, record: Record) -> str:
    """Name why an active depression does not show an episode now: problem lists keep it active for decades."""
    recorded = _recorded(diagnosis.resource)
    told = [m.first for m in (diagnosis.onset, recorded) if m is not None and m.first <= record.as_of]
    if not told:
        return "undated"
    months = record.terminology.policy[_ONGOING].value
    return "" if max(told) >= moment.months_before(record.as_of, months) else "old"


def _read_onset(diagnosis: _Diagnosis, row: ConditionCode, record: Record) -> None:
    """Read what the onset says: a date is only suggested; weeks since an event are counted from its newest onset."""
    if not row.onset or not record.knows(row.onset):
        return
    definition, onset, path = record.definitions[row.onset], diagnosis.onset, f"{diagnosis.resource.name}.onset"
    if definition.type == "date":
        if onset is not None and onset.day is not None:
            record.suggest(row.onset, onset.day.isoformat(), "onset", path)
        return
    weeks = (record.as_of - onset.first).days // _DAYS_A_WEEK if onset is not None else None
    _, high = definition.range or (0, 0)
    fault = "fhir/implausible" if weeks is not None and weeks > high else ""
    source = diagnosis.resource.name
    record.notes.observe(
        Evidence(row.onset, weeks, onset, source, path, row.matched_by, unit=definition.unit, fault=fault)
    )


def _read_refuted(diagnosis: _Diagnosis, rows: Iterable[ConditionCode], record: Record) -> None:
    """Read a refuted diagnosis: a negative where the code is as wide as the fact and the whole history came.

    It was refuted when it was recorded, whatever its onset, and says nothing of the time since then.
    """
    path = f"{diagnosis.resource.name}.verificationStatus"
    recorded = _recorded(diagnosis.resource)
    for row in rows:
        definition = record.definitions[row.fact]
        negative = "false" if definition.type == "bool" else next((n for n in _NEGATIVES if n in definition.values), "")
        if row.certainty != "sets" or not negative or row.when in {"active", "remission"}:
            record.notes.note(NOT_COUNTED, path, row.fact)
        elif recorded is not None and recorded.first > record.as_of:
            record.notes.note("fhir/date-future", f"{diagnosis.resource.name}.recordedDate", row.fact)
        elif not row.refuted:
            record.suggest(row.fact, negative, "refuted", path)
        elif record.envelope.is_partial:
            record.suggest(row.fact, row.refuted, "partial", path)
        elif recorded is None or recorded.last > record.as_of:
            record.suggest(row.fact, row.refuted, "no_day", path)
        elif row.when != "ever" and recorded.first < _since_when_refuted(record):
            record.suggest(row.fact, row.refuted, "too_old", path)
        else:
            source = diagnosis.resource.name
            record.notes.state(Statement(row.fact, row.refuted, recorded.day, source, row.matched_by, is_negative=True))


def _since_when_refuted(record: Record) -> date:
    """Give the first day on which a refutation still speaks for the day of the evaluation."""
    return record.as_of - timedelta(days=record.terminology.policy[_REFUTED].value)


def _read_text(resource: Resource, record: Record) -> None:
    """Read a diagnosis that is a text and nothing else: it may suggest, and never settles."""
    texts = record.texts(resource.data.get("code"))
    told = [row for pattern, row in record.terminology.phrases if any(map(pattern.search, texts))]
    if not told or any(not row.fact for row in told):
        return
    verification = record.meanings(resource, "verificationStatus")
    diagnosis = _diagnosis(resource, verification, record)
    is_future = diagnosis.day is not None and diagnosis.day.first > record.as_of
    record.note_shape(resource)
    for row in told:
        if not record.knows(row.fact):
            continue
        if "retracted" in verification:
            record.notes.note(RETRACTED, f"{resource.name}.verificationStatus", row.fact)
        elif "refuted" in verification:
            record.notes.note(NOT_COUNTED, f"{resource.name}.verificationStatus", row.fact)
        elif is_future:
            record.notes.note("fhir/date-future", f"{resource.name}.onset", row.fact)
        else:
            record.notes.suggest(row.fact, row.value, "fhir/text-only", diagnosis.path)
