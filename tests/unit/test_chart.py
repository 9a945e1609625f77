"""A chart is parsed once and read once, and what it holds is what its logged bytes hold."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from engine.fhir import record_json
from engine.fhir.read import read
from engine.pack.load import load_rules
from server.cds_hooks.body import read_object
from server.cds_hooks.outcome import Refusal
from server.chart import Chart
from server.terminologies import terminology_of
from tests.repository import repository_rules

ROOT = Path(__file__).parents[2]
BOOK = repository_rules()
RECORD = json.loads((ROOT / "examples" / "fhir" / "ada.json").read_text())
DAY = date(2025, 6, 2)


def test_a_record_that_never_was_one_text_is_what_its_bytes_say() -> None:
    content = {"a": [Decimal("80.20"), 7, "é", Decimal("1E+999"), Decimal("nan")], "b": {"c": None}}
    chart = Chart.of(content)

    assert chart.data == b'{"a":[80.2,7,"\\u00e9",null,null],"b":{"c":null}}'


def test_a_resource_that_was_read_fits_into_a_record() -> None:
    levels = record_json.MAX_DEPTH - 2
    deepest = read_object(b'{"a":' + b"[" * levels + b"]" * levels + b"}")

    assert json.loads(Chart.of({"page": deepest}).data) == {"page": deepest}
    with pytest.raises(Refusal):
        read_object(b'{"a":' + b"[" * (levels + 1) + b"]" * (levels + 1) + b"}")


def test_it_is_read_once_for_a_day_and_a_patient() -> None:
    chart = Chart.of(RECORD)
    first = chart.read(BOOK, DAY, "ada")

    assert chart.read(BOOK, DAY, "ada") is first
    assert first == read(RECORD, terminology=terminology_of(BOOK), definitions=BOOK.facts, as_of=DAY, patient="ada")
    assert first.facts


def test_it_is_read_again_for_another_day_patient_or_book() -> None:
    chart = Chart.of(RECORD)
    first = chart.read(BOOK, DAY, "ada")
    later = chart.read(BOOK, date(2027, 1, 1), "ada")

    assert later.as_of == date(2027, 1, 1)
    assert not chart.read(BOOK, DAY, "somebody").facts
    assert chart.read(load_rules(ROOT / "rules", is_locked=False), DAY, "ada") is not first
