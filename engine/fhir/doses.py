"""A dose a day in mg, where a record states amount and timing; the strength of a tablet is no dose."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from engine.fhir import shape

if TYPE_CHECKING:
    from engine.fhir.bundle import Resource
    from engine.fhir.terminology import Terminology

_MG = "mg"
_MISSING = "fhir/dose-missing"
_ORDERED_DOSE = "ordered-dose"
_OTHER_AMOUNTS = ("doseRange", "rateQuantity", "rateRange", "rateRatio")
_LIMITS = ("frequencyMax", "periodMax", "dayOfWeek", "count", "countMax")
_MOMENTS = ("timeOfDay", "when")
_HOURS = {"h": Fraction(1), "d": Fraction(24), "wk": Fraction(168)}
_A_DAY = Fraction(24)
_KEPT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Dose:
    """A dose a day in mg, or the issue code that says why there is none; `is_told` is False without any instruction."""

    daily_mg: Decimal | None = None
    fault: str = ""
    is_told: bool = True


def daily_dose(resource: Resource, terminology: Terminology, limits: tuple[Decimal, Decimal]) -> Dose:
    """Read the dose a day.

    None where amount or timing is missing, where it is taken as needed, where it lies outside `limits`, and where there
    are several instructions, of which nobody knows whether they add up.
    """
    instructions = shape.elements(resource.data.get("dosageInstruction") or resource.data.get("dosage"))
    if len(instructions) != 1:
        return Dose(fault=_MISSING, is_told=bool(resource.data.get("dosageInstruction") or resource.data.get("dosage")))
    instruction = instructions[0]
    amount, has_other_unit = _amount(instruction, terminology)
    times = _times_per_day(instruction, terminology)
    is_as_needed = shape.count_choices(instruction, "asNeeded") and instruction.get("asNeededBoolean") is not False
    if has_other_unit:
        return Dose(fault="fhir/unit")
    if amount is None or times is None or is_as_needed:
        return Dose(fault=_MISSING)
    exact = Fraction(amount) * times
    low, high = limits
    if not Fraction(low) <= exact <= Fraction(high):
        return Dose(fault="fhir/implausible")
    rounded = (Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(_KEPT).normalize()
    return Dose(Decimal(f"{rounded:f}"))


def _amount(instruction: shape.Element, terminology: Terminology) -> tuple[Decimal | None, bool]:
    """Give the one amount in mg: under doseAndRate (R4), directly under the dosage, or in an extension of the order.

    A range or a rate beside it is another amount, so that there is none to give.
    """
    stated = [*shape.elements(instruction.get("doseAndRate")), instruction]
    if any(each.get(name) for each in stated for name in _OTHER_AMOUNTS):
        return None, False
    quantities = [each.get("doseQuantity") for each in shape.elements(instruction.get("doseAndRate"))]
    quantities.append(instruction.get("doseQuantity"))
    quantities += [
        extension.get("valueQuantity")
        for extension in shape.elements(instruction.get("extension"))
        if shape.text(extension.get("url")).endswith(_ORDERED_DOSE)
    ]
    found = [quantity for quantity in map(shape.element, quantities) if quantity]
    amounts = {_in_mg(quantity, terminology) for quantity in found}
    known = amounts - {None}
    return (known.pop() if len(known) == 1 and len(amounts) == 1 else None), None in amounts


def _in_mg(quantity: shape.Element, terminology: Terminology) -> Decimal | None:
    units = {shape.text(quantity.get(key)) for key in ("code", "unit")} - {""}
    if not units or {terminology.units.get(unit, "") for unit in units} != {_MG} or quantity.get("comparator"):
        return None
    return shape.number(quantity.get("value"))


def _times_per_day(instruction: shape.Element, terminology: Terminology) -> Fraction | None:
    """Give how often a day it is taken: not where days of the week or a number of times limit it, or moments differ."""
    timing = shape.element(instruction.get("timing"))
    repeat = shape.element(timing.get("repeat"))
    if not repeat:
        codes = [shape.code(c.get("code")) for c in shape.elements(shape.element(timing.get("code")).get("coding"))]
        times = {terminology.timing[code] for code in codes if code in terminology.timing}
        return Fraction(times.pop()) if len(times) == 1 else None
    if any(name in repeat for name in _LIMITS):
        return None
    frequency, period = (shape.number(repeat.get(key)) for key in ("frequency", "period"))
    hours = _HOURS.get(shape.text(repeat.get("periodUnit")))
    if frequency is None or period is None or hours is None or frequency <= 0 or period <= 0:
        return None
    daily = Fraction(frequency) * _A_DAY / (Fraction(period) * hours)
    moments = [found for name in _MOMENTS if (found := repeat.get(name))]
    return daily if all(isinstance(found, list) and len(found) == daily for found in moments) else None
