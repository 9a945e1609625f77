"""The value of an observation or of an answer: read exactly, or not at all, with the issue code that says why."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from engine import units
from engine.fhir import shape
from engine.fhir.settle import typed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from engine.dictionary import FactDefinition
    from engine.fhir.record import Record
    from engine.fhir.tables import ScoredForm

PLAIN_SCORE = "1"
_NOT_WHOLE, _OUT_OF_RANGE = "fhir/score-not-whole", "fhir/score-out-of-range"
_ABSENT, _UNIT, _CONFLICT, _IMPLAUSIBLE = "fhir/value-absent", "fhir/unit", "fhir/conflict", "fhir/implausible"
_TEXT = "fhir/text-only"


@dataclass(frozen=True, slots=True)
class Read:
    """A value that was read, with the number as it was written; or the issue code that says why none was.

    `suggests` is the value that is likely where none was read.
    """

    value: object = None
    raw: object = None
    fault: str = ""
    suggests: str | None = None


def read_score(holder: shape.Element, definition: FactDefinition, record: Record, path: str) -> Read:
    """Read a whole number on a scale. A score is never rounded, and never put inside its scale."""
    found, fault = _value_of(holder)
    if found is None:
        return Read(fault=fault)
    return _plain_score(found, definition.id, definition.range, record, path)


def _plain_score(
    found: tuple[str, object], fact: str, limits: tuple[Decimal, Decimal] | None, record: Record, path: str
) -> Read:
    """Read a number without a unit, that stands for itself and for no more or less than itself."""
    kind, value = found
    if kind == "Quantity":
        quantity = shape.element(value)
        if _unit(quantity, record) not in {"", PLAIN_SCORE}:
            return Read(fault=_UNIT)
        value = quantity.get("value") if not quantity.get("comparator") else None
    number = shape.number(value)
    if number is None:
        return Read(fault=_ABSENT)
    if isinstance(value, str):
        record.notes.note("fhir/malformed", path, fact)
    return score(number, limits)


def score(number: Decimal, limits: tuple[Decimal, Decimal] | None) -> Read:
    """Take a number as a score, if it is whole and inside its limits."""
    low, high = limits or (Decimal(0), Decimal(0))
    if number != number.to_integral_value():
        return Read(raw=number, fault=_NOT_WHOLE)
    if not low <= number <= high:
        return Read(raw=number, fault=_OUT_OF_RANGE)
    return Read(int(number), number)


def read_quantity(holder: shape.Element, definition: FactDefinition, record: Record, path: str) -> Read:
    """Read a measurement in the unit of its fact, rounded half up to the digits that the fact keeps."""
    found, fault = _value_of(holder)
    if found is None:
        return Read(fault=fault)
    quantity = shape.element(found[1])
    number = shape.number(quantity.get("value")) if not quantity.get("comparator") else None
    if number is None:
        return Read(fault=_ABSENT)
    if isinstance(quantity.get("value"), str):
        record.notes.note("fhir/malformed", path, definition.id)
    unit = _unit(quantity, record)
    factor = units.factor(unit, definition.unit) if unit else None
    if factor is None:
        return Read(raw=number, fault=_UNIT)
    exact = Fraction(number) * factor
    low, high = definition.range or (Decimal(0), Decimal(0))
    if not Fraction(low) <= exact <= Fraction(high):
        return Read(raw=number, fault=_IMPLAUSIBLE)
    digits = Decimal(1).scaleb(-definition.scale)
    rounded = (Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(digits, ROUND_HALF_UP)
    return Read(rounded if definition.scale else int(rounded), number)


def read_coded(holder: shape.Element, definition: FactDefinition, record: Record) -> Read:
    """Read a coded answer, or a boolean for a fact that is one."""
    found, fault = _value_of(holder)
    if found is None:
        return Read(fault=fault)
    kind, value = found
    if kind == "Boolean" and isinstance(value, bool) and definition.type == "bool":
        return Read(value)
    rows = [row for coding in record.codings(value) for row in record.terminology.answers.find(coding)]
    values = {row.value for row in rows if row.fact == definition.id}
    if len(values) != 1:
        return Read(fault=_CONFLICT if values else _ABSENT)
    return Read(typed(definition, values.pop()))


def read_item_score(holder: shape.Element, form: ScoredForm, record: Record, path: str) -> Read:
    """Read the answer to one item of a scored questionnaire.

    A score in an extension wins over the code of the answer: one source gives every answer the same code. An answer in
    words alone is only suggested.
    """
    found, fault = _value_of(holder)
    if found is None:
        return Read(fault=fault)
    kind, value = found
    limits = Decimal(min(form.answers.values())), Decimal(max(form.answers.values()))
    concept = {"coding": value} if kind == "Coding" else {"text": value} if kind == "String" else shape.element(value)
    codings = shape.elements(concept.get("coding"))
    likely = {form.answer_texts[each] for each in map(str.casefold, record.texts(concept)) if each in form.answer_texts}
    if kind not in {"Coding", "CodeableConcept"}:
        return _likely(likely) if likely else _plain_score(found, form.total_fact, limits, record, path)
    coded = {form.answers[code] for code in _loinc_codes(codings, record) if code in form.answers}
    stated = {
        shape.number(choice[1])
        for place in [*codings, holder]
        for url in form.score_extensions
        for extension in shape.extensions(place, url)
        if (choice := shape.choice(extension, "value")) is not None
    }
    if not stated and not coded:
        return _likely(likely)
    said = stated or {Decimal(each) for each in coded | likely}
    if len(said) != 1:
        return Read(fault=_CONFLICT)
    number = said.pop()
    if number is None:
        return Read(fault=_ABSENT)
    if coded and coded != {number}:
        record.notes.note("fhir/answer-conflict", path, form.total_fact)
    return score(number, limits)


def _likely(scores: set[int]) -> Read:
    """Suggest the score of an answer in words alone."""
    if len(scores) == 1:
        return Read(fault=_TEXT, suggests=str(next(iter(scores))))
    return Read(fault=_CONFLICT if scores else _ABSENT)


def _loinc_codes(codings: Iterable[shape.Element], record: Record) -> Iterator[str]:
    """Give the codes that are of LOINC, or of no system that is named."""
    for coding in codings:
        system = coding.get("system")
        if not system or record.terminology.system(system) == "LOINC":
            yield shape.code(coding.get("code"))


def _value_of(holder: shape.Element) -> tuple[tuple[str, object] | None, str]:
    """Give the one value of `value[x]`, or why there is none."""
    if holder.get("dataAbsentReason"):
        return None, _ABSENT
    found = shape.choice(holder, "value")
    return found, "" if found else _CONFLICT if shape.count_choices(holder, "value") > 1 else _ABSENT


def _unit(quantity: shape.Element, record: Record) -> str:
    """Give the unit of a quantity as UCUM; empty if none is written, `?` if it is not known or is written as two."""
    code, written = shape.text(quantity.get("code")), shape.text(quantity.get("unit"))
    if not code and not written:
        return ""
    by_code, by_text = (record.terminology.units.get(each, "") for each in (code, written))
    if code and not by_code:
        return "?"
    return "?" if by_code and by_text and by_code != by_text else by_code or by_text or "?"
