"""PHQ-9 and C-SSRS, item by item."""

from __future__ import annotations

from copy import deepcopy

import pytest

from tests.unit.fhir_record import (
    PHQ9,
    SCORES,
    SYSTEMS,
    Json,
    c_ssrs,
    candidates,
    concept,
    issues,
    observation,
    phq9,
    reading,
    value,
)

NINE = (2, 2, 2, 2, 1, 1, 2, 0, 1)
TOTAL, ITEM = "phq9_total", "phq9_item9"
IDEATION = ("93246-7", "93247-5", "93248-3", "93249-1", "93250-9")
LEVELS = (
    "passive_wish_dead", "active_nonspecific", "active_method_no_intent", "active_intent_no_plan",
    "active_plan_and_intent",
)  # fmt: skip
EVER, RECENT = "93267-3", "93269-9"


def test_the_total_is_the_sum_of_nine() -> None:
    read = reading(phq9("q", NINE, total=13.0))

    assert (value(read, TOTAL), value(read, ITEM)) == (13, 1)
    assert not issues(read)


def test_a_stated_total_that_is_not_the_sum_is_reported_and_not_used() -> None:
    for stated in (35, 12, 13.5):
        read = reading(phq9("q", NINE, total=stated))

        assert value(read, TOTAL) == 13
        assert issues(read, TOTAL) == {("score-disagrees", "noted")}


def test_a_stated_total_of_the_same_moment_gives_way_to_the_sum() -> None:
    stated = observation("o", concept("loinc 44261-6"), "2025-06-02", valueInteger=20)
    read = reading(phq9("q", NINE), stated)

    assert value(read, TOTAL) == 13
    assert issues(read, TOTAL) == {("score-disagrees", "noted")}


def test_one_missing_item_leaves_no_total_but_item_nine_stands_alone() -> None:
    told = phq9("q", NINE, total=13)
    del told["item"][3]
    read = reading(told, observation("old", concept("loinc 44261-6"), "2025-05-01", valueInteger=4))

    assert (value(read, TOTAL), value(read, ITEM)) == (None, 1)
    assert issues(read, TOTAL) == {("score-incomplete", "unusable")}


def test_an_unanswered_item_nine_is_not_filled_from_an_older_response() -> None:
    told = phq9("q", NINE)
    told["item"][8]["answer"] = []
    read = reading(told, phq9("old", NINE, "2025-01-01"))

    assert value(read, ITEM) is None
    assert issues(read, ITEM) == {("score-incomplete", "unusable")}


def by_extension(url: str, scores: tuple[int, ...]) -> Json:
    """Give a response in an older shape: numbered items, one code for every answer, and the score beside it."""
    items = [
        {
            "linkId": str(place),
            "definition": f"http://loinc.orgfhir/DataElement/{code}",
            "answer": [
                {
                    "valueCoding": {
                        "system": SYSTEMS["loinc"],
                        "code": SCORES[0],
                        "extension": [{"url": url, "valueDecimal": n}],
                    }
                }
            ],
        }
        for place, (code, n) in enumerate(zip(PHQ9, scores, strict=True), 1)
    ]
    return {**phq9("q", ()), "item": items, "questionnaire": {"identifier": {"value": "case_3"}}}


@pytest.mark.parametrize("name", ["iso21090-CO-value", "ordinalValue"])
def test_a_score_in_an_extension_wins_over_the_code(name: str) -> None:
    read = reading(by_extension(f"http://hl7.org/fhir/StructureDefinition/{name}", NINE))

    assert value(read, TOTAL) == 13
    assert issues(read, TOTAL) == {("answer-conflict", "noted")}


@pytest.mark.parametrize("score", [4, -1, 1.5])
def test_an_item_outside_its_scale_leaves_no_total(score: object) -> None:
    scores = (*NINE[:8], score)
    read = reading(by_extension("http://hl7.org/fhir/StructureDefinition/ordinalValue", scores))  # type: ignore[arg-type]

    assert (value(read, TOTAL), value(read, ITEM)) == (None, None)


def test_items_may_be_nested_and_answered_by_numbers() -> None:
    told = phq9("q", NINE)
    for item, score in zip(told["item"], NINE, strict=True):
        item["answer"] = [{"valueInteger": score}]

    assert value(reading({**told, "item": [{"linkId": "group", "item": told["item"]}]}), TOTAL) == 13


def test_an_item_that_is_answered_twice_differently_leaves_no_total() -> None:
    told = phq9("q", NINE)
    told["item"].append(deepcopy(told["item"][0]))
    assert value(reading(told), TOTAL) == 13

    told["item"][-1]["answer"][0]["valueCoding"]["code"] = SCORES[0]
    assert issues(reading(told), TOTAL) == {("conflict", "unusable")}


def test_phq2_is_no_phq9() -> None:
    told = phq9("q", NINE[:2])
    read = reading(told, phq9("old", NINE, "2025-05-01"))

    assert value(read, TOTAL) == 13
    assert not issues(read)


@pytest.mark.parametrize("status", ["in-progress", "stopped", "entered-in-error", None])
def test_only_finished_responses_count(status: object) -> None:
    read = reading({**phq9("q", NINE), "status": status})

    assert not read.facts
    assert all(effect == "ignored" for _, effect in issues(read, TOTAL))


def member(code: str, score: int) -> Json:
    answer = concept(f"loinc {SCORES[score]}")
    return observation(f"i-{code}", concept(f"loinc {code}"), valueCodeableConcept=answer)


def panel(codes: tuple[str, ...] = PHQ9) -> Json:
    members = [{"reference": f"Observation/i-{code}"} for code in codes]
    return observation("panel", concept("loinc 44249-1"), hasMember=members)


def test_a_panel_is_read_by_its_members() -> None:
    members = [member(code, score) for code, score in zip(PHQ9, NINE, strict=True)]

    assert value(reading(panel(), *members), TOTAL) == 13
    assert value(reading(panel(), *members[:-2]), TOTAL) is None
    assert value(reading(panel(), *members[1:], {**members[0], "status": "cancelled"}), TOTAL) is None
    elsewhere = {**members[0], "subject": {"reference": "Patient/p2"}}
    assert value(reading(panel(), *members[1:], elsewhere), TOTAL) is None


def test_a_panel_whose_members_are_not_here_says_nothing() -> None:
    stated = observation("o", concept("loinc 44261-6"), valueInteger=20)

    assert value(reading(panel(), stated), TOTAL) == 20


def test_a_panel_may_hold_components() -> None:
    parts = [{"code": concept(f"loinc {code}"), "valueInteger": score} for code, score in zip(PHQ9, NINE, strict=True)]

    assert value(reading(observation("panel", concept("loinc 44249-1"), component=parts)), TOTAL) == 13


def test_totals_of_other_forms_are_read() -> None:
    told = phq9("q", ())
    told["item"] = [{"linkId": "/75626-2", "answer": [{"valueDecimal": 3}]}]

    assert value(reading(told), "audit_c") == 3
    told["item"] = [{"linkId": "/76504-0", "answer": [{"valueDecimal": 3}]}]
    assert not reading(told).facts


@pytest.mark.parametrize(("worst", "level"), [(0, "none"), *enumerate(LEVELS, 1)])
def test_the_level_of_ideation_is_the_worst_item_answered_yes(worst: int, level: str) -> None:
    answers = {code: place <= worst for place, code in enumerate(IDEATION, 1)}
    read = reading(c_ssrs("c", answers))

    assert value(read, "si_level") == level
    assert read.facts["si_level"].matched_by == "unconfirmed code"


def test_an_unanswered_item_is_missing_and_not_no() -> None:
    read = reading(
        c_ssrs("c", {"93246-7": True, "93247-5": False}), c_ssrs("old", dict.fromkeys(IDEATION, False), "2025-01-01")
    )

    assert value(read, "si_level") is None
    assert candidates(read, "si_level") == ["passive_wish_dead"]
    assert issues(read, "si_level") == {("score-incomplete", "unusable")}


def test_a_worse_item_answered_yes_needs_no_milder_one() -> None:
    assert value(reading(c_ssrs("c", {"93250-9": True})), "si_level") == "active_plan_and_intent"


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({EVER: False}, "none"),
        ({EVER: False, RECENT: False}, "none"),
        ({EVER: True, RECENT: False}, "lifetime_gt_3mo"),
        ({EVER: True, RECENT: True}, "within_3mo"),
        ({RECENT: True}, "within_3mo"),
        ({EVER: True}, None),
        ({RECENT: False}, None),
        ({EVER: False, RECENT: True}, None),
    ],
)
def test_how_recent_behavior_was(answers: dict[str, bool], expected: object) -> None:
    assert value(reading(c_ssrs("c", answers)), "suicidal_behavior_recency") == expected


def test_recent_behavior_may_have_been_within_a_day_and_is_to_be_confirmed() -> None:
    read = reading(c_ssrs("c", {EVER: True, RECENT: True}))

    assert issues(read, "suicidal_behavior_recency") == {("needs-confirmation", "noted")}


def test_the_screener_may_be_a_panel_of_observations() -> None:
    parts = [{"code": concept(f"loinc {code}"), "valueBoolean": False} for code in (*IDEATION, EVER)]
    read = reading(observation("c", concept("loinc 93373-9"), component=parts))

    assert (value(read, "si_level"), value(read, "suicidal_behavior_recency")) == ("none", "none")
