"""`engine.canonical`: one value, one byte string."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import canonical


@dataclass(frozen=True)
class _Point:
    y: int
    x: str


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (None, b"null"),
        (True, b"true"),
        (-3, b"-3"),
        ({"b": 1, "a": [False, "x"]}, b'{"a":[false,"x"],"b":1}'),
        ((1, 2), b"[1,2]"),
        (frozenset({"b", "a"}), b'["a","b"]'),
        (Decimal("72.30"), b'"72.3"'),
        (Decimal("1E+2"), b'"100"'),
        (Decimal("-0.0"), b'"0"'),
        (date(2025, 6, 2), b'"2025-06-02"'),
        (b"\x00\xff", b'"00ff"'),
        ("e\u0301", b'"\xc3\xa9"'),
        ("\u2028", '"\u2028"'.encode()),
        (_Point(y=1, x="z"), b'{"x":"z","y":1}'),
    ],
)
def test_a_value_has_one_encoding(value: object, encoded: bytes) -> None:
    assert canonical.encode(value) == encoded


@pytest.mark.parametrize("value", [1.5, float("nan"), datetime(2025, 6, 2, tzinfo=UTC), object(), {1: "a"}, {2}])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        canonical.encode(value)


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), "\ud800", {"\u00e9": 1, "e\u0301": 2}])
def test_what_would_be_ambiguous_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"normalization|finite|surrogates"):
        canonical.encode(value)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abcz"), inner),
)


@given(_values)
def test_encoding_is_stable_over_a_round_trip(value: object) -> None:
    encoded = canonical.encode(value)
    assert canonical.encode(json.loads(encoded)) == encoded


@given(st.lists(st.binary()), st.lists(st.binary()))
def test_two_lists_of_parts_never_share_a_frame(left: list[bytes], right: list[bytes]) -> None:
    assert (canonical.frame(*left) == canonical.frame(*right)) == (left == right)


def test_a_frame_is_length_and_bytes() -> None:
    assert canonical.frame(b"ab", b"") == b"\x00\x00\x00\x02ab\x00\x00\x00\x00"
