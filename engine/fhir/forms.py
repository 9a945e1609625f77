"""Questionnaires that are read item by item: PHQ-9 and C-SSRS, from a response or from a panel of observations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.fhir import moment, shape, values
from engine.fhir.notes import Evidence
from engine.fhir.subject import subject_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from engine.fhir.bundle import Resource
    from engine.fhir.moment import Moment
    from engine.fhir.record import Record

_LOINC_AT_END = re.compile(r"(?:^|[^0-9])([0-9]{1,7}-[0-9])$")
_INCOMPLETE, _CONFLICT = "fhir/score-incomplete", "fhir/conflict"
_MAX_ITEMS = 2000
_FEWEST_TO_KNOW = 2
"""PHQ-2 is the first two items of PHQ-9; a third one shows that it is not PHQ-2."""


@dataclass(frozen=True, slots=True)
class _Form:
    """Answers by the code of their items. An item that stands twice has two holders."""

    source: str
    when: Moment | None
    answers: Mapping[str, list[shape.Element]]
    path: str

    def has(self, items: Iterable[str]) -> bool:
        return any(item in self.answers for item in items)


def facts_of(parts: str, record: Record) -> tuple[str, ...]:
    """Give the facts that a panel's parts lead to."""
    phq9, c_ssrs = record.terminology.forms.phq9, record.terminology.forms.c_ssrs
    if parts == "phq9":
        return (phq9.total_fact, *phq9.item_facts.values())
    return (c_ssrs.fact, c_ssrs.behavior.fact) if parts == "c-ssrs" else ()


def read_responses(record: Record) -> None:
    """Read every QuestionnaireResponse: the two questionnaires, and totals that are stated in others."""
    for resource in record.of_kind("QuestionnaireResponse"):
        answers: dict[str, list[shape.Element]] = {}
        for item in _items(resource.data):
            code = _code_of(item)
            if code:
                answers.setdefault(code, []).extend(shape.elements(item.get("answer")))
        form = _Form(resource.name, moment.of_value(resource.data, "authored"), answers, f"{resource.name}.item")
        facts = [*_facts(form, record)]
        if facts:
            record.note_shape(resource)
            if record.counts(resource, facts):
                _read_form(form, record)
                _read_totals(form, record)


def read_panel(resource: Resource, parts: str, when: Moment | None, record: Record) -> None:
    """Read a panel of observations: its components, and its members as far as the record holds them."""
    answers: dict[str, list[shape.Element]] = {}
    for holder in [*shape.elements(resource.data.get("component")), *_members(resource, record)]:
        for _, code in record.codings(holder.get("code")):
            answers.setdefault(code, []).append(holder)
    form = _Form(resource.name, when, answers, f"{resource.name}.hasMember")
    if parts == "phq9" and form.has(record.terminology.forms.phq9.items):
        _read_scored(form, record)
    elif parts == "c-ssrs":
        _read_level(form, record)
        _read_behavior(form, record)


def _members(resource: Resource, record: Record) -> Iterator[shape.Element]:
    """Give the members that are this patient's and count."""
    for member in shape.elements(resource.data.get("hasMember")):
        found = record.envelope.find(shape.text(member.get("reference")))
        if found is None or found.kind != resource.kind or subject_of(found, record.envelope) != record.patient:
            continue
        if record.meanings(found, "status") == {"counts"}:
            yield found.data


def _items(response: shape.Element) -> Iterator[shape.Element]:
    waiting = shape.elements(response.get("item"))
    for _ in range(_MAX_ITEMS):
        if not waiting:
            return
        item = waiting.pop()
        yield item
        waiting += shape.elements(item.get("item"))
        for answer in shape.elements(item.get("answer")):
            waiting += shape.elements(answer.get("item"))


def _code_of(item: shape.Element) -> str:
    """Give the LOINC code that an item's link id or definition ends in."""
    for key in ("linkId", "definition"):
        match = _LOINC_AT_END.search(shape.text(item.get(key)))
        if match:
            return match[1]
    return ""


def _is_phq9(form: _Form, record: Record) -> bool:
    phq9 = record.terminology.forms.phq9
    return form.has(phq9.items[_FEWEST_TO_KNOW:]) or phq9.total in form.answers


def _facts(form: _Form, record: Record) -> Iterator[str]:
    forms = record.terminology.forms
    if _is_phq9(form, record):
        yield from facts_of("phq9", record)
    if form.has(forms.c_ssrs.levels):
        yield forms.c_ssrs.fact
    if form.has((forms.c_ssrs.behavior.ever, forms.c_ssrs.behavior.recent)):
        yield forms.c_ssrs.behavior.fact
    yield from (fact for _, fact, _ in _totals(form, record))


def _read_form(form: _Form, record: Record) -> None:
    forms = record.terminology.forms
    if _is_phq9(form, record):
        _read_scored(form, record)
    if form.has(forms.c_ssrs.levels):
        _read_level(form, record)
    _read_behavior(form, record)


def _totals(form: _Form, record: Record) -> Iterator[tuple[str, str, str]]:
    """Give the code, fact and match of each total that a form states, except those of questionnaires read by item."""
    by_item = {*record.terminology.forms.phq9.item_facts.values(), record.terminology.forms.phq9.total_fact}
    for code in form.answers:
        for row in record.terminology.observations.find(("LOINC", code)):
            if row.kind == "score" and row.fact not in by_item and record.knows(row.fact):
                yield code, row.fact, row.matched_by


def _read_totals(form: _Form, record: Record) -> None:
    for code, fact, matched_by in _totals(form, record):
        _observe(form, fact, _stated(form, code, fact, record), matched_by, record)


def _stated(form: _Form, code: str, fact: str, record: Record) -> values.Read:
    """Read the total that a form states for a fact."""
    definition = record.definitions[fact]
    return _single(form, code, lambda holder: values.read_score(holder, definition, record, form.path))


def _read_scored(form: _Form, record: Record) -> None:
    """Read PHQ-9: the total is the sum of nine; while one is missing there is none, but single items stand alone."""
    phq9 = record.terminology.forms.phq9
    matched_by = "code" if phq9.status == "read" else "unconfirmed code"

    def read(holder: shape.Element) -> values.Read:
        return values.read_item_score(holder, phq9, record, form.path)

    found = {item: _single(form, item, read) for item in phq9.items}
    for item, fact in phq9.item_facts.items():
        _observe(form, fact, found[item], matched_by, record)
    faults = sorted({each.fault for each in found.values() if each.fault})
    numbers = [each.value for each in found.values() if isinstance(each.value, int)]
    total = values.Read(fault=faults[0]) if faults else values.Read(sum(numbers))
    _observe(form, phq9.total_fact, total, matched_by, record)
    if phq9.total in form.answers and record.knows(phq9.total_fact):
        stated = _stated(form, phq9.total, phq9.total_fact, record)
        _observe(form, phq9.total_fact, stated, matched_by, record, is_stated=True)


def _read_level(form: _Form, record: Record) -> None:
    """Read the level of ideation: the worst item answered yes, if all worse ones were answered no."""
    c_ssrs = record.terminology.forms.c_ssrs
    matched_by = "code" if c_ssrs.status == "read" else "unconfirmed code"
    answered = {item: _yes_or_no(form, item, record) for item in c_ssrs.levels}
    if not any(answered.values()):
        return
    level, fault = c_ssrs.none, ""
    for item, value in c_ssrs.levels.items():
        match answered[item]:
            case "yes":
                level, fault = value, ""
            case "no":
                pass
            case _:
                fault = _INCOMPLETE
    found = values.Read(fault=fault) if fault else values.Read(level)
    _observe(form, c_ssrs.fact, found, matched_by, record, suggests=level)


def _read_behavior(form: _Form, record: Record) -> None:
    """Read how recent suicidal behavior was; that it was within a day is not asked, so a yes is to be confirmed."""
    behavior = record.terminology.forms.c_ssrs.behavior
    matched_by = "code" if record.terminology.forms.c_ssrs.status == "read" else "unconfirmed code"
    if not form.has((behavior.ever, behavior.recent)) or not record.knows(behavior.fact):
        return
    value, fault, is_open = "", "", False
    match _yes_or_no(form, behavior.ever, record), _yes_or_no(form, behavior.recent, record):
        case ("no", "yes"):
            fault = _CONFLICT
        case (_, "yes"):
            value, is_open = behavior.values["recent"], True
        case ("no", _):
            value = behavior.values["never"]
        case ("yes", "no"):
            value = behavior.values["long_ago"]
        case _:
            fault = _INCOMPLETE
    found = values.Read(fault=fault) if fault else values.Read(value)
    _observe(form, behavior.fact, found, matched_by, record, suggests="", is_open=is_open)


def _yes_or_no(form: _Form, item: str, record: Record) -> str:
    """Give `yes` or `no`; empty if the item was not answered, or not in a way that can be read."""
    answers = record.terminology.forms.c_ssrs.answers
    said = set()
    for holder in form.answers.get(item, ()):
        found = shape.choice(holder, "value")
        if found is None or holder.get("dataAbsentReason"):
            said.add("")
        elif found[1] is True or found[1] is False:
            said.add("yes" if found[1] else "no")
        else:
            concept = shape.element(found[1])
            codings = [concept] if found[0] == "Coding" else shape.elements(concept.get("coding"))
            said |= {answers.get(shape.code(coding.get("code")), "") for coding in codings}
    return said.pop() if len(said) == 1 else ""


def _single(form: _Form, item: str, read: Callable[[shape.Element], values.Read]) -> values.Read:
    """Read the one answer to an item; the same answer twice is one."""
    found = {read(holder) for holder in form.answers.get(item, ())}
    if len(found) == 1:
        return found.pop()
    return values.Read(fault=_CONFLICT if found else _INCOMPLETE)


def _observe(
    form: _Form,
    fact: str,
    found: values.Read,
    matched_by: str,
    record: Record,
    **more: Any,  # noqa: ANN401
) -> None:
    """Keep a value of a fact; `more` are further fields of `Evidence`."""
    if record.knows(fact):
        record.notes.observe(
            Evidence(
                fact, found.value, form.when, form.source, form.path, matched_by, found.raw, fault=found.fault, **more
            )
        )
