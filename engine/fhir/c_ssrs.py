"""C-SSRS: the level of suicidal ideation and how recent suicidal behavior was, from items answered yes or no.

Only an answer that is surely understood settles anything. An item that is missing, cannot be read or contradicts itself
is not "no": what hangs on it is unusable, and what was answered yes is suggested.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.fhir import shape, values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.fhir.form import Form
    from engine.fhir.record import Record
    from engine.fhir.tables import LevelForm

_CONFLICT, _UNREAD, _INCOMPLETE = "fhir/conflict", "fhir/value-absent", "fhir/score-incomplete"
_UNCONFIRMED, _TEXT = "fhir/needs-confirmation", "fhir/text-only"
_FROM_WORST = (_CONFLICT, _UNREAD, _INCOMPLETE, _UNCONFIRMED, _TEXT)
_MERELY_UNSURE = frozenset({"", _UNCONFIRMED, _TEXT})
_LOINC = "LOINC"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was answered to an item, and the issue code that says why it is not sure; empty if it is sure."""

    yes: bool = False
    no: bool = False
    fault: str = ""

    @property
    def is_yes(self) -> bool:
        return self.yes and not self.fault

    @property
    def is_no(self) -> bool:
        return self.no and not self.fault

    @property
    def suggests_no(self) -> bool:
        return self.no and not self.yes and self.fault in _MERELY_UNSURE


def items(form: LevelForm) -> tuple[str, ...]:
    """Give the codes of the items, those of ideation first."""
    return (*form.levels, form.behavior.ever, form.behavior.recent)


def facts(form: LevelForm) -> tuple[str, str]:
    """Give the two facts that the questionnaire leads to."""
    return form.fact, form.behavior.fact


def read(form: Form, record: Record) -> None:
    """Read both facts of a form that is a C-SSRS; what it lacks is missing from it, whatever an older one says."""
    c_ssrs = record.terminology.forms.c_ssrs
    matched_by = "code" if c_ssrs.status == "read" else "unconfirmed code"
    found, suggests = _level(form, record)
    form.observe(c_ssrs.fact, found, matched_by, record, suggests=suggests, is_absent=not form.has(c_ssrs.levels))
    behavior = c_ssrs.behavior
    found, suggests = _behavior(form, record)
    form.observe(
        behavior.fact,
        found,
        matched_by,
        record,
        suggests=suggests,
        is_open=found.value == behavior.values["recent"],
        is_absent=not form.has((behavior.ever, behavior.recent)),
    )


def denies(holder: shape.Element, record: Record) -> bool:
    """Say whether a value is a "no", sure or not."""
    return _said(holder, record).suggests_no


def _level(form: Form, record: Record) -> tuple[values.Read, str]:
    """Read the level: the worst item answered yes, if all worse ones were answered no. Also give what is suggested."""
    c_ssrs = record.terminology.forms.c_ssrs
    answers = {item: _answer(form, item, record) for item in c_ssrs.levels}
    level, suggests = c_ssrs.none, ""
    faults: list[str] = []
    for item, value in c_ssrs.levels.items():
        if answers[item].is_yes:
            level, faults = value, []
        elif answers[item].fault:
            faults.append(answers[item].fault)
        if answers[item].yes:
            suggests = value
    if not suggests and all(answer.suggests_no for answer in answers.values()):
        suggests = c_ssrs.none
    return (values.Read(fault=_worst(faults)) if faults else values.Read(level)), suggests


def _behavior(form: Form, record: Record) -> tuple[values.Read, str]:
    """Read how recent behavior was; that it was within a day is not asked, so a recent one is to be confirmed.

    Whether it was recent is only asked of those who ever had any, so it may be missing after a "no", unless a part of
    the form did not come.
    """
    behavior = record.terminology.forms.c_ssrs.behavior
    ever, recent = (_answer(form, item, record) for item in (behavior.ever, behavior.recent))
    was_not_asked = recent.fault == _INCOMPLETE and not recent.yes and not form.is_partial
    if recent.is_yes and (ever.is_yes or (ever.fault == _INCOMPLETE and not ever.no)):
        return values.Read(behavior.values["recent"]), ""
    if ever.is_no and (recent.is_no or was_not_asked):
        return values.Read(behavior.values["never"]), ""
    if ever.is_yes and recent.is_no:
        return values.Read(behavior.values["long_ago"]), ""
    fault = _CONFLICT if recent.yes and ever.no else _worst((ever.fault, recent.fault))
    suggests = ""
    if recent.yes:
        suggests = behavior.values["recent"]
    elif recent.suggests_no and ever.yes and not ever.no:
        suggests = behavior.values["long_ago"]
    elif ever.suggests_no and (recent.suggests_no or was_not_asked):
        suggests = behavior.values["never"]
    return values.Read(fault=fault), suggests


def _worst(faults: Iterable[str]) -> str:
    return min((fault for fault in faults if fault), key=_FROM_WORST.index)


def _answer(form: Form, item: str, record: Record) -> _Answer:
    """Join what was answered to an item, wherever it stands."""
    said = [_said(holder, record) for holder in form.answers.get(item, ())]
    if not said:
        return _Answer(any(_said(holder, record).yes for holder in form.unsure.get(item, ())), fault=_INCOMPLETE)
    yes, no = any(each.yes for each in said), any(each.no for each in said)
    faults = {each.fault for each in said}
    if yes and no:
        return _Answer(yes, no, _CONFLICT)
    is_sure = "" in faults and faults <= _MERELY_UNSURE
    return _Answer(yes, no, "" if is_sure else _worst(faults))


def _said(holder: shape.Element, record: Record) -> _Answer:
    """Read one answer. A code that is not confirmed and a text say what is likely, and are not sure."""
    found = shape.choice(holder, "value")
    if holder.get("dataAbsentReason") or found is None:
        is_unanswered = found is None and shape.count_choices(holder, "value") == 0 and "dataAbsentReason" in holder
        return _Answer(fault=_INCOMPLETE if is_unanswered else _UNREAD)
    kind, value = found
    if isinstance(value, bool):
        return _Answer(yes=value, no=not value)
    if kind not in {"Coding", "CodeableConcept", "String"}:
        return _Answer(fault=_UNREAD)
    concept = {"coding": value} if kind == "Coding" else {"text": value} if kind == "String" else shape.element(value)
    c_ssrs = record.terminology.forms.c_ssrs
    sure, likely = set(), set()
    for coding in shape.elements(concept.get("coding")):
        uri, code = coding.get("system"), shape.code(coding.get("code"))
        system = record.terminology.system(uri)
        if system == _LOINC or not uri:
            sure.add(c_ssrs.answers.get(code, ""))
        near = c_ssrs.likely_answers.get(system or record.terminology.edition(uri), {})
        likely.add(near.get(code, ""))
    written = {c_ssrs.answer_texts.get(each.casefold(), "") for each in record.texts(concept)}
    said = (sure | likely | written) - {""}
    fault = _UNREAD if not said else "" if sure - {""} else _UNCONFIRMED if likely - {""} else _TEXT
    return _Answer("yes" in said, "no" in said, fault if len(said) < 2 else _CONFLICT)  # noqa: PLR2004 - yes and no
