"""Dates as they are written: never finer, never shifted."""

from __future__ import annotations

from datetime import date
from itertools import permutations

import pytest

from engine.fhir.moment import Moment, months_before, newest, of_start, of_value, read_moment


def when(text: str) -> Moment:
    found = read_moment(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("written", "first", "last"),
    [
        ("2025", date(2025, 1, 1), date(2025, 12, 31)),
        ("2024-02", date(2024, 2, 1), date(2024, 2, 29)),
        ("2025-06-02", date(2025, 6, 2), date(2025, 6, 2)),
        ("2025-06-02T23:30:00-05:00", date(2025, 6, 2), date(2025, 6, 2)),
        ("2025-06-02T00:30:00.718+10:00", date(2025, 6, 2), date(2025, 6, 2)),
        (" 2023-05-21T02: 19: 13.000Z", date(2023, 5, 21), date(2023, 5, 21)),
        ("1966-09-27T03:40:09.348792+00:00", date(1966, 9, 27), date(1966, 9, 27)),
    ],
)
def test_a_date_is_a_span_of_days(written: str, first: date, last: date) -> None:
    assert (when(written).first, when(written).last) == (first, last)


@pytest.mark.parametrize(
    "written", ["", "2025-13", "2025-02-30", "0000", "last year", "20250602", "2025-06-02T25:00", 5, None]
)
def test_what_is_no_day_is_not_read(written: object) -> None:
    assert read_moment(written) is None


@pytest.mark.parametrize(
    ("texts", "latest"),
    [
        (["2025-06-01", "2025-06-02"], ["2025-06-02"]),
        (["2025-06-02T08:00:00Z", "2025-06-02T09:00:00Z"], ["2025-06-02T09:00:00Z"]),
        (["2025-06-02T08:00:00-05:00", "2025-06-02T09:00:00Z"], ["2025-06-02T08:00:00-05:00"]),
        (["2025-06-02", "2025-06-02T09:00:00Z"], ["2025-06-02", "2025-06-02T09:00:00Z"]),
        (["2025", "2025-03-01"], ["2025", "2025-03-01"]),
        (["2024", "2025-03-01"], ["2025-03-01"]),
        (["2025-06-01T23:00:00-08:00", "2025-06-02T01:00:00+10:00"], ["2025-06-02T01:00:00+10:00"]),
    ],
)
def test_the_newest_are_those_that_may_be(texts: list[str], latest: list[str]) -> None:
    for order in permutations(texts):
        assert set(newest(map(when, order))) == set(map(when, latest))
    assert newest([]) == ()


def test_a_value_is_of_the_end_of_a_period_and_a_start_of_its_start() -> None:
    told: dict[str, object] = {"effectivePeriod": {"start": "2025-01-01", "end": "2025-02-01"}}

    assert (of_value(told, "effective"), of_start(told, "effective")) == (when("2025-02-01"), when("2025-01-01"))


@pytest.mark.parametrize(
    "onset", [{"onsetString": "childhood"}, {"onsetAge": {"value": 30}}, {"onsetRange": {"low": {}}}, {}]
)
def test_an_onset_that_is_no_date_has_no_moment(onset: dict[str, object]) -> None:
    assert of_start(onset, "onset") is None


@pytest.mark.parametrize(
    ("day", "months", "before"),
    [
        (date(2025, 6, 2), 12, date(2024, 6, 2)),
        (date(2024, 2, 29), 12, date(2023, 2, 28)),
        (date(2025, 1, 31), 2, date(2024, 11, 30)),
    ],
)
def test_months_before(day: date, months: int, before: date) -> None:
    assert months_before(day, months) == before
