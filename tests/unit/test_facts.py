"""The door: every bad input is named, one bad value never hides the others, and nothing is defaulted."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import FactError
from engine.facts import MAX_PROBLEMS, MAX_RECORDS, MAX_TEXT, PatientFacts, read_facts
from tests.repository import repository_rules

AS_OF = date(2025, 6, 2)
BOOK = repository_rules()
HUGE = "x" * 10_000_000
ARABIC_DIGITS = "2025-01-01".translate({ord("0") + n: 0x660 + n for n in range(10)})
OPEN_BUG = "known fault of engine/facts.py"


def read(raw: dict[str, object], as_of: date = AS_OF) -> PatientFacts:
    return read_facts(BOOK.facts, BOOK.dictionary.constraints, raw, as_of)


def known(raw: dict[str, object], as_of: date = AS_OF) -> dict[str, object]:
    return {name: seen.value for name, seen in read(raw, as_of).known.items()}


def unusable(raw: dict[str, object], as_of: date = AS_OF) -> dict[str, str]:
    return {each.path: each.reason for each in read(raw, as_of).unusable}


def violations(raw: dict[str, object]) -> list[tuple[str, str, str]]:
    with pytest.raises(FactError) as error:
        read(raw)
    return [(v.path, v.code, v.message) for v in error.value.violations]


# Missing


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"age_years": None},
        {"dx_primary": "unknown"},
        {"dx_primary": {"value": "unknown", "date": "2025-06-01"}},
        {"age_years": {"value": None}},
        {"uds_positive": "not_done"},
        {"med_cns_depressants": ["unknown"]},
        {"med_cns_depressants": ["opioid", "unknown"]},
        {"trials": None},
    ],
)
def test_absent_null_and_unknown_are_missing_and_nothing_is_said_about_them(raw: dict[str, object]) -> None:
    facts = read(raw)

    assert (facts.known, facts.records, facts.unusable) == ({}, {}, ())


def test_an_empty_list_is_a_known_none() -> None:
    assert known({"med_cns_depressants": []}) == {"med_cns_depressants": ()}
    assert read({"trials": []}).records == {"trials": ()}


def test_doubled_members_of_a_set_count_once_in_the_order_of_the_dictionary() -> None:
    assert known({"med_cns_depressants": ["opioid", "benzodiazepine", "opioid"]}) == {
        "med_cns_depressants": ("benzodiazepine", "opioid")
    }


# Shape


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ({"agee_years": 40}, "fact/unknown-name"),
        ({"": 1}, "fact/unknown-name"),
        ({"age_years": "40"}, "fact/wrong-type"),
        ({"age_years": True}, "fact/wrong-type"),
        ({"age_years": b"40"}, "fact/wrong-type"),
        ({"age_years": [40]}, "fact/wrong-type"),
        ({"age_years": {}}, "fact/wrong-type"),
        ({"age_years": {"value": 40, "when": "2025-06-01"}}, "fact/wrong-type"),
        ({"age_years": {"value": 40, "source": 5}}, "fact/wrong-type"),
        ({"age_years": {"value": 40, "source": "x" * (MAX_TEXT + 1)}}, "fact/wrong-type"),
        ({"age_years": {"value": 40, "date": "2025-13-01"}}, "fact/malformed-date"),
        ({"age_years": {"value": 40, "date": 20250601}}, "fact/malformed-date"),
        ({"age_years": {"value": {"value": 40}}}, "fact/wrong-type"),
        ({"age_years": float("nan")}, "fact/not-finite"),
        ({"age_years": float("inf")}, "fact/not-finite"),
        ({"age_years": Decimal("-Infinity")}, "fact/not-finite"),
        ({"age_years": Decimal("NaN")}, "fact/not-finite"),
        ({"informed_consent": 1}, "fact/wrong-type"),
        ({"informed_consent": "true"}, "fact/wrong-type"),
        ({"dx_primary": "mdd-single"}, "fact/unknown-value"),
        ({"dx_primary": ["mdd_single"]}, "fact/wrong-type"),
        ({"dx_primary": 3}, "fact/wrong-type"),
        ({"dx_primary": HUGE}, "fact/unknown-value"),
        ({HUGE: 1}, "fact/unknown-name"),
        ({"med_cns_depressants": "opioid"}, "fact/wrong-type"),
        ({"med_cns_depressants": ["opiod"]}, "fact/unknown-value"),
        ({"med_cns_depressants": [["opioid"]]}, "fact/wrong-type"),
        ({"med_cns_depressants": [None]}, "fact/wrong-type"),
        ({"episode_start_date": "2025-02-30"}, "fact/malformed-date"),
        ({"episode_start_date": "20250101"}, "fact/malformed-date"),
        ({"episode_start_date": "2025-6-1"}, "fact/malformed-date"),
        ({"episode_start_date": "0000-00-00"}, "fact/malformed-date"),
        ({"episode_start_date": ARABIC_DIGITS}, "fact/malformed-date"),
        ({"episode_start_date": date(2025, 1, 1)}, "fact/malformed-date"),
        ({"trials": {}}, "fact/wrong-type"),
        ({"trials": "sertraline"}, "fact/wrong-type"),
        ({"trials": [None]}, "fact/wrong-type"),
        ({"trials": [{"drugg": "sertraline"}]}, "fact/unknown-name"),
        ({"trials": [{1: "sertraline"}]}, "fact/unknown-name"),
        ({"trials": [{"drug": ""}]}, "fact/wrong-type"),
        ({"trials": [{"drug": HUGE}]}, "fact/wrong-type"),
        ({"trials": [{"weeks_at_adequate_dose": 6.5}]}, "fact/too-precise"),
        ({"trials": [{}] * 10_000}, "fact/too-many"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_malformed_value_is_a_violation(raw: dict[str, object], code: str) -> None:
    found = violations(raw)

    assert [each[1] for each in found] == [code]
    assert all(len(part) < 1000 for part in found[0]), "what a caller wrote is not repeated at length"


@pytest.mark.parametrize(
    "raw",
    [
        {"age_years": Decimal("sNaN")},
        {"episode_start_date": "2025-W01-1"},
        {"age_years": {"value": 40, "source": 0}},
        {5: 40},
    ],
    ids=str,
)
def test_these_should_be_violations_too(raw: dict[str, object]) -> None:
    try:
        read(raw)
    except FactError:
        return
    message = "was accepted"
    raise AssertionError(message)


def test_a_whole_number_of_any_size_is_outside_the_range() -> None:
    assert unusable({"age_years": 10**400})


def test_the_first_centuries_have_dates_before_birth_too() -> None:
    assert known({"age_years": 130, "episode_start_date": "0001-01-01"}, date(3, 1, 1))["age_years"] == 130


def test_a_number_with_more_digits_than_are_kept_never_hides_the_other_facts() -> None:
    assert known({"weight_kg": 70.05, "suicidal_behavior_recency": "within_24h"})["suicidal_behavior_recency"]


def test_unusable_values_are_listed_in_one_order() -> None:
    raw: dict[str, object] = {"age_years": 131, "moca_total": 31}

    assert read(raw).unusable == read(dict(reversed(raw.items()))).unusable


def test_a_misspelt_name_or_value_is_met_with_the_nearest() -> None:
    assert "did you mean `age_years`?" in violations({"agee_years": 40})[0][2]
    assert "did you mean `mdd_single`?" in violations({"dx_primary": "mdd-single"})[0][2]
    assert "did you mean `drug`?" in violations({"trials": [{"drugg": "sertraline"}]})[0][2]


def test_all_violations_come_at_once_with_their_paths() -> None:
    raw: dict[str, object] = {
        "agee_years": 1,
        "informed_consent": "yes",
        "trials": [{}, {"ongoing": "no", "end_date": "soon"}],
    }

    assert {each[0] for each in violations(raw)} == {
        "facts.agee_years",
        "facts.informed_consent",
        "facts.trials[1].ongoing",
        "facts.trials[1].end_date",
    }


def test_so_many_violations_are_enough() -> None:
    assert len(violations({f"x{n}": 1 for n in range(MAX_PROBLEMS + 50)})) == MAX_PROBLEMS


def test_a_long_list_has_a_limit() -> None:
    assert len(read({"trials": [{}] * MAX_RECORDS}).records["trials"]) == MAX_RECORDS


# Unusable


@pytest.mark.parametrize(
    ("raw", "path", "reason"),
    [
        ({"age_years": 131}, "facts.age_years", "it is outside 0 to 130 a"),
        ({"age_years": -1}, "facts.age_years", "it is outside 0 to 130 a"),
        ({"age_years": 2**63}, "facts.age_years", "it is outside 0 to 130 a"),
        ({"age_years": 1e308}, "facts.age_years", "it is outside 0 to 130 a"),
        ({"age_years": Decimal("1e999999999")}, "facts.age_years", "it is no number of ordinary size"),
        ({"age_years": Decimal("1e-999999999")}, "facts.age_years", "it is no number of ordinary size"),
        ({"episode_start_date": "2025-06-03"}, "facts.episode_start_date", "the date lies after `as_of`"),
        ({"age_years": {"value": 40, "date": "2025-06-03"}}, "facts.age_years", "it was observed after `as_of`"),
        ({"weight_kg": {"value": 11, "unit": "stone"}}, "facts.weight_kg", "its unit cannot be read as kg"),
        ({"phq9_total": {"value": 9, "unit": "%"}}, "facts.phq9_total", "its unit cannot be read as a plain score"),
        ({"trials": [{"max_dose_mg": 0}]}, "facts.trials[0].max_dose_mg", "it is outside 0.01 to 10000 mg/d"),
        ({"trials": [{"end_date": "2025-06-03"}]}, "facts.trials[0].end_date", "the date lies after `as_of`"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_value_that_cannot_be_used_is_missing_and_listed(raw: dict[str, object], path: str, reason: str) -> None:
    assert known(raw) == {}
    assert unusable(raw) == {path: reason}


def test_a_stale_value_is_missing_from_the_day_after_its_last() -> None:
    limit = BOOK.facts["phq9_total"].valid_for_days
    assert limit is not None
    last = date.fromordinal(AS_OF.toordinal() - limit).isoformat()
    before = date.fromordinal(AS_OF.toordinal() - limit - 1).isoformat()

    assert known({"phq9_total": {"value": 20, "date": last}}) == {"phq9_total": 20}
    assert known({"phq9_total": {"value": 20, "date": before}}) == {}
    assert known({"phq9_total": 20}) == {"phq9_total": 20}


def test_what_went_stale_is_kept_beside_what_is_known() -> None:
    facts = read({"si_level": {"value": "active_plan_and_intent", "date": "2025-05-30", "source": "Observation/1"}})

    assert facts.known == {}
    assert [(u.fact, u.reason) for u in facts.unusable] == [
        ("si_level", "it was observed more than 1 day before `as_of`")
    ]
    assert facts.stale["si_level"].value == "active_plan_and_intent"
    assert facts.stale["si_level"].observed_on == date(2025, 5, 30)


def test_a_date_of_the_future_marks_its_trial() -> None:
    assert (
        read({"trials": [{"end_date": "2025-06-03"}, {"end_date": "2025-06-02"}]}).records["trials"][0].has_future_date
    )
    assert not read({"trials": [{"end_date": "2025-06-02"}]}).records["trials"][0].has_future_date


def test_a_record_may_say_where_it_came_from() -> None:
    given = [{"value": {"drug": "sertraline"}, "source": "MedicationRequest/1"}, {"value": {}}, {"drug": "venlafaxine"}]
    records = read({"trials": given}).records["trials"]

    assert [(r.values.get("drug"), r.source) for r in records] == [
        ("sertraline", "MedicationRequest/1"),
        (None, ""),
        ("venlafaxine", ""),
    ]


@pytest.mark.parametrize("source", ["", " ", "\t\n", "\u00a0", "\u200b", "\ufeff\u2060", "\u3164", "\ufe0f", "\u2028"])
def test_a_source_of_which_nothing_can_be_seen_is_none(source: str) -> None:
    given = read({"age_years": {"value": 40, "source": source}, "trials": [{"value": {}, "source": source}]})

    assert given.known["age_years"].source == ""
    assert given.records["trials"][0].source == ""


def test_a_source_that_can_be_seen_is_kept_as_it_is() -> None:
    assert read({"trials": [{"value": {}, "source": " a\u200b"}]}).records["trials"][0].source == " a\u200b"


@pytest.mark.parametrize(
    "record",
    [
        {"value": {"drug": "sertraline"}, "date": "2025-01-10"},
        {"value": {"drug": "sertraline"}, "drug": "sertraline"},
        {"value": {"drug": "sertraline"}, "source": 1},
        {"value": {"drug": "sertraline"}, "source": "x" * 201},
        {"value": None, "source": "MedicationRequest/1"},
        {"value": [], "source": "MedicationRequest/1"},
        {"source": "MedicationRequest/1"},
    ],
)
def test_a_record_with_a_source_is_a_record_and_a_short_text(record: object) -> None:
    with pytest.raises(FactError) as caught:
        read({"trials": [record]})

    (violation,) = caught.value.violations
    assert violation.path in {"facts.trials[0]", "facts.trials[0].source"}


# Numbers and units


@pytest.mark.parametrize("value", [40, 40.0, Decimal(40), Decimal("40.00"), Decimal("4e1")])
def test_one_number_however_it_is_written(value: object) -> None:
    assert known({"age_years": value}) == {"age_years": 40}


def test_decimals_are_scaled_exactly() -> None:
    assert known({"weight_kg": 0.1 + 69.2}) == {"weight_kg": 693}
    assert known({"weight_kg": Decimal("69.30")}) == {"weight_kg": 693}


@pytest.mark.parametrize(
    ("value", "unit", "scaled"), [(154, "[lb_av]", 699), (70_000, "g", 700), (70, "kg", 700), (70, "", 700)]
)
def test_units_are_converted_to_the_digits_that_are_kept(value: int, unit: str, scaled: int) -> None:
    assert known({"weight_kg": {"value": value, "unit": unit}}) == {"weight_kg": scaled}


def test_blood_pressure_may_come_in_kilopascal() -> None:
    raw: dict[str, object] = {
        "sbp_mmHg": {"value": 16, "unit": "kPa"},
        "dbp_mmHg": {"value": Decimal("10.6"), "unit": "kPa"},
    }

    assert known(raw) == {"sbp_mmHg": 120, "dbp_mmHg": 80}


@settings(derandomize=True, deadline=None, max_examples=300)
@given(number=st.one_of(st.integers(), st.floats(), st.decimals(allow_nan=True, allow_infinity=True)))
def test_any_number_is_read_listed_or_refused(number: object) -> None:
    if (isinstance(number, Decimal) and number.is_snan()) or (isinstance(number, int) and abs(number) > 10**300):
        return
    try:
        facts = read({"weight_kg": number})
    except FactError as error:
        codes = {violation.code for violation in error.violations}
    else:
        codes = {"read"} if facts.known else {"listed"}
        assert len(facts.known) + len(facts.unusable) == 1
        assert all(200 <= int(str(seen.value)) <= 4000 for seen in facts.known.values())
    assert codes <= {"read", "listed", "fact/not-finite", "fact/too-precise"}


# What cannot be


@pytest.mark.parametrize(
    "raw",
    [
        {"sbp_mmHg": 120},
        {"dbp_mmHg": 80},
        {"sbp_mmHg": 80, "dbp_mmHg": 80},
        {"sbp_mmHg": 80, "dbp_mmHg": 120},
        {"sbp_mmHg": 301, "dbp_mmHg": 80},
        {"sbp_mmHg": {"value": 120, "date": "2025-06-01"}, "dbp_mmHg": 80},
        {"sbp_mmHg": 120, "dbp_mmHg": "unknown"} | {"dbp_mmHg": None},
    ],
    ids=str,
)
def test_blood_pressure_is_read_as_a_pair_or_not_at_all(raw: dict[str, object]) -> None:
    assert known(raw) == {}
    assert set(unusable(raw)) == {f"facts.{name}" for name, value in raw.items() if value is not None}


def test_a_possible_pregnancy_outweighs_not_applicable() -> None:
    raw: dict[str, object] = {"childbearing_potential": True, "pregnancy_status": "not_applicable"}

    assert known(raw) == {"childbearing_potential": True}
    assert list(unusable(raw)) == ["facts.pregnancy_status"]


@pytest.mark.parametrize("name", ["episode_start_date", "severity_date", "esketamine_start_date"])
def test_a_date_before_birth_is_unusable_and_the_age_is_kept(name: str) -> None:
    assert known({name: "1900-01-01", "age_years": 40}) == {"age_years": 40}
    assert known({name: "1985-06-01", "age_years": 40}) == {name: date(1985, 6, 1), "age_years": 40}
    assert known({name: "1900-01-01"}) == {name: date(1900, 1, 1)}


# An observation


def test_an_observation_keeps_its_day_source_and_path() -> None:
    raw: dict[str, object] = {"age_years": {"value": 40, "date": "2025-06-01", "source": "Patient/1"}}

    seen = read(raw).known["age_years"]

    assert (seen.value, seen.path, seen.observed_on, seen.source) == (
        40,
        "facts.age_years",
        date(2025, 6, 1),
        "Patient/1",
    )


def test_paths_are_the_callers_own() -> None:
    facts = read_facts(BOOK.facts, (), {"age_years": 131}, AS_OF, lambda name: f"patients[3].{name}")

    assert facts.unusable[0].path == "patients[3].age_years"


def test_no_patient_data_in_what_is_said() -> None:
    raw: dict[str, object] = {"age_years": 987654, "weight_kg": {"value": 987654, "unit": "stone"}}

    assert not any("987654" in reason for reason in unusable(raw).values())
    assert not any(
        "987654" in message for _, _, message in violations({"informed_consent": "987654", "dx_primary": "987654"})
    )
