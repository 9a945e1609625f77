"""Condition: what a diagnosis settles, suggests or refutes, judged by its dates on the day of the evaluation.

A code that is not known exactly never silences a diagnosis: another edition of its code system, another way to write
it, and the text beside it are read too, and suggest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.fhir import shape
from engine.fhir.diagnosis import CURRENT, PAST, REMISSION, UNSURE, Diagnosis, read_diagnosis, since
from engine.fhir.notes import Evidence, Statement
from engine.fhir.record import NOT_COUNTED, RETRACTED
from engine.fhir.tables import ConditionCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    from engine.fhir.bundle import Resource
    from engine.fhir.record import Record
    from engine.fhir.tables import Phrase

_NEGATIVES = ("no", "none")
_REFUTED = "refuted"
_DAYS_A_WEEK = 7
_UNDECIDED, _UNVERIFIED = "fhir/needs-confirmation", "fhir/not-verified"


@dataclass(frozen=True, slots=True)
class _Coded:
    """A diagnosis with the rows of its codes, and those of codes that are not known to be meant."""

    diagnosis: Diagnosis
    rows: Sequence[ConditionCode]
    likely: Sequence[ConditionCode]
    phrases: Sequence[Phrase]

    @property
    def facts(self) -> set[str]:
        return {row.fact for row in (*self.rows, *self.likely)} | {row.fact for row in self.phrases}


def read_conditions(record: Record) -> None:
    """Read every diagnosis that a table has; family history is no Condition and is not read."""
    all_coded = [coded for resource in record.of_kind("Condition") if (coded := _coded(resource, record))]
    counted = [coded for coded in all_coded if _counts(coded, record)]
    episode = _last_episode(counted, record)
    for coded in counted:
        if coded.diagnosis.is_refuted:
            _read_refuted(coded, record)
            continue
        for row in coded.rows:
            _read_row(coded.diagnosis, row, record, episode)
        for row in coded.likely:
            _read_likely(coded.diagnosis, row, record)
        for phrase in coded.phrases:
            _read_phrase(coded.diagnosis, phrase, record)


def _coded(resource: Resource, record: Record) -> _Coded | None:
    """Give what the tables have of a diagnosis; None if that is nothing."""
    concept = resource.data.get("code")
    find = record.terminology.conditions
    rows = [row for coding in record.codings(concept) for row in find.find(coding) if record.knows(row.fact)]
    known = {row.fact for row in rows}
    near = [row for coding in _near_codings(concept, record) for row in find.find_loosely(coding)]
    likely = [row for row in near if record.knows(row.fact) and row.fact not in known]
    known |= {row.fact for row in likely}
    told = record.terminology.suggested_by(record.texts(concept), has_code=bool(known))
    phrases = [row for row in told if record.knows(row.fact) and row.fact not in known]
    return _Coded(read_diagnosis(resource, record), rows, likely, phrases) if rows or likely or phrases else None


def _near_codings(concept: object, record: Record) -> list[tuple[str, str]]:
    """Give the codes of a concept, also those of another edition of a known code system."""
    found = set()
    for coding in shape.elements(shape.element(concept).get("coding")):
        uri = coding.get("system")
        system = record.terminology.system(uri) or record.terminology.edition(uri)
        if system:
            found.add((system, shape.code(coding.get("code"))))
    return sorted(found)


def _counts(coded: _Coded, record: Record) -> bool:
    """Say whether a diagnosis was made by the day of the evaluation and not in error; if not, that is noted."""
    diagnosis, name = coded.diagnosis, coded.diagnosis.resource.name
    if "retracted" in diagnosis.verification:
        for fact in coded.facts:
            record.notes.note(RETRACTED, diagnosis.verification_path, fact)
        return False
    record.note_shape(diagnosis.resource)
    if diagnosis.is_later(record.as_of):
        for fact in coded.facts:
            record.notes.note("fhir/date-future", f"{name}.onset", fact)
        return False
    return True


def _last_episode(all_coded: Iterable[_Coded], record: Record) -> date | None:
    """Give the last day on which a diagnosis says that an episode goes on; a remission does not stand against it."""
    told = [
        coded.diagnosis.last_told(record.as_of)
        for coded in all_coded
        if coded.diagnosis.state in {CURRENT, UNSURE}
        and not coded.diagnosis.is_refuted
        and any(row.when == "active" for row in (*coded.rows, *coded.likely))
    ]
    return max((day for day in told if day is not None), default=None)


def _read_row(diagnosis: Diagnosis, row: ConditionCode, record: Record, episode: date | None) -> None:
    value = _value(diagnosis, row, record)
    if value is None or row.certainty == "never":
        return
    notes, path = record.notes, diagnosis.path
    if row.certainty == "notes":
        notes.note(_UNDECIDED, path, row.fact, "noted")
    elif not diagnosis.is_verified:
        notes.suggest(row.fact, value, _UNVERIFIED, diagnosis.verification_path)
        _read_onset(diagnosis, row, record, _UNVERIFIED)
    elif row.certainty == "suggests":
        notes.suggest(row.fact, value, _UNDECIDED, path, row.why)
    else:
        doubt = diagnosis.concern or diagnosis.doubt(row, record) or _denial(diagnosis, row, record, episode)
        if doubt:
            record.suggest(row.fact, value, doubt, path)
            _read_onset(diagnosis, row, record, _UNDECIDED)
            return
        day = diagnosis.day.day if diagnosis.day else None
        is_loose = row.certainty == "confirm"
        notes.state(Statement(row.fact, value, day, diagnosis.resource.name, row.matched_by, is_loose))
        _read_onset(diagnosis, row, record)


def _value(diagnosis: Diagnosis, row: ConditionCode, record: Record) -> str | None:
    """Give the value that a row has in the diagnosis's state; None if it says nothing then."""
    state = diagnosis.state
    match row.when:
        case "ever" | "present":
            return row.value
        case "state":
            return "current" if state in {CURRENT, UNSURE} else "past"
        case "remission":
            return row.value if state == REMISSION else None
        case _:
            is_asked = state in {CURRENT, UNSURE} or (row.after and diagnosis.ended_lately(row.after, record))
            return row.value if is_asked else None


def _denial(diagnosis: Diagnosis, row: ConditionCode, record: Record, episode: date | None) -> str:
    """Name why a remission does not deny an episode: one is recorded as active on the same day or later."""
    told = diagnosis.last_told(record.as_of)
    is_denied = row.within == REMISSION and episode is not None and (told is None or told <= episode)
    return "contradicted" if is_denied else ""


def _read_likely(diagnosis: Diagnosis, row: ConditionCode, record: Record) -> None:
    """Read a code that is not known to be meant: it suggests what it would settle, and never more."""
    value = _value(diagnosis, row, record)
    if value is not None and row.certainty not in {"never", "notes"}:
        record.suggest(row.fact, value, "other_code", diagnosis.path)
        _read_onset(diagnosis, row, record, _UNDECIDED)


def _read_onset(diagnosis: Diagnosis, row: ConditionCode | Phrase, record: Record, fault: str = "") -> None:
    """Read what the onset says: a date is only suggested; weeks since an event are counted from its newest onset.

    With a `fault` the weeks cannot be used: what may be the newest event is not known to be one.
    """
    if not row.onset or not record.knows(row.onset):
        return
    definition, onset, path = record.definitions[row.onset], diagnosis.onset, f"{diagnosis.resource.name}.onset"
    if definition.type == "date":
        if onset is not None and onset.day is not None and not fault:
            record.suggest(row.onset, onset.day.isoformat(), "onset", path)
        return
    weeks = (record.as_of - onset.first).days // _DAYS_A_WEEK if onset is not None else None
    _, high = definition.range or (0, 0)
    is_beyond = weeks is not None and weeks > high
    suggests = str(weeks) if fault and weeks is not None and not is_beyond else None
    matched_by = row.matched_by if isinstance(row, ConditionCode) else "name"
    record.notes.observe(
        Evidence(
            row.onset,
            weeks,
            onset,
            diagnosis.resource.name,
            path,
            matched_by,
            unit=definition.unit,
            fault=fault or ("fhir/implausible" if is_beyond else ""),
            suggests=suggests,
        )
    )


def _read_refuted(coded: _Coded, record: Record) -> None:
    """Read a refuted diagnosis: a negative where the code is as wide as the fact and the whole history came.

    It was refuted when it was recorded, whatever its onset, and says nothing of the time since then: an old one only
    suggests, also of what counts at any time.
    """
    diagnosis = coded.diagnosis
    path, recorded = diagnosis.verification_path, diagnosis.recorded
    for fact in coded.facts - {row.fact for row in coded.rows}:
        record.notes.note(NOT_COUNTED, path, fact)
    for row in coded.rows:
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
        elif recorded.first < since(_REFUTED, record):
            record.suggest(row.fact, row.refuted, "too_old", path)
        else:
            source = diagnosis.resource.name
            record.notes.state(Statement(row.fact, row.refuted, recorded.day, source, row.matched_by, is_negative=True))


def _read_phrase(diagnosis: Diagnosis, row: Phrase, record: Record) -> None:
    """Read the text of a diagnosis: it may suggest, and never settles."""
    if row.when == "current" and diagnosis.state in {PAST, REMISSION} and diagnosis.is_told:
        return
    record.notes.suggest(row.fact, row.value, "fhir/text-only", diagnosis.path)
    _read_onset(diagnosis, row, record, "fhir/text-only")
