"""What diagnoses settle, suggest and refute."""

from __future__ import annotations

from datetime import date

import pytest

from tests.unit.fhir_record import (
    AS_OF,
    SYSTEMS,
    Json,
    candidates,
    concept,
    condition,
    issues,
    observation,
    reading,
    status,
    value,
)

MDD = concept("icd F33.1")
ANEURYSM, ICH, AVM = "aneurysmal_vascular_disease", "intracerebral_hemorrhage_history", "arteriovenous_malformation"


def refuted(code: str, recorded: str = "2025-06-01", name: str = "c", **more: object) -> Json:
    dated = {"recordedDate": recorded} if recorded else {}
    return condition(name, concept(code), verified="refuted", **dated, **more)  # type: ignore[arg-type]


def read_one(code: Json, fact: str, **more: object) -> object:
    return value(reading(condition("c", code, **more)), fact)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "fact", "expected"),
    [
        ("icd F32.9", "dx_primary", "mdd_single"),
        ("icd F33.41", "dx_primary", "mdd_recurrent"),
        ("sct 370143000", "dx_primary", "mdd_single"),
        ("sct 36923009", "dx_primary", "mdd_single"),
        ("sct 66344007", "dx_primary", "mdd_recurrent"),
        ("icd F32.3", "mdd_psychotic_features_current", "yes"),
        ("icd F31.81", "bipolar_history", "yes"),
        ("icd F25.0", "psychotic_disorder_history", "current"),
        ("icd F14.259", "psychotic_disorder_history", "current"),
        ("icd F06.1", "catatonia", "yes"),
        ("icd G30.9", "neurocog_status", "dementia"),
        ("icd G31.84", "neurocog_status", "mci"),
        ("sct 26929004", "neurocog_status", "dementia"),
        ("icd F05", "delirium_current", "yes"),
        ("icd I71.40", ANEURYSM, "yes"),
        ("icd Q28.2", AVM, "yes"),
        ("sct 234142008", AVM, "yes"),
        ("sct 24551003", AVM, None),
        ("icd I61.9", ICH, "yes"),
        ("icd Z86.73", ICH, None),
        ("icd I63.9", "cv_event_history", "yes"),
        ("sct 399211009", "cv_event_history", "yes"),
        ("icd I67.4", "hypertensive_encephalopathy_history", "yes"),
        ("icd G93.2", "raised_icp", "yes"),
        ("icd Z99.2", "dialysis", True),
        ("icd N30.10", "interstitial_cystitis", "current"),
        ("icd O24.410", "pregnancy_status", "pregnant"),
        ("sct 72892002", "pregnancy_status", "pregnant"),
        ("icd Z39.1", "breastfeeding", True),
        ("sct 1153575004", "dx_primary", None),
    ],
)
def test_a_current_diagnosis_settles_what_its_code_says(code: str, fact: str, expected: object) -> None:
    assert read_one(concept(code), fact) == expected


@pytest.mark.parametrize(
    ("code", "fact", "suggests"),
    [
        ("icd F32.A", "dx_primary", ["mdd_single"]),
        ("sct 310496002", "dx_primary", ["mdd_single"]),
        ("icd F34.1", "dx_primary", ["persistent_depressive"]),
        ("icd I60.9", ICH, ["yes"]),
        ("sct 230690007", ICH, ["yes"]),
        ("sct 225444004", "si_level", [""]),
        ("icd R45.851", "si_level", [""]),
        ("icd Z91.51", "suicidal_behavior_recency", [""]),
        ("sct 6525002", "sud_status", [""]),
        ("sct 10939881000119105", "aud_status", [""]),
        ("icd F10.21", "aud_status", ["remission"]),
        ("icd K74.60", "hepatic_child_pugh", [""]),
        ("icd F19.20", "ketamine_misuse_history", [""]),
    ],
)
def test_a_code_that_is_not_decisive_only_suggests(code: str, fact: str, suggests: list[str]) -> None:
    read = reading(condition("c", concept(code)))

    assert value(read, fact) is None
    assert candidates(read, fact) == suggests
    assert ("needs-confirmation", "unconfirmed") in issues(read, fact)


def test_major_depression_that_may_be_single_or_recurrent_is_to_be_confirmed_unless_another_code_says() -> None:
    open_ = reading(condition("c", concept("sct 370143000")))
    said = reading(condition("c", concept("sct 370143000")), condition("d", MDD))

    assert ("needs-confirmation", "noted") in issues(open_, "dx_primary")
    assert value(said, "dx_primary") == "mdd_recurrent"
    assert not issues(said, "dx_primary")


def test_any_code_of_a_concept_counts_beside_proprietary_ones() -> None:
    code = concept("icd I71.4")
    code["coding"].insert(0, {"system": "http://e-imo.com/products/problem-it", "code": "87295"})

    assert read_one(code, ANEURYSM) == "yes"


@pytest.mark.parametrize("system", ["urn:oid:2.16.840.1.113883.6.90", "http://hl7.org/fhir/sid/icd-10"])
def test_icd_10_cm_has_several_uris(system: str) -> None:
    assert read_one({"coding": [{"system": system, "code": "F33.1"}]}, "dx_primary") == "mdd_recurrent"


def test_the_oids_of_other_systems_are_not_theirs() -> None:
    assert read_one({"coding": [{"system": SYSTEMS["sct"], "code": "F33.1"}]}, "dx_primary") is None


@pytest.mark.parametrize("clinical", ["active", "recurrence", "relapse", "remission", "resolved", "inactive"])
def test_history_counts_in_every_state(clinical: str) -> None:
    assert read_one(concept("icd I71.4"), ANEURYSM, clinical=clinical) == "yes"


@pytest.mark.parametrize(
    ("clinical", "psychosis", "catatonia", "episode"),
    [
        ("active", "current", "yes", True),
        ("relapse", "current", "yes", True),
        ("resolved", "past", None, None),
        ("inactive", "past", None, None),
        ("remission", "past", None, None),
    ],
)
def test_what_is_current_follows_the_status(clinical: str, psychosis: str, catatonia: object, episode: object) -> None:
    assert read_one(concept("sct 69322001"), "psychotic_disorder_history", clinical=clinical) == psychosis
    assert read_one(concept("icd F06.1"), "catatonia", clinical=clinical) == catatonia
    assert read_one(MDD, "episode_current", clinical=clinical, onsetDateTime="2025-01-01") == episode


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"onsetDateTime": "2024-06-02"}, True),
        ({"onsetDateTime": "2024-06-01"}, None),
        ({"onsetDateTime": "1993-01-09", "recordedDate": "2025-05-01"}, True),
        ({"onsetDateTime": "1993-01-09", "recordedDate": "2026-05-01"}, None),
        ({}, None),
    ],
)
def test_an_active_depression_shows_an_episode_for_a_year(more: Json, expected: object) -> None:
    read = reading(condition("c", MDD, **more))

    assert value(read, "episode_current") is expected
    assert candidates(read, "episode_current") == ([] if expected else ["true"])
    assert value(read, "dx_primary") == "mdd_recurrent"


def test_depression_in_remission_is_a_diagnosis_without_an_episode() -> None:
    read = reading(condition("c", MDD, clinical="remission", recordedDate="2025-05-01"))

    assert (value(read, "dx_primary"), value(read, "episode_in_remission")) == ("mdd_recurrent", True)
    assert value(read, "episode_current") is None


def test_a_resolved_depression_only_suggests_the_diagnosis() -> None:
    read = reading(condition("c", MDD, clinical="resolved"))

    assert value(read, "dx_primary") is None
    assert candidates(read, "dx_primary") == ["mdd_recurrent"]


@pytest.mark.parametrize(
    ("more", "as_of", "expected"),
    [
        ({"onsetDateTime": "2020-01-01", "abatementDateTime": "2022-01-01"}, date(2021, 1, 1), "yes"),
        ({"onsetDateTime": "2020-01-01", "abatementDateTime": "2022-01-01"}, date(2022, 1, 1), None),
        ({"onsetDateTime": "2020-01-01", "abatementDateTime": "2022-01-01"}, date(2019, 1, 1), None),
        ({"onsetDateTime": "2020-01-01", "abatementDateTime": "2022"}, date(2022, 6, 1), None),
        ({"onsetPeriod": {"start": "2021-01-01"}, "clinicalStatus": status("active")}, date(2021, 1, 1), "yes"),
    ],
)
def test_dates_go_before_the_status_of_today(more: Json, as_of: date, expected: object) -> None:
    told = condition("c", concept("icd F06.1"), clinical="resolved", **more)

    assert value(reading(told, as_of=as_of), "catatonia") == expected


def test_an_end_that_is_too_coarse_leaves_it_to_be_confirmed() -> None:
    more = {"onsetDateTime": "2020-01-01", "abatementDateTime": "2022"}
    read = reading(condition("c", concept("icd F06.1"), **more), as_of=date(2022, 6, 1))

    assert candidates(read, "catatonia") == ["yes"]


def test_without_a_clinical_status_it_is_to_be_confirmed_whether_it_is_still_there() -> None:
    read = reading(condition("c", concept("icd F06.1"), clinical=""))

    assert value(read, "catatonia") is None
    assert candidates(read, "catatonia") == ["yes"]
    assert read_one(concept("icd I71.4"), ANEURYSM, clinical="") == "yes"
    assert read_one(concept("icd F06.1"), "catatonia", clinical="", abatementDateTime="2020-01-01") is None


def test_a_diagnosis_dated_later_is_ignored() -> None:
    read = reading(condition("c", concept("icd I71.4"), onsetDateTime="2025-06-03"))

    assert value(read, ANEURYSM) is None
    assert issues(read, ANEURYSM) == {("date-future", "ignored")}


@pytest.mark.parametrize("verified", ["provisional", "differential", "unconfirmed", "nonsense"])
def test_an_unverified_diagnosis_only_suggests(verified: str) -> None:
    read = reading(condition("c", concept("icd I71.4"), verified=verified))

    assert value(read, ANEURYSM) is None
    assert candidates(read, ANEURYSM) == ["yes"]
    assert issues(read, ANEURYSM) == {("not-verified", "unconfirmed")}


def test_an_absent_verification_counts() -> None:
    assert read_one(concept("icd I71.4"), ANEURYSM, verified="") == "yes"


def test_what_was_entered_in_error_is_dropped() -> None:
    read = reading(condition("c", concept("icd I71.4"), verified="entered-in-error"))

    assert value(read, ANEURYSM) is None
    assert not candidates(read, ANEURYSM)
    assert issues(read, ANEURYSM) == {("entered-in-error", "ignored")}


@pytest.mark.parametrize(
    ("code", "fact", "expected", "suggests"),
    [
        ("sct 274100004", ICH, "no", []),
        ("sct 13746004", "bipolar_history", "no", []),
        ("sct 69322001", "psychotic_disorder_history", "none", []),
        ("sct 67362008", ANEURYSM, None, ["no"]),
        ("sct 234142008", AVM, None, ["no"]),
        ("icd F33.1", "dx_primary", None, []),
        ("icd F33.1", "episode_current", None, []),
    ],
)
def test_a_refuted_diagnosis_is_a_negative_where_it_is_as_wide_as_the_fact(
    code: str, fact: str, expected: object, suggests: list[str]
) -> None:
    read = reading(refuted(code))

    assert value(read, fact) == expected
    assert candidates(read, fact) == suggests


ICH_CODE, DELIRIUM_CODE, PSYCHOSIS_CODE = "sct 274100004", "icd F05", "sct 69322001"
NO_DAY, TOO_OLD = "it is recorded as absent but without the day of that record", "it was long ago"


@pytest.mark.parametrize(
    ("code", "fact", "recorded", "expected", "why"),
    [
        (DELIRIUM_CODE, "delirium_current", "2025-06-02", "no", ""),
        (DELIRIUM_CODE, "delirium_current", "2025-05-05", "no", ""),
        (DELIRIUM_CODE, "delirium_current", "2025-05-04", None, TOO_OLD),
        (DELIRIUM_CODE, "delirium_current", "2005-01-01", None, TOO_OLD),
        (DELIRIUM_CODE, "delirium_current", "2025-05", None, TOO_OLD),
        (DELIRIUM_CODE, "delirium_current", "2025-06", None, NO_DAY),
        (DELIRIUM_CODE, "delirium_current", "", None, NO_DAY),
        ("icd F06.1", "catatonia", "2001-01-01", None, TOO_OLD),
        (PSYCHOSIS_CODE, "psychotic_disorder_history", "1990-01-01", None, TOO_OLD),
        (PSYCHOSIS_CODE, "psychotic_disorder_history", "2025-06-01", "none", ""),
        (ICH_CODE, ICH, "2025-05-05", "no", ""),
        (ICH_CODE, ICH, "2025-05-04", None, TOO_OLD),
        (ICH_CODE, ICH, "2001-01-01", None, TOO_OLD),
        (ICH_CODE, ICH, "2024", None, TOO_OLD),
        ("sct 13746004", "bipolar_history", "2001-01-01", None, TOO_OLD),
        (ICH_CODE, ICH, "2025", None, NO_DAY),
        (ICH_CODE, ICH, "", None, NO_DAY),
    ],
)
def test_a_refutation_speaks_from_the_day_of_its_record_and_for_some_weeks(
    code: str, fact: str, recorded: str, expected: object, why: str
) -> None:
    for onset in ({}, {"onsetDateTime": "2001-01-01"}, {"onsetDateTime": "2025-06-01"}):
        read = reading(refuted(code, recorded, **onset))

        assert value(read, fact) == expected
        assert [c.why for c in read.candidates if c.fact == fact] == ([why] if why else [])
        assert issues(read, fact) == ({("needs-confirmation", "unconfirmed")} if why else set())


def test_a_refutation_is_dated_by_its_record() -> None:
    read = reading(refuted(ICH_CODE, "2025-05-20", onsetDateTime="2001-01-01"))

    assert read.facts[ICH].date == "2025-05-20"


@pytest.mark.parametrize("code", [ICH_CODE, DELIRIUM_CODE])
def test_a_refutation_that_was_recorded_later_is_ignored(code: str) -> None:
    read = reading(refuted(code, "2027-01-01", onsetDateTime="2001-01-01"))

    assert not read.facts
    assert not read.candidates
    assert issues(read) == {("date-future", "ignored")}


def test_a_refutation_stands_beside_an_older_one() -> None:
    read = reading(refuted(DELIRIUM_CODE, "2005-01-01"), refuted(DELIRIUM_CODE, "2025-06-01", "d"))

    assert value(read, "delirium_current") == "no"
    assert read.facts["delirium_current"].sources == ("Condition/d",)


def test_a_negative_beside_a_positive_settles_nothing() -> None:
    read = reading(refuted("sct 274100004"), condition("d", concept("icd I61.9")))

    assert value(read, ICH) is None
    assert issues(read, ICH) == {("conflict", "unusable")}
    assert candidates(read, ICH) == ["no", "yes"]


def test_a_negative_does_not_stand_where_something_suggests_otherwise() -> None:
    stroke = condition("d", concept("sct 230690007"))
    read = reading(refuted("sct 274100004"), stroke)

    assert value(read, ICH) is None
    assert candidates(read, ICH) == ["no", "yes"]


@pytest.mark.parametrize(
    ("categories", "expected"),
    [
        (["encounter-diagnosis"], "yes"),
        (["problem-list-item"], "yes"),
        (["health-concern"], None),
        (["health-concern", "problem-list-item"], "yes"),
        ([], "yes"),
    ],
)
def test_a_health_concern_only_suggests(categories: list[str], expected: object) -> None:
    told = condition("c", concept("icd I71.4"), category=[status(each) for each in categories])

    assert value(reading(told), ANEURYSM) == expected


def test_family_history_never_counts() -> None:
    relative: Json = {"resourceType": "FamilyMemberHistory", "id": "f", "patient": {"reference": "Patient/p1"}}
    read = reading(
        {**relative, "condition": [{"code": concept("icd I71.4")}]},
        condition("c", concept(text="Family history of aneurysm")),
    )

    assert value(read, ANEURYSM) is None
    assert not candidates(read, ANEURYSM)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("Depression", "dx_primary"),
        ("Brain hemorrhage 2010", ICH),
        ("Brain haemorrhage", ICH),
        ("h/o STROKE", ICH),
        ("Dialysis", "dialysis"),
    ],
)
def test_a_text_and_nothing_else_is_possible_and_never_met(text: str, fact: str) -> None:
    read = reading(condition("43074", concept(text=text)))

    assert value(read, fact) is None
    assert [c.sources for c in read.candidates if c.fact == fact] == [("Condition/43074",)]
    assert ("text-only", "unconfirmed") in issues(read, fact)


@pytest.mark.parametrize("text", ["Intracerebral hemorrhage", "INTRACEREBRAL HAEMORRHAGE", "cerebral haemorrhage"])
def test_a_text_in_either_spelling_speaks_against_a_negative(text: str) -> None:
    read = reading(refuted(ICH_CODE), condition("d", concept(text=text)))

    assert value(read, ICH) is None
    assert candidates(read, ICH) == ["no", "yes"]


@pytest.mark.parametrize(
    ("verified", "code"), [("refuted", "status-not-counted"), ("entered-in-error", "entered-in-error")]
)
def test_a_text_that_does_not_count_suggests_nothing(verified: str, code: str) -> None:
    read = reading(condition("c", concept(text="Depression"), verified=verified))

    assert not read.candidates
    assert issues(read, "dx_primary") == {(code, "ignored")}


def test_a_screening_is_no_diagnosis() -> None:
    assert not reading(condition("c", concept("sct 171207006", text="Depression screening"))).candidates


def test_the_onset_of_depression_is_only_suggested_as_the_start_of_the_episode() -> None:
    read = reading(condition("c", MDD, onsetDateTime="2024-11-01"))

    assert value(read, "episode_start_date") is None
    assert candidates(read, "episode_start_date") == ["2024-11-01"]


def test_weeks_are_counted_from_the_newest_event() -> None:
    events = [
        condition("a", concept("icd I21.4"), clinical="resolved", onsetDateTime="2025-05-20T23:00:00-05:00"),
        condition("b", concept("sct 230690007"), onsetDateTime="2019"),
        condition("c", concept("sct 399211009"), onsetDateTime="2025-06-01"),
    ]

    assert value(reading(*events), "recent_cv_event_weeks") == (AS_OF - date(2025, 5, 20)).days // 7


@pytest.mark.parametrize(
    ("more", "issue"),
    [
        ({}, "date-missing"),
        ({"onsetDateTime": "2025"}, "date-imprecise"),
        ({"onsetString": "last year"}, "date-missing"),
    ],
)
def test_weeks_since_an_event_that_is_not_dated_are_not_counted(more: Json, issue: str) -> None:
    dated = condition("a", concept("icd I21.4"), onsetDateTime="2020-01-01")
    read = reading(dated, condition("b", concept("icd I21.4"), **more))

    assert value(read, "recent_cv_event_weeks") is None
    assert value(read, "cv_event_history") == "yes"
    assert issues(read, "recent_cv_event_weeks") == {(issue, "unusable")}


def test_the_stronger_of_two_values_stands() -> None:
    read = reading(condition("a", concept("icd G31.84")), condition("b", concept("icd F03.90")))

    assert value(read, "neurocog_status") == "dementia"


def test_pregnancy_by_diagnosis_and_by_observation_must_agree() -> None:
    told = {"resourceType": "Observation", "id": "o", "status": "final", "subject": {"reference": "Patient/p1"}}
    seen = {**told, "code": concept("loinc 82810-3"), "effectiveDateTime": "2025-06-01"}
    not_pregnant = {**seen, "valueCodeableConcept": concept("sct 60001007")}
    read = reading(condition("c", concept("sct 77386006")), not_pregnant)

    assert value(read, "pregnancy_status") is None
    assert issues(read, "pregnancy_status") == {("conflict", "unusable")}
    assert value(reading(not_pregnant), "pregnancy_status") == "not_pregnant"


def test_a_diagnosis_beside_an_observation_that_cannot_be_read_is_to_be_confirmed() -> None:
    seen = observation("o", concept("loinc 82810-3"), valueCodeableConcept=concept(text="perhaps"))
    read = reading(condition("c", concept("sct 77386006")), seen)

    assert value(read, "pregnancy_status") is None
    assert candidates(read, "pregnancy_status") == ["pregnant"]


def test_a_resolved_pregnancy_does_not_show_that_there_is_none() -> None:
    read = reading(condition("c", concept("sct 72892002"), clinical="resolved", abatementDateTime="2020-01-01"))

    assert value(read, "pregnancy_status") is None


def test_an_anxiety_disorder_may_be_why_an_antidepressant_was_given() -> None:
    assert issues(reading(condition("c", concept("sct 21897009"))), "trials") == {("needs-confirmation", "noted")}


def test_no_diagnosis_is_missing_and_not_no() -> None:
    assert not reading().facts


def test_that_somebody_is_not_pregnant_speaks_for_some_weeks_only() -> None:
    told = {"resourceType": "Observation", "id": "o", "status": "final", "subject": {"reference": "Patient/p1"}}
    seen = {**told, "code": concept("loinc 82810-3"), "valueCodeableConcept": concept("sct 60001007")}
    for day, said, suggested in (("2025-05-05", "not_pregnant", []), ("2025-05-04", None, ["not_pregnant"])):
        read = reading({**seen, "effectiveDateTime": day})
        assert value(read, "pregnancy_status") == said
        assert candidates(read, "pregnancy_status") == suggested
    pregnant = {**seen, "effectiveDateTime": "2025-01-04", "valueCodeableConcept": concept("sct 77386006")}
    assert value(reading(pregnant), "pregnancy_status") == "pregnant"
