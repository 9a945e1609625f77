"""Where a C-SSRS may stand: panels, loose observations, risk levels, findings and flags."""

from __future__ import annotations

import pytest

from tests.unit.fhir_record import Json, candidates, concept, issues, observation, other, reading, value
from tests.unit.test_fhir_screening import (
    ALL,
    BEHAVIOR,
    EDITION,
    EVER,
    IDEATION,
    LEVEL,
    LEVELS,
    NO,
    OLD,
    RECENT,
    WORST,
    YES,
    form,
    item,
    same,
    sct,
)


def panel(members: list[str], **more: object) -> Json:
    return {**observation("panel", concept("loinc 93373-9")), "hasMember": [{"reference": m} for m in members], **more}


def test_items_without_a_panel_are_one_form_of_their_day() -> None:
    read = reading(OLD, *(item(code, YES if code != RECENT else NO) for code in ALL))

    assert (value(read, LEVEL), value(read, BEHAVIOR)) == (WORST, "lifetime_gt_3mo")
    assert read.facts[LEVEL].sources == tuple(sorted(f"Observation/i-{code}" for code in ALL))

    times = [f"2025-06-02T10:0{n}:00Z" for n in range(5)]
    timed = [item(code, NO, when) for code, when in zip(IDEATION, times, strict=True)]
    assert value(reading(OLD, *timed), LEVEL) == "none"
    assert value(reading(OLD, *timed, item(RECENT, YES, "")), LEVEL) is None


def test_a_few_items_without_a_panel_are_not_enough() -> None:
    read = reading(OLD, item(IDEATION[1], YES), item(IDEATION[2], NO))

    assert value(read, LEVEL) is None
    assert candidates(read, LEVEL) == [LEVELS[1]]


def test_items_of_other_days_do_not_join() -> None:
    days = [f"2025-05-0{n}" for n in range(1, 6)]
    read = reading(*(item(code, NO, when) for code, when in zip(IDEATION, days, strict=True)))

    assert value(read, LEVEL) is None


@pytest.mark.parametrize("is_contained", [True, False])
def test_a_panel_is_read_by_its_members_where_these_stand(*, is_contained: bool) -> None:
    members = [item(code, YES) for code in ALL]
    if is_contained:
        for each in members:
            del each["subject"]
        read = reading(OLD, panel([f"#i-{code}" for code in ALL], contained=members))
    else:
        read = reading(OLD, panel([f"Observation/i-{code}" for code in ALL]), *members)

    assert (value(read, LEVEL), value(read, BEHAVIOR)) == (WORST, "within_3mo")


def test_a_member_may_be_a_response() -> None:
    response = form(same(ALL, {"valueBoolean": True}), "2025-06-01T23:00:00")
    read = reading(OLD, panel(["QuestionnaireResponse/new"]), response)

    assert value(read, LEVEL) == WORST


def test_a_panel_whose_members_do_not_come_or_count_is_unusable() -> None:
    references = [f"Observation/i-{code}" for code in ALL]
    told: list[list[Json]] = [
        [],
        [item(code, NO, status="cancelled") for code in ALL],
        [item(code, NO, status="entered-in-error") for code in ALL],
        [item(code, NO, subject={"reference": "Patient/p2"}) for code in ALL],
        [item(code, NO, focus=[{"reference": "RelatedPerson/r"}]) for code in ALL],
    ]
    for members in told:
        read = reading(OLD, panel(references), *members)
        assert not {LEVEL, BEHAVIOR} & read.facts.keys()
        assert ("score-incomplete", "unusable") in issues(read, LEVEL)
        assert candidates(read, LEVEL) == [""]


def test_a_preliminary_member_answered_yes_suggests() -> None:
    members = [item(code, YES, status="preliminary") for code in ALL]
    read = reading(OLD, panel([f"Observation/i-{code}" for code in ALL]), *members)

    assert (value(read, LEVEL), candidates(read, LEVEL)) == (None, [WORST])
    assert (value(read, BEHAVIOR), candidates(read, BEHAVIOR)) == (None, ["within_3mo"])


def test_a_member_that_did_not_come_may_say_that_behavior_was_recent() -> None:
    members = [item(code, NO) for code in (*IDEATION, EVER)]
    read = reading(panel([f"Observation/i-{code}" for code in ALL]), *members)

    assert (value(read, LEVEL), value(read, BEHAVIOR)) == ("none", None)


def test_a_panel_with_nothing_but_a_value_is_unusable() -> None:
    told: list[Json] = [
        {"valueCodeableConcept": concept(text="High risk")},
        {"dataAbsentReason": concept(text="refused")},
        {"component": "none"},
        {"hasMember": ["Observation/x"]},
    ]
    for each in told:
        read = reading(OLD, observation("p", concept("loinc 93245-9"), **each))
        assert not {LEVEL, BEHAVIOR} & read.facts.keys()


def test_items_that_another_observation_holds_are_read() -> None:
    parts = [{"code": concept(f"loinc {code}"), **NO} for code in ALL]
    read = reading(observation("o", concept(text="Screening"), component=parts))

    assert (value(read, LEVEL), value(read, BEHAVIOR)) == ("none", "none")


def test_a_risk_level_says_that_there_is_something_to_ask() -> None:
    high = observation("r", concept("loinc 93374-7"), valueCodeableConcept=concept(text="High"))
    read = reading(OLD, high)

    for fact in (LEVEL, BEHAVIOR):
        assert value(read, fact) is None
        assert candidates(read, fact) == [""]
        assert issues(read, fact) == {("needs-confirmation", "unconfirmed")}


def test_items_go_before_the_risk_level_of_the_same_form() -> None:
    answers: dict[str, object] = {**same(ALL, {"valueBoolean": True}), "93374-7": sct("1")}
    read = reading(form(answers))
    assert value(read, LEVEL) == WORST
    assert ("needs-confirmation", "noted") in issues(read, LEVEL)

    read = reading(OLD, form({"93374-7": sct("1")}))
    assert (value(read, LEVEL), candidates(read, LEVEL)) == (None, [""])


@pytest.mark.parametrize("code", ["sct 6471006", "sct 225444004"])
def test_recorded_ideation_or_risk_suggests_as_code_and_as_value(code: str) -> None:
    for told in (
        observation("o", concept(code), valueBoolean=True),
        observation("o", concept(text="Finding"), valueCodeableConcept=concept(code)),
        observation("o", concept(code), valueCodeableConcept=concept("sct 373066001")),
    ):
        read = reading(OLD, told)
        assert (value(read, LEVEL), candidates(read, LEVEL)) == (None, [""])
        assert value(read, BEHAVIOR) == "none"


def test_ideation_that_is_denied_takes_nothing_away() -> None:
    denied = observation("o", concept("sct 6471006"), valueBoolean=False)

    assert value(reading(OLD, denied), LEVEL) == "none"
    assert value(reading(denied), LEVEL) is None
    assert candidates(reading(denied), LEVEL) == [""]


def flag(code: Json, **more: object) -> Json:
    return other("Flag", "f", **{"status": "active", "code": code, "period": {"start": "2025-06-01"}, **more})


def test_a_flag_suggests() -> None:
    read = reading(flag(concept("sct 225444004")))

    assert not read.facts
    assert {(c.fact, c.suggests, c.sources) for c in read.candidates} == {
        (LEVEL, "", ("Flag/f",)),
        ("imminent_risk_judgement", "", ("Flag/f",)),
    }
    assert candidates(reading(flag(concept("sct 6471006"))), LEVEL) == [""]
    assert candidates(reading(flag(concept(text="Suicidal ideation"))), LEVEL) == [""]
    edition = {"coding": [{"system": EDITION, "code": "225444004"}]}
    assert candidates(reading(flag(edition)), "imminent_risk_judgement") == [""]
    beside = flag(concept("sct 1", text="Suicide precautions, screening"))
    assert candidates(reading(beside), LEVEL) == [""]
    assert not reading(flag(concept(text="Family history of suicide"))).candidates


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"status": "inactive"}, "status-not-counted"),
        ({"status": "entered-in-error"}, "entered-in-error"),
        ({"status": None}, "status-not-counted"),
        ({"period": {"start": "2025-07-01"}}, "date-future"),
    ],
)
def test_a_flag_that_does_not_count_is_noted(more: Json, code: str) -> None:
    read = reading(flag(concept("sct 225444004"), **more))

    assert not read.candidates
    assert issues(read, LEVEL) == {(code, "ignored")}
    assert not reading(flag(concept(text="Wheelchair"), **more)).issues


def test_a_flag_says_nothing_as_an_observation_of_imminent_risk() -> None:
    read = reading(observation("o", concept("sct 225444004"), valueBoolean=True))

    assert not candidates(read, "imminent_risk_judgement")
