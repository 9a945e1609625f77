"""Units of measure by their UCUM codes, and exact conversion between those that measure one thing.

Source: The Unified Code for Units of Measure, table of base and customary units.
"""

from __future__ import annotations

from fractions import Fraction

_FAMILIES: tuple[dict[str, Fraction], ...] = (
    {"a": Fraction(1)},
    {"d": Fraction(1), "wk": Fraction(7)},
    {"mg": Fraction(1), "g": Fraction(1000), "kg": Fraction(10**6), "[lb_av]": Fraction("453592.37")},
    {"mm[Hg]": Fraction(1), "kPa": Fraction(10**6, 133322)},
    {"mg/d": Fraction(1), "mg/(24.h)": Fraction(1), "mg/24h": Fraction(1)},
    {"%": Fraction(1)},
)


def is_unit(code: str) -> bool:
    """Say whether `code` is a unit that this project knows."""
    return any(code in family for family in _FAMILIES)


def factor(unit: str, target: str) -> Fraction | None:
    """Give what a number in `unit` is multiplied by to be in `target`; None if they measure different things."""
    if unit == target:
        return Fraction(1)
    for family in _FAMILIES:
        if unit in family and target in family:
            return family[unit] / family[target]
    return None
