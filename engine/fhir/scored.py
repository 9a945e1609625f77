"""PHQ-9: a questionnaire whose items are scored and added up.

The total is the sum of nine. While one item is missing there is none, but single items stand alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.fhir import values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.fhir import shape
    from engine.fhir.form import Form
    from engine.fhir.record import Record

_INCOMPLETE, _CONFLICT, _UNCONFIRMED = "fhir/score-incomplete", "fhir/conflict", "fhir/needs-confirmation"


def facts(record: Record) -> tuple[str, ...]:
    """Give the facts that the questionnaire leads to."""
    phq9 = record.terminology.forms.phq9
    return (phq9.total_fact, *phq9.item_facts.values())


def read(form: Form, record: Record) -> None:
    """Read a form that is a PHQ-9. A total that it states is only compared with the sum."""
    phq9, matched_by = record.terminology.forms.phq9, _matched_by(record)
    found = _read_items(form, record)
    _observe_items(form, found, record)
    is_empty = form.is_partial and not form.has(phq9.items)
    total = _sum(found)
    form.observe(phq9.total_fact, total, matched_by, record, suggests=total.suggests, is_absent=is_empty)
    if phq9.total in form.answers and record.knows(phq9.total_fact):
        said = stated(form, phq9.total, phq9.total_fact, record)
        form.observe(phq9.total_fact, said, matched_by, record, is_stated=True)


def read_beside_total(form: Form, total_of: shape.Element | None, record: Record) -> None:
    """Read the items that came with a total: each for itself, and all of them as a check of the total.

    Where some are missing the total stands, unless it is less than those that are there. `total_of` holds the total;
    None if none is stated.
    """
    phq9, matched_by = record.terminology.forms.phq9, _matched_by(record)
    found = _read_items(form, record)
    here = {item: each for item, each in found.items() if item in form.answers}
    _observe_items(form, here, record)
    total = _sum(found)
    if not record.knows(phq9.total_fact) or not here:
        return
    if not total.fault:
        form.observe(phq9.total_fact, total, matched_by, record)
    elif total_of is not None:
        said = values.read_score(total_of, record.definitions[phq9.total_fact], record, form.path).value
        known = sum(each.value for each in here.values() if isinstance(each.value, int))
        if isinstance(said, int) and said < known:
            form.observe(phq9.total_fact, values.Read(fault=_CONFLICT), matched_by, record)


def read_numbered(form: Form, record: Record) -> None:
    """Read a form that is a PHQ-9 and whose items are known by their numbers alone: it only suggests."""
    suggested = _suggested(_read_items(form, record), record)
    for fact in facts(record):
        fault = _UNCONFIRMED if fact in suggested else _INCOMPLETE
        form.observe(fact, values.Read(fault=fault), _matched_by(record), record, suggests=suggested.get(fact))


def suggest_numbered(form: Form, record: Record) -> None:
    """Suggest what a form of nine numbered items says if it is a PHQ-9; that it is one, it does not say."""
    suggested = _suggested(_read_items(form, record), record)
    if len(suggested) == len(facts(record)):
        for fact in filter(record.knows, suggested):
            record.suggest(fact, suggested[fact], "numbered", form.path)


def stated(form: Form, code: str, fact: str, record: Record) -> values.Read:
    """Read the total that a form states for a fact."""
    definition = record.definitions[fact]
    return _single({values.read_score(each, definition, record, form.path) for each in form.answers.get(code, ())})


def _read_items(form: Form, record: Record) -> dict[str, values.Read]:
    phq9 = record.terminology.forms.phq9
    return {
        item: _single({values.read_item_score(each, phq9, record, form.path) for each in form.answers.get(item, ())})
        for item in phq9.items
    }


def _single(found: set[values.Read]) -> values.Read:
    """Give the one answer to an item; the same answer twice is one, and of several the highest is suggested."""
    if len(found) == 1:
        return found.pop()
    numbers = [number for number in map(_number, found) if number is not None]
    return values.Read(fault=_CONFLICT if found else _INCOMPLETE, suggests=str(max(numbers)) if numbers else None)


def _observe_items(form: Form, found: Mapping[str, values.Read], record: Record) -> None:
    for item, fact in record.terminology.forms.phq9.item_facts.items():
        if item in found:
            said = found[item]
            is_absent = item not in form.answers
            form.observe(fact, said, _matched_by(record), record, suggests=said.suggests, is_absent=is_absent)


def _sum(found: Mapping[str, values.Read]) -> values.Read:
    """Add the items up; the sum of those that are not sure is only suggested."""
    faults = {each.fault for each in found.values() if each.fault}
    numbers = [number for number in map(_number, found.values()) if number is not None]
    if not faults:
        return values.Read(sum(numbers))
    is_whole = len(numbers) == len(found) and _CONFLICT not in faults
    return values.Read(fault=min(faults), suggests=str(sum(numbers)) if is_whole else None)


def _suggested(found: Mapping[str, values.Read], record: Record) -> dict[str, str]:
    """Give what items suggest, by fact: the total if all of them do."""
    phq9 = record.terminology.forms.phq9
    numbers = {item: number for item, each in found.items() if (number := _number(each)) is not None}
    suggested = {fact: str(numbers[item]) for item, fact in phq9.item_facts.items() if item in numbers}
    return suggested | ({phq9.total_fact: str(sum(numbers.values()))} if len(numbers) == len(found) else {})


def _number(found: values.Read) -> int | None:
    """Give the score that was read or, if none could be, the one that is suggested."""
    if isinstance(found.value, int):
        return found.value
    return int(found.suggests) if found.suggests is not None else None


def _matched_by(record: Record) -> str:
    return "code" if record.terminology.forms.phq9.status == "read" else "unconfirmed code"
