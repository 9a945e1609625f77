"""What diagnoses say of now and of the past, and those whose code is not known exactly: never silence, never a fact."""

from __future__ import annotations

import pytest

from tests.unit.fhir_record import Json, candidates, concept, condition, issues, patient, reading, value

ICD, ICD_WHO = "http://hl7.org/fhir/sid/icd-10-cm", "http://hl7.org/fhir/sid/icd-10"
SNOMED = "http://snomed.info/sct"
IDEATION, BEHAVIOR = "si_level", "suicidal_behavior_recency"
ANEURYSM, ICH = "aneurysmal_vascular_disease", "intracerebral_hemorrhage_history"
EPISODE, REMISSION = "episode_current", "episode_in_remission"


def coded(system: str, code: str, display: str = "", text: str = "") -> Json:
    coding = {"system": system, "code": code, **({"display": display} if display else {})}
    return {"coding": [coding], **({"text": text} if text else {})}


SIGNALS: list[tuple[Json, str]] = [
    (coded(SNOMED, "82313006"), BEHAVIOR),
    (coded(ICD, "T14.91XD"), BEHAVIOR),
    (coded(ICD, "T39.1X2A"), BEHAVIOR),
    (coded(ICD, "T42.4X2D"), BEHAVIOR),
    (coded(ICD, "T43.92XA"), BEHAVIOR),
    (coded(ICD, "T71.162A"), BEHAVIOR),
    (coded(ICD, "X78.1XXA"), BEHAVIOR),
    (coded(ICD_WHO, "X70"), BEHAVIOR),
    (coded(ICD_WHO, "Z91.5"), BEHAVIOR),
    (coded(ICD, "R45851"), IDEATION),
    (coded(ICD, "r45.851"), IDEATION),
    (coded("http://snomed.info/sct/731000124108", "6471006"), IDEATION),
    (coded(SNOMED, "999", display="Suicidal intent"), IDEATION),
    (coded("http://example.org/local", "1", display="Suicidal"), IDEATION),
    *(
        (concept(text=text), fact)
        for text, fact in (
            ("Suicidal", IDEATION),
            ("Suicidal thoughts", IDEATION),
            ("At risk for suicide", IDEATION),
            ("Suicide risk, high", IDEATION),
            ("Suicidal ideation found on screening", IDEATION),
            ("Positive depression screening with suicidal ideation", IDEATION),
            ("Self-harm", BEHAVIOR),
            ("Attempted suicide", BEHAVIOR),
            ("Deliberate self harming behaviour", BEHAVIOR),
        )
    ),
    (concept("icd F33.2", text="Severe depression with suicidal ideation and plan"), IDEATION),
]


@pytest.mark.parametrize(("code", "fact"), SIGNALS)
def test_a_signal_of_suicide_risk_is_never_lost_and_never_settles(code: Json, fact: str) -> None:
    read = reading(condition("c", code))

    assert fact not in read.facts
    assert candidates(read, fact) == [""]
    assert fact in {issue.fact for issue in read.issues if issue.effect == "unconfirmed"}


@pytest.mark.parametrize("code", ["T39.1X1A", "T39.1X5A", "T33.012A", "X58"])
def test_another_intent_is_no_self_harm(code: str) -> None:
    assert not candidates(reading(condition("c", concept(f"icd {code}"))), BEHAVIOR)


def test_the_risk_of_a_relative_is_not_that_of_the_patient() -> None:
    assert not reading(condition("c", concept("icd Z81.8", text="Family history of suicide"))).candidates


@pytest.mark.parametrize(
    ("more", "suggests"),
    [
        ({"abatementDateTime": "2025-05-30"}, [""]),
        ({"abatementDateTime": "2025-05-02"}, [""]),
        ({"abatementDateTime": "2025-05-01"}, []),
        ({"abatementDateTime": "2025"}, [""]),
        ({}, [""]),
    ],
)
def test_ideation_that_ended_within_a_month_is_asked_about(more: Json, suggests: list[str]) -> None:
    told = condition("c", concept("icd R45.851"), clinical="resolved", onsetDateTime="2025-04-20", **more)

    assert candidates(reading(told), IDEATION) == suggests


@pytest.mark.parametrize(
    ("code", "fact", "suggests"),
    [
        (coded(SNOMED, "233985008", "Abdominal aortic aneurysm"), ANEURYSM, ["yes"]),
        (coded(SNOMED, "35489007", text="Depressive disorder"), "dx_primary", ["mdd_single"]),
        (coded("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "F33.2"), "dx_primary", ["mdd_recurrent"]),
        (coded("http://fhir.de/CodeSystem/bfarm/icd-10-gm", "F33.2"), EPISODE, ["true"]),
        (coded("urn:oid:2.16.840.1.113883.6.3", "I61.9"), ICH, ["yes"]),
        (coded("https://snomed.info/sct", "274100004"), ICH, ["yes"]),
        (coded(ICD, "i61.9"), ICH, ["yes"]),
        (coded(ICD_WHO, "F33.4", "Recurrent depressive disorder, currently in remission"), REMISSION, ["true"]),
        (coded(ICD_WHO, "F33.4"), "dx_primary", ["mdd_recurrent"]),
    ],
)
def test_a_code_that_is_not_known_exactly_suggests(code: Json, fact: str, suggests: list[str]) -> None:
    read = reading(condition("c", code, recordedDate="2025-05-01"))

    assert fact not in read.facts
    assert candidates(read, fact) == suggests


def test_a_code_that_is_not_known_exactly_speaks_against_a_negative() -> None:
    refuted = condition("r", concept("sct 274100004"), verified="refuted", recordedDate="2025-06-01")

    assert value(reading(refuted), ICH) == "no"
    assert value(reading(refuted, condition("c", coded(ICD, "i61.9"))), ICH) is None


@pytest.mark.parametrize(
    ("verified", "issue"), [("refuted", "status-not-counted"), ("entered-in-error", "entered-in-error")]
)
def test_a_code_that_is_not_known_exactly_and_does_not_count_says_nothing(verified: str, issue: str) -> None:
    read = reading(condition("c", coded(ICD, "i61.9"), verified=verified, recordedDate="2025-06-01"))

    assert not read.facts
    assert not read.candidates
    assert issues(read, ICH) == {(issue, "ignored")}


def test_a_code_that_excludes_a_fact_is_not_read_by_its_text() -> None:
    read = reading(condition("c", concept("icd Z86.73", text="History of stroke")))

    assert not candidates(read, ICH)


def test_a_known_code_is_not_read_by_its_text() -> None:
    read = reading(condition("c", concept("icd I63.9", text="Stroke"), onsetDateTime="2020-01-01"))

    assert value(read, "cv_event_history") == "yes"
    assert not candidates(read, ICH)


@pytest.mark.parametrize(
    ("newer", "weeks"),
    [
        (condition("n", coded(ICD, "i21.4"), onsetDateTime="2025-05-19"), None),
        (condition("n", concept("icd I21.4"), verified="provisional", onsetDateTime="2025-05-19"), None),
        (condition("n", coded(SNOMED, "401314000", "Acute myocardial infarction"), onsetDateTime="2025-05-19"), None),
        (condition("n", coded(ICD, "i21.4"), onsetDateTime="2010-05-19"), 282),
    ],
)
def test_weeks_are_not_counted_past_an_event_that_may_be_newer(newer: Json, weeks: object) -> None:
    read = reading(condition("o", concept("icd I63.9"), onsetDateTime="2020-01-01"), newer)

    assert value(read, "recent_cv_event_weeks") == weeks
    assert candidates(read, "recent_cv_event_weeks") == ([] if weeks else ["2"])


@pytest.mark.parametrize(
    ("code", "fact", "edge", "before", "found"),
    [
        ("icd F05", "delirium_current", "2025-05-05", "2025-05-04", "yes"),
        ("icd F06.1", "catatonia", "2025-05-05", "2025-05-04", "yes"),
        ("icd F33.3", "mdd_psychotic_features_current", "2024-06-02", "2024-06-01", "yes"),
        ("sct 69322001", "psychotic_disorder_history", "2024-06-02", "2024-06-01", "current"),
        ("icd Z33.1", "pregnancy_status", "2024-07-29", "2024-07-28", "pregnant"),
        ("sct 77386006", "pregnancy_status", "2024-07-29", "2024-07-28", "pregnant"),
        ("icd Z39.1", "breastfeeding", "2024-06-02", "2024-06-01", True),
        ("icd Z99.2", "dialysis", "2024-06-02", "2024-06-01", True),
        ("icd F33.42", REMISSION, "2024-06-02", "2024-06-01", True),
    ],
)
def test_what_is_now_needs_a_recent_record(code: str, fact: str, edge: str, before: str, found: object) -> None:
    suggested = [str(found).lower()]
    for more in ({"recordedDate": edge}, {"onsetDateTime": edge}, {"onsetDateTime": "2001", "recordedDate": edge}):
        assert value(reading(condition("c", concept(code), **more)), fact) == found
    read = reading(condition("c", concept(code), recordedDate=before))

    assert value(read, fact) is None
    assert candidates(read, fact) == suggested
    assert ("needs-confirmation", "unconfirmed") in issues(read, fact)
    assert value(reading(condition("c", concept(code), onsetDateTime="2001", abatementDateTime="2026")), fact) == found


def test_a_past_psychosis_and_a_dementia_do_not_age() -> None:
    past = condition("c", concept("sct 69322001"), clinical="resolved", recordedDate="1999-01-01")

    assert value(reading(past), "psychotic_disorder_history") == "past"
    assert value(reading(condition("c", concept("icd G30.9"), recordedDate="1999")), "neurocog_status") == "dementia"


@pytest.mark.parametrize("code", ["O00.90", "O80", "O86.4", "O91.23", "Z33.2"])
def test_a_pregnancy_that_may_have_ended_suggests(code: str) -> None:
    read = reading(condition("c", concept(f"icd {code}"), recordedDate="2025-05-30"))

    assert value(read, "pregnancy_status") is None
    assert candidates(read, "pregnancy_status") == ["pregnant"]


def remission(recorded: str, **more: object) -> Json:
    dated = {"recordedDate": recorded} if recorded else {}
    return condition("r", concept("icd F33.1"), clinical="remission", **dated, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (remission("2025-05-01"), True),
        (remission("2012-01-01"), None),
        (remission("2012-01-01", abatementDateTime="2025-04-01"), True),
        (remission(""), None),
    ],
)
def test_a_remission_speaks_for_a_year(told: Json, expected: object) -> None:
    read = reading(told)

    assert value(read, REMISSION) is expected
    assert candidates(read, REMISSION) == ([] if expected else ["true"])
    assert value(read, "dx_primary") == "mdd_recurrent"


@pytest.mark.parametrize(("recorded", "expected"), [("2025-04-30", True), ("2025-05-01", None), ("2025-05-20", None)])
def test_a_remission_does_not_stand_against_a_later_episode(recorded: str, expected: object) -> None:
    read = reading(remission("2025-05-01"), condition("c", concept("icd F33.1"), recordedDate=recorded))

    assert value(read, EPISODE) is True
    assert value(read, REMISSION) is expected


@pytest.mark.parametrize(
    "verification", [{"text": "Refuted"}, {"coding": [{"code": "refuted"}, {"code": "confirmed"}]}]
)
def test_a_refutation_that_is_not_understood_is_none(verification: Json) -> None:
    told = condition("c", concept("sct 274100004"), recordedDate="2025-06-01") | {"verificationStatus": verification}
    read = reading(patient(), told)

    assert value(read, ICH) is None
    assert candidates(read, ICH) == ["yes"]


def test_a_past_pregnancy_in_words_is_none_now() -> None:
    told = condition("c", coded(SNOMED, "72892", "Normal pregnancy"), clinical="resolved", abatementDateTime="2010")

    assert not reading(told).candidates
    assert candidates(reading({**told, "abatementDateTime": "2025"}), "pregnancy_status") == [""]
