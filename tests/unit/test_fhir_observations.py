"""Scores, measurements and blood pressure, in the shapes in which senders give them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.unit.fhir_record import Json, candidates, concept, issues, observation, pressure, quantity, reading, value

PHQ9 = concept("loinc 44261-6")
TOTAL = "phq9_total"


def part(code: str, amount: object, **more: object) -> Json:
    return {"code": concept(code), "valueQuantity": quantity(amount), **more}


def loose(name: str, code: str, amount: object, when: str = "2025-06-02", **more: object) -> Json:
    return observation(name, concept(code), when, valueQuantity=quantity(amount), **more)


@pytest.mark.parametrize("panel", ["loinc 85354-9", "loinc 55284-4"])
def test_blood_pressure_is_read_from_either_panel_and_in_any_order(panel: str) -> None:
    parts = [part("loinc 8462-4", 84), part("loinc 8480-6", 131)]
    read = reading(observation("b", concept(panel), component=parts))

    assert (value(read, "sbp_mmHg"), value(read, "dbp_mmHg")) == (131, 84)
    assert read.facts["sbp_mmHg"].date == "2025-06-02"


def test_blood_pressure_is_read_from_loose_observations_of_one_moment() -> None:
    when = "2025-06-02T08:30:00-05:00"
    read = reading(loose("s", "loinc 8480-6", 131, when), loose("d", "loinc 8462-4", 84, when))

    assert (value(read, "sbp_mmHg"), value(read, "dbp_mmHg")) == (131, 84)


def test_panel_and_loose_copies_of_one_reading_count_once() -> None:
    read = reading(pressure("b", 131, 84), loose("s", "loinc 8480-6", 131), loose("d", "loinc 8462-4", 84))

    assert read.facts["sbp_mmHg"].sources == ("Observation/b", "Observation/s")


def test_copies_that_differ_settle_nothing() -> None:
    read = reading(pressure("b", 131, 84), loose("s", "loinc 8480-6", 141))

    assert (value(read, "sbp_mmHg"), value(read, "dbp_mmHg")) == (None, 84)
    assert issues(read, "sbp_mmHg") == {("conflict", "unusable")}


def test_a_part_that_the_newest_reading_lacks_is_not_filled_from_an_older_one() -> None:
    read = reading(pressure("old", 120, 70, "2025-06-01"), loose("s", "loinc 8480-6", 131))

    assert (value(read, "sbp_mmHg"), value(read, "dbp_mmHg")) == (131, None)
    assert not issues(read, "dbp_mmHg")


@pytest.mark.parametrize(
    "told",
    [
        {"valueString": "190/120"},
        {"dataAbsentReason": concept(text="refused")},
        {"component": [part("sct 271649006", 190), part("sct 271650006", 120)]},
        {"component": []},
        {"hasMember": [{"reference": "Observation/gone"}]},
    ],
)
def test_nothing_older_stands_in_for_a_panel_of_which_nothing_is_understood(told: Json) -> None:
    old = pressure("old", 120, 80, "2025-06-02T07:00:00Z")
    read = reading(old, observation("n", concept("loinc 85354-9"), "2025-06-02T09:00:00Z", **told))

    for fact in ("sbp_mmHg", "dbp_mmHg"):
        assert value(read, fact) is None
        assert issues(read, fact) == {("value-absent", "unusable")}


def test_a_part_that_a_panel_lacks_is_noted() -> None:
    parts = [part("loinc 8480-6", 131), part("sct 271650006", 84)]
    read = reading(pressure("old", 120, 70, "2025-06-01"), observation("b", concept("loinc 85354-9"), component=parts))

    assert (value(read, "sbp_mmHg"), value(read, "dbp_mmHg")) == (131, None)
    assert issues(read, "dbp_mmHg") == {("value-absent", "unusable")}


def test_a_panel_without_values_gives_way_to_loose_ones_of_its_moment() -> None:
    loose_ones = loose("s", "loinc 8480-6", 131), loose("d", "loinc 8462-4", 84)
    read = reading(observation("b", concept("loinc 85354-9"), valueString="131/84"), *loose_ones)
    assert (value(read, "sbp_mmHg"), value(read, "dbp_mmHg")) == (131, 84)
    assert issues(read, "sbp_mmHg") == {("value-absent", "noted")}

    members = [{"reference": "Observation/s"}, {"reference": "Observation/d"}]
    assert not issues(reading(observation("b", concept("loinc 85354-9"), hasMember=members), *loose_ones))


def test_the_newest_time_of_a_day_rules() -> None:
    read = reading(
        pressure("a", 120, 70, "2025-06-02T08:00:00-05:00"), pressure("b", 150, 90, "2025-06-02T09:00:00-05:00")
    )

    assert (value(read, "sbp_mmHg"), value(read, "dbp_mmHg")) == (150, 90)


@pytest.mark.parametrize(("written", "read_as"), [(131.3, 131), (131.5, 132), (131.49, 131), ("131", 131)])
def test_pressure_is_rounded_half_up_and_keeps_what_was_written(written: object, read_as: int) -> None:
    read = reading(pressure("b", written, 80))

    assert value(read, "sbp_mmHg") == read_as
    assert read.facts["sbp_mmHg"].raw in {None, Decimal(str(written))}


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ({"value": 131}, "unit"),
        ({"value": 17.5, "unit": "kPa", "code": "kPa"}, "unit"),
        ({"value": 131, "unit": "mmHg", "code": "kg"}, "unit"),
        ({"unit": "mmHg"}, "value-absent"),
        ({"value": 131, "unit": "mmHg", "comparator": ">"}, "value-absent"),
        ({"value": 301, "unit": "mmHg"}, "implausible"),
        ({"value": 10**40, "unit": "mmHg"}, "value-absent"),
    ],
)
def test_a_pressure_that_cannot_be_read_is_unusable_and_nothing_older_stands_in(amount: Json, code: str) -> None:
    new = observation("s", concept("loinc 8480-6"), valueQuantity=amount)
    read = reading(pressure("old", 120, 70, "2024-01-01"), new)

    assert value(read, "sbp_mmHg") is None
    assert issues(read, "sbp_mmHg") == {(code, "unusable")}


def test_a_mean_over_days_is_only_suggested_and_only_the_newest() -> None:
    def mean(name: str, amount: int, when: str) -> Json:
        parts = [part("loinc 96608-5", amount), part("loinc 96609-3", 92)]
        return observation(name, concept("loinc 96607-7"), component=parts, effectiveDateTime=when)

    read = reading(mean("m", 157, "2025-06-01"), mean("n", 110, "2020-01-01"))

    assert value(read, "sbp_mmHg") is None
    assert candidates(read, "sbp_mmHg") == ["157"]


@pytest.mark.parametrize(
    "told",
    [
        {"valueInteger": 15},
        {"valueDecimal": 15.0},
        {"valueString": "15"},
        {"valueQuantity": {"value": 15, "code": "{score}"}},
        {"valueQuantity": {"value": "15.0"}},
    ],
)
def test_a_score_may_come_as_several_types(told: Json) -> None:
    assert value(reading(observation("o", PHQ9, **told)), TOTAL) == 15


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"valueQuantity": {"value": 15.68, "code": "{score}"}}, "score-not-whole"),
        ({"valueInteger": 35}, "score-out-of-range"),
        ({"valueInteger": -1}, "score-out-of-range"),
        ({"valueQuantity": {"value": 15, "unit": "%"}}, "unit"),
        ({"valueString": "moderate"}, "value-absent"),
        ({"dataAbsentReason": concept(text="refused")}, "value-absent"),
        ({"valueInteger": 12, "dataAbsentReason": concept(text="error")}, "value-absent"),
        ({}, "value-absent"),
        ({"valueInteger": 12, "valueString": "13"}, "conflict"),
        ({"valueBoolean": True}, "value-absent"),
    ],
)
def test_a_score_that_is_none_makes_the_fact_unusable_whatever_is_older(told: Json, code: str) -> None:
    read = reading(observation("old", PHQ9, "2025-05-01", valueInteger=4), observation("new", PHQ9, **told))

    assert value(read, TOTAL) is None
    assert (code, "unusable") in issues(read, TOTAL)


def test_zero_is_a_score() -> None:
    assert value(reading(observation("o", PHQ9, valueInteger=0)), TOTAL) == 0


@pytest.mark.parametrize("code", ["loinc 55758-7", "loinc 89204-2", "loinc 70274-6", "loinc 44260-8"])
def test_other_scales_never_fill_the_total(code: str) -> None:
    assert value(reading(observation("o", concept(code), valueInteger=2)), TOTAL) is None


@pytest.mark.parametrize(
    ("code", "fact", "amount"),
    [
        ("loinc 75626-2", "audit_c", 4),
        ("loinc 82667-7", "dast10", 3),
        ("loinc 72172-0", "moca_total", 27),
        ("loinc 44260-8", "phq9_item9", 2),
    ],
)
def test_other_scores_fill_their_own_facts(code: str, fact: str, amount: int) -> None:
    assert value(reading(observation("o", concept(code), valueInteger=amount)), fact) == amount


@pytest.mark.parametrize(("answer", "amount"), [("LA6568-5", 0), ("LA6571-9", 3)])
def test_item_nine_may_be_an_answer(answer: str, amount: int) -> None:
    told = observation("o", concept("loinc 44260-8"), valueCodeableConcept=concept(f"loinc {answer}"))

    assert value(reading(told), "phq9_item9") == amount


def test_weight_is_read_in_several_units_and_rounded_to_what_the_fact_keeps() -> None:
    kilos = reading(observation("w", concept("loinc 29463-7"), valueQuantity=quantity(81.65, "kg")))
    pounds = reading(observation("w", concept("loinc 29463-7"), valueQuantity=quantity(180, "[lb_av]")))

    assert (value(kilos, "weight_kg"), kilos.facts["weight_kg"].raw) == (Decimal("81.7"), Decimal("81.65"))
    assert value(pounds, "weight_kg") == Decimal("81.6")


def test_one_saturation_with_both_codes_is_one() -> None:
    code = concept("loinc 2708-6", "loinc 59408-5")
    read = reading(observation("o", code, valueQuantity={"value": 97, "unit": "%O2", "code": "%"}))

    assert value(read, "spo2_pct") == 97


@pytest.mark.parametrize(("status", "counts"), [("final", True), ("amended", True), ("corrected", True)])
def test_statuses_that_count(status: str, *, counts: bool) -> None:
    assert (value(reading(observation("o", PHQ9, valueInteger=9, status=status)), TOTAL) is not None) is counts


@pytest.mark.parametrize("status", ["preliminary", "registered", "unknown", "cancelled", "nonsense", None])
def test_statuses_that_do_not_count_leave_the_older_value(status: object) -> None:
    old = observation("old", PHQ9, "2025-05-01", valueInteger=4)
    read = reading(old, observation("o", PHQ9, valueInteger=9, status=status))

    assert value(read, TOTAL) == 4
    assert issues(read, TOTAL) == {("status-not-counted", "ignored")}


def test_what_was_entered_in_error_is_dropped() -> None:
    read = reading(observation("o", PHQ9, valueInteger=9, status="entered-in-error"))

    assert issues(read, TOTAL) == {("entered-in-error", "ignored")}


@pytest.mark.parametrize(
    ("when", "code", "effect"),
    [
        ("", "date-missing", "unusable"),
        ("2025", "date-imprecise", "unusable"),
        ("2025-05", "date-imprecise", "unusable"),
        ("2025-06-03", "date-future", "ignored"),
    ],
)
def test_a_value_needs_its_day(when: str, code: str, effect: str) -> None:
    read = reading(observation("o", PHQ9, when, valueInteger=9))

    assert value(read, TOTAL) is None
    assert issues(read, TOTAL) == {(code, effect)}


def test_a_coarse_date_that_is_surely_older_does_no_harm() -> None:
    read = reading(observation("old", PHQ9, "2024", valueInteger=4), observation("o", PHQ9, valueInteger=9))

    assert value(read, TOTAL) == 9


def test_days_compare_as_they_are_written() -> None:
    read = reading(observation("o", PHQ9, "2025-06-02T23:30:00-05:00", valueInteger=9))

    assert read.facts[TOTAL].date == "2025-06-02"


@pytest.mark.parametrize(
    "told",
    [{"effectivePeriod": {"start": "2025-01-01", "end": "2025-06-01"}}, {"effectiveInstant": "2025-06-01T10:00:00Z"}],
)
def test_a_value_may_be_of_a_period_or_an_instant(told: Json) -> None:
    assert reading(observation("o", PHQ9, "", valueInteger=9, **told)).facts[TOTAL].date == "2025-06-01"


def test_two_values_of_one_day_without_a_time_settle_nothing() -> None:
    read = reading(observation("a", PHQ9, valueInteger=9), observation("b", PHQ9, valueInteger=12))

    assert value(read, TOTAL) is None
    assert candidates(read, TOTAL) == ["12", "9"]
    assert issues(read, TOTAL) == {("conflict", "unusable")}


def test_interpretations_and_reference_ranges_are_not_read() -> None:
    odd = {"interpretation": [concept(text="low")], "referenceRange": [{"high": quantity(1)}]}

    assert value(reading({**pressure("b", 131, 84), **odd}), "sbp_mmHg") == 131


@pytest.mark.parametrize(
    ("code", "expected"), [("77386006", "pregnant"), ("60001007", "not_pregnant"), ("102874004", None)]
)
def test_pregnancy_is_the_newest_coded_answer(code: str, expected: object) -> None:
    told = observation("o", concept("loinc 82810-3"), valueCodeableConcept=concept(f"sct {code}"))
    old = observation("p", concept("loinc 82810-3"), "2020-01-01", valueCodeableConcept=concept("sct 60001007"))

    assert value(reading(told, old), "pregnancy_status") == expected


@pytest.mark.parametrize(
    ("when", "expected"), [("2025-06-02", "pregnant"), ("2024-07-29", "pregnant"), ("2024-07-28", None)]
)
def test_a_pregnancy_ends_before_it_is_forgotten(when: str, expected: object) -> None:
    told = observation("o", concept("loinc 82810-3"), when, valueCodeableConcept=concept("sct 77386006"))
    read = reading(told)

    assert value(read, "pregnancy_status") == expected
    assert candidates(read, "pregnancy_status") == ([] if expected else ["pregnant"])


@pytest.mark.parametrize(
    ("told", "code", "suggested"),
    [
        ({"valueQuantity": {"value": 0, "comparator": ">"}}, "value-absent", []),
        ({"valueQuantity": {"value": 1, "unit": "%"}}, "unit", []),
        ({"valueString": "Nearly every day"}, "text-only", ["3"]),
    ],
)
def test_an_item_nine_that_is_not_surely_a_score_is_none(told: Json, code: str, suggested: list[str]) -> None:
    item = concept("loinc 44260-8")
    read = reading(observation("old", item, "2025-05-01", valueInteger=0), observation("o", item, **told))

    assert value(read, "phq9_item9") is None
    assert {each for each, _ in issues(read, "phq9_item9")} == {code}
    assert candidates(read, "phq9_item9") == suggested


def test_the_newest_scale_dates_severity_unless_one_cannot_be_used() -> None:
    local = {"coding": [{"system": "urn:local:scale", "code": "madrs_total"}]}
    madrs = observation("m", local, "2025-05-20", valueInteger=30)
    phq = observation("p", PHQ9, "2025-04-01", valueInteger=19)

    assert value(reading(madrs, phq), "severity_date") == "2025-05-20"
    assert value(reading(madrs, observation("p", PHQ9, valueInteger=35)), "severity_date") is None
