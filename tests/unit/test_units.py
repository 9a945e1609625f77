"""Exact conversion between units of one thing, and none between units of two."""

from __future__ import annotations

from fractions import Fraction

import pytest

from engine.units import factor, is_unit


@pytest.mark.parametrize(
    ("unit", "target", "expected"),
    [
        ("kg", "kg", Fraction(1)),
        ("g", "kg", Fraction(1, 1000)),
        ("[lb_av]", "kg", Fraction("0.45359237")),
        ("wk", "d", Fraction(7)),
        ("d", "wk", Fraction(1, 7)),
        ("kPa", "mm[Hg]", Fraction(10**6, 133322)),
        ("mg/(24.h)", "mg/d", Fraction(1)),
    ],
)
def test_factors_are_exact(unit: str, target: str, expected: Fraction) -> None:
    assert factor(unit, target) == expected


@pytest.mark.parametrize(
    ("unit", "target"), [("mg", "d"), ("kg", "mm[Hg]"), ("a", "d"), ("stone", "kg"), ("kg", ""), ("", "kg")]
)
def test_other_things_have_no_factor(unit: str, target: str) -> None:
    assert factor(unit, target) is None


def test_there_and_back_is_one() -> None:
    for unit, target in (("[lb_av]", "kg"), ("kPa", "mm[Hg]"), ("d", "wk")):
        there, back = factor(unit, target), factor(target, unit)
        assert there is not None
        assert back is not None
        assert there * back == 1


@pytest.mark.parametrize(("code", "expected"), [("mm[Hg]", True), ("mmHg", False), ("", False), ("%", True)])
def test_units_are_ucum_codes(code: str, *, expected: bool) -> None:
    assert is_unit(code) is expected
