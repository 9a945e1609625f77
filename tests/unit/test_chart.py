"""A chart is parsed once and read once, and what it holds is what its logged bytes hold."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.fhir.bundle import parse
from engine.fhir.read import read
from engine.pack.load import load_rules
from server.cds_hooks.body import read_object
from server.cds_hooks.outcome import Refusal
from server.cds_hooks.service import write_content
from server.chart import Chart
from server.terminologies import terminology_of
from tests.repository import repository_rules

ROOT = Path(__file__).parents[2]
BOOK = repository_rules()
RECORD = json.loads((ROOT / "examples" / "fhir" / "ada.json").read_text())
DAY = date(2025, 6, 2)

numbers = st.one_of(
    st.integers(-(10**60), 10**60).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        ("-0", "-0.0", "80.20", "1e5", "1E-7", "0.1234567890123456789", "123456789012345678901.5", "1e-999")
    ),
)
texts = st.text().map(json.dumps)
words = st.one_of(numbers, texts, st.sampled_from(("true", "false", "null")))
values = st.recursive(
    words,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda parts: f"[{', '.join(parts)}]"),
        st.dictionaries(st.text(), inner, max_size=4).map(
            lambda parts: "{" + ", ".join(f"{json.dumps(key)}: {part}" for key, part in parts.items()) + "}"
        ),
    ),
    max_leaves=12,
)


def alike(one: object, other: object) -> bool:
    """Say whether two values are equal in type and in writing, which `==` does not see of numbers."""
    return repr(one) == repr(other)


@given(values)
@example('{"a": 80.20}')
@example('"\\ud800"')
def test_what_was_parsed_is_what_the_logged_bytes_hold(text: str) -> None:
    content = read_object(f'{{"key": {text}}}'.encode())

    assert alike(parse(write_content(content)), content)


def test_numbers_are_logged_as_they_always_were() -> None:
    text = '{"a":[80.20,1e5,-0.0,7,0.1234567890123456789],"b":1e-7}'

    assert write_content(read_object(text.encode())) == json.dumps(json.loads(text), separators=(",", ":")).encode()
    assert read_object(text.encode())["b"] == Decimal("1E-7")


@pytest.mark.parametrize("number", ["9" * 65, "-" + "9" * 64])
def test_a_number_that_the_record_may_not_hold_is_refused_at_once(number: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_object(f'{{"a": {number}}}'.encode())

    assert refused.value.status == 400


def test_a_resource_that_was_read_fits_into_a_record() -> None:
    levels = 98
    deepest = read_object(b'{"a":' + b"[" * levels + b"]" * levels + b"}")

    assert alike(parse(write_content({"page": deepest})), {"page": deepest})
    with pytest.raises(Refusal):
        read_object(b'{"a":' + b"[" * (levels + 1) + b"]" * (levels + 1) + b"}")


def test_a_number_that_no_computer_can_hold_is_refused_before_it_is_logged() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_content(read_object(b'{"a": 1e999}'))


def test_it_is_read_once_for_a_day_and_a_patient() -> None:
    chart = Chart(RECORD)
    first = chart.read(BOOK, DAY, "ada")

    assert chart.read(BOOK, DAY, "ada") is first
    assert first == read(RECORD, terminology=terminology_of(BOOK), definitions=BOOK.facts, as_of=DAY, patient="ada")
    assert first.facts


def test_it_is_read_again_for_another_day_patient_or_book() -> None:
    chart = Chart(RECORD)
    first = chart.read(BOOK, DAY, "ada")
    later = chart.read(BOOK, date(2027, 1, 1), "ada")

    assert later.as_of == date(2027, 1, 1)
    assert not chart.read(BOOK, DAY, "somebody").facts
    assert chart.read(load_rules(ROOT / "rules", is_locked=False), DAY, "ada") is not first
