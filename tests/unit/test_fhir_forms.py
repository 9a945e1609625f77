"""PHQ-9, item by item, and totals of other questionnaires."""

from __future__ import annotations

from copy import deepcopy

import pytest

from tests.unit.fhir_record import (
    PHQ9,
    SCORES,
    SYSTEMS,
    Json,
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


def test_a_panel_whose_members_are_not_here_gives_way_to_a_total_of_the_same_moment() -> None:
    stated = observation("o", concept("loinc 44261-6"), valueInteger=20)
    read = reading(panel(), stated)

    assert value(read, TOTAL) == 20
    assert issues(read, TOTAL) == {("score-incomplete", "noted")}


def test_nothing_older_stands_in_for_a_panel_whose_members_are_not_here() -> None:
    old = [
        observation("t", concept("loinc 44261-6"), "2025-05-20", valueInteger=3),
        observation("i", concept("loinc 44260-8"), "2025-05-20", valueInteger=0),
    ]
    read = reading(panel(), *old)

    assert (value(read, TOTAL), value(read, ITEM)) == (None, None)
    assert issues(read, TOTAL) == issues(read, ITEM) == {("score-incomplete", "unusable")}


def test_members_may_be_contained() -> None:
    members = [member(code, score) for code, score in zip(PHQ9, NINE, strict=True)]
    references = [{"reference": f"#i-{code}"} for code in PHQ9]

    assert value(reading({**panel(), "hasMember": references, "contained": members}), TOTAL) == 13


def test_a_panel_may_hold_components() -> None:
    parts = [{"code": concept(f"loinc {code}"), "valueInteger": score} for code, score in zip(PHQ9, NINE, strict=True)]

    assert value(reading(observation("panel", concept("loinc 44249-1"), component=parts)), TOTAL) == 13


def held(scores: tuple[int, ...], total: object, first: int = 0) -> Json:
    """Give a total that holds items as components, from the item at `first` on."""
    parts = [{"code": concept(f"loinc {c}"), "valueInteger": n} for c, n in zip(PHQ9[first:], scores, strict=False)]
    return observation("t", concept("loinc 44261-6"), component=parts, valueInteger=total)


def test_items_that_stand_in_a_total_are_read_beside_it() -> None:
    read = reading(held((3,), 20, first=8))
    assert (value(read, TOTAL), value(read, ITEM)) == (20, 3)
    assert not issues(read)

    read = reading(held(NINE, 20))
    assert (value(read, TOTAL), value(read, ITEM)) == (13, 1)
    assert issues(read, TOTAL) == {("score-disagrees", "noted")}
    assert value(reading({**held(NINE, None), "code": concept(text="Depression screening")}), TOTAL) == 13


def test_a_total_below_the_items_that_it_holds_is_unusable() -> None:
    read = reading(held((3,), 2, first=8))

    assert (value(read, TOTAL), value(read, ITEM)) == (None, 3)
    assert issues(read, TOTAL) == {("conflict", "unusable")}


@pytest.mark.parametrize("when", ["2025-06-02T10:05:00Z", "2025-06-02T09:00:00Z"])
def test_a_total_that_was_stated_on_the_day_of_the_items_is_compared_with_their_sum(when: str) -> None:
    read = reading(
        phq9("q", (3,) * 9, "2025-06-02T10:00:00Z"),
        observation("t", concept("loinc 44261-6"), when, valueInteger=4),
        observation("old", concept("loinc 44261-6"), "2025-05-02", valueInteger=9),
    )

    assert value(read, TOTAL) == 27
    assert issues(read, TOTAL) == {("score-disagrees", "noted")}


def test_a_total_that_was_stated_on_the_day_of_items_that_have_no_sum_is_unusable() -> None:
    told = phq9("q", (3,) * 8, "2025-06-02T10:00:00Z")
    read = reading(told, observation("t", concept("loinc 44261-6"), "2025-06-02T10:05:00Z", valueInteger=4))

    assert value(read, TOTAL) is None
    assert issues(read, TOTAL) == {("score-incomplete", "unusable")}


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ({"value": 0, "comparator": ">"}, "value-absent"),
        ({"value": 1, "unit": "%", "code": "%"}, "unit"),
        ({"value": 1, "unit": "points of ten"}, "unit"),
    ],
)
def test_an_item_with_a_comparator_or_a_unit_is_no_score(amount: Json, code: str) -> None:
    parts = [{"code": concept(f"loinc {each}"), "valueQuantity": amount} for each in PHQ9]
    read = reading(observation("panel", concept("loinc 44249-1"), component=parts))

    assert (value(read, TOTAL), value(read, ITEM)) == (None, None)
    assert issues(read, TOTAL) == issues(read, ITEM) == {(code, "unusable")}


def answered(answer: Json, links: tuple[str, ...], **more: object) -> Json:
    return {**phq9("n", ()), "item": [{"linkId": link, "answer": [answer]} for link in links], **more}


NUMBERS = tuple("123456789")
CODES = tuple(f"/{code}" for code in PHQ9)


@pytest.mark.parametrize(
    "answer",
    [
        {"valueString": "Nearly every day"},
        {"valueCoding": {"system": "http://example.org", "code": "LA6568-5", "display": "Nearly every day"}},
    ],
)
def test_answers_in_words_alone_suggest_and_nothing_older_stands_in(answer: Json) -> None:
    read = reading(phq9("old", (0,) * 9, "2025-06-01"), answered(answer, CODES))

    assert (value(read, TOTAL), value(read, ITEM)) == (None, None)
    assert (candidates(read, TOTAL), candidates(read, ITEM)) == (["27"], ["3"])
    assert issues(read, TOTAL) == {("text-only", "unconfirmed")}


def test_an_answer_whose_words_and_code_differ_is_none() -> None:
    odd = {"valueCoding": {"system": SYSTEMS["loinc"], "code": SCORES[0], "display": "Nearly every day"}}
    read = reading(answered(odd, CODES))

    assert issues(read, TOTAL) == {("conflict", "unusable")}


@pytest.mark.parametrize("named", ["http://loinc.org/q/44249-1", {"reference": "Questionnaire/44249-1"}])
def test_numbered_items_of_a_form_that_names_the_phq9_suggest_and_nothing_older_stands_in(named: object) -> None:
    old = phq9("old", (0,) * 9, "2025-06-01")
    read = reading(old, answered({"valueInteger": 3}, NUMBERS, questionnaire=named))
    assert (value(read, TOTAL), value(read, ITEM)) == (None, None)
    assert (candidates(read, TOTAL), candidates(read, ITEM)) == (["27"], ["3"])

    read = reading(old, answered({"valueInteger": 3}, ("a", "b"), questionnaire=named))
    assert (value(read, TOTAL), value(read, ITEM)) == (None, None)
    assert issues(read, TOTAL) == {("score-incomplete", "unusable")}


def test_nine_numbered_items_suggest_a_phq9_where_nothing_says_of_what_they_are() -> None:
    read = reading(answered({"valueInteger": 3}, NUMBERS))
    assert not read.facts
    assert (candidates(read, TOTAL), candidates(read, ITEM)) == (["27"], ["3"])
    assert issues(read, TOTAL) == {("needs-confirmation", "unconfirmed")}

    for other_form in (
        answered({"valueInteger": 3}, NUMBERS[:7]),
        answered({"valueInteger": 4}, NUMBERS),
        answered({"valueInteger": 3}, NUMBERS, questionnaire="http://example.org/Questionnaire/sleep"),
        answered({"valueInteger": 3}, NUMBERS, status="in-progress"),
    ):
        assert not reading(other_form).candidates


def test_totals_of_other_forms_are_read() -> None:
    told = phq9("q", ())
    told["item"] = [{"linkId": "/75626-2", "answer": [{"valueDecimal": 3}]}]

    assert value(reading(told), "audit_c") == 3
    told["item"] = [{"linkId": "/76504-0", "answer": [{"valueDecimal": 3}]}]
    assert not reading(told).facts
