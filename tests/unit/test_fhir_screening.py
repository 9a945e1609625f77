"""C-SSRS as senders write it: what is not surely understood is unusable and suggested, and nothing older stands in."""

from __future__ import annotations

from datetime import date

import pytest

from tests.unit.fhir_record import Json, c_ssrs, candidates, concept, issues, observation, other, reading, value

IDEATION = ("93246-7", "93247-5", "93248-3", "93249-1", "93250-9")
LEVELS = (
    "passive_wish_dead", "active_nonspecific", "active_method_no_intent", "active_intent_no_plan",
    "active_plan_and_intent",
)  # fmt: skip
EVER, RECENT = "93267-3", "93269-9"
LEVEL, BEHAVIOR = "si_level", "suicidal_behavior_recency"
WORST = LEVELS[-1]
ALL = (*IDEATION, EVER, RECENT)
OLD = c_ssrs("old", dict.fromkeys(ALL, False), "2025-06-01")
YES: Json = {"valueCodeableConcept": concept("loinc LA33-6")}
NO: Json = {"valueCodeableConcept": concept("loinc LA32-8")}
EDITION = "http://snomed.info/sct/900000000000207008"
V2 = "http://terminology.hl7.org/CodeSystem/v2-0136"


def coding(system: str, code: str) -> Json:
    return {"valueCoding": {"system": system, "code": code}}


def sct(code: str) -> Json:
    return coding("http://snomed.info/sct", code)


def same(items: tuple[str, ...], answer: Json) -> dict[str, object]:
    return dict.fromkeys(items, answer)


def form(answers: dict[str, object], when: str = "2025-06-02") -> Json:
    """Give a response; an answer is an object, a list of them, or of another shape."""
    items = [{"linkId": f"/{c}", "answer": [a] if isinstance(a, dict) else a} for c, a in answers.items()]
    return other("QuestionnaireResponse", "new", status="completed", authored=when, item=items)


def item(code: str, said: Json, when: str = "2025-06-02", **more: object) -> Json:
    return observation(f"i-{code}", concept(f"loinc {code}"), when, **said, **more)


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


@pytest.mark.parametrize(
    ("yes", "no", "code"),
    [
        (sct("373066001"), sct("373067005"), "needs-confirmation"),
        (coding(V2, "Y"), coding(V2, "N"), "needs-confirmation"),
        (coding(EDITION, "373066001"), coding(EDITION, "373067005"), "needs-confirmation"),
        ({"valueString": "Yes"}, {"valueString": "no"}, "text-only"),
        ({"valueCoding": {"display": "Yes"}}, {"valueCodeableConcept": {"text": "No"}}, "text-only"),
    ],
)
def test_an_answer_that_is_only_likely_suggests_and_nothing_older_stands_in(yes: Json, no: Json, code: str) -> None:
    read = reading(OLD, form(same(ALL, yes)))

    assert (value(read, LEVEL), value(read, BEHAVIOR)) == (None, None)
    assert (candidates(read, LEVEL), candidates(read, BEHAVIOR)) == ([WORST], ["within_3mo"])
    assert issues(read, LEVEL) == {(code, "unconfirmed")}

    read = reading(form(same(ALL, no)))
    assert not {LEVEL, BEHAVIOR} & read.facts.keys()
    assert (candidates(read, LEVEL), candidates(read, BEHAVIOR)) == (["none"], ["none"])


UNREAD: list[object] = [
    {"valueString": "sometimes"},
    {"valueInteger": 0},
    coding("http://example.org", "LA32-8"),
    sct("60001007"),
    {"valueBoolean": False, "valueString": "No"},
    {"valueBoolean": False, "dataAbsentReason": {"text": "?"}},
    {"valueCodeableConcept": {**concept("loinc LA32-8"), "text": "Yes"}},
    {"valueCodeableConcept": concept("loinc LA32-8", "sct 373066001")},
    [{"valueBoolean": False}, {"valueString": "?"}],
    [{"valueBoolean": False}, {"valueBoolean": True}],
    "No",
    ["No"],
    {},
    None,
]


@pytest.mark.parametrize("said", UNREAD)
def test_an_item_that_is_not_surely_no_leaves_no_level_and_never_suggests_none(said: object) -> None:
    read = reading(OLD, form({**same(IDEATION, {"valueBoolean": False}), IDEATION[2]: said}))

    assert value(read, LEVEL) is None
    assert candidates(read, LEVEL) in ([""], [LEVELS[2]])
    assert all(effect == "unusable" for _, effect in issues(read, LEVEL))


@pytest.mark.parametrize("said", [each for each in UNREAD if each is not None])
def test_an_answer_of_whether_it_was_recent_that_is_not_surely_no_leaves_behavior_open(said: object) -> None:
    read = reading(OLD, form({EVER: {"valueBoolean": False}, RECENT: said}))

    assert value(read, BEHAVIOR) is None
    assert candidates(read, BEHAVIOR) in ([""], ["within_3mo"])


def test_whether_it_was_recent_is_not_asked_after_a_no() -> None:
    unanswered: list[object] = [[], None]
    for said in unanswered:
        assert value(reading(form({EVER: {"valueBoolean": False}, RECENT: said})), BEHAVIOR) == "none"
    declined = {"dataAbsentReason": concept(text="not asked")}
    members = [item(EVER, NO), item(RECENT, declined)]
    assert value(reading(*members), BEHAVIOR) == "none"


def test_the_worst_item_that_may_have_been_answered_yes_is_suggested() -> None:
    no = {"valueBoolean": False}
    for last in ({"valueString": "Yes"}, [{"valueBoolean": True}, no]):
        read = reading(form({**same(IDEATION, no), IDEATION[-1]: last}))
        assert value(read, LEVEL) is None
        assert candidates(read, LEVEL) == [WORST]


def test_a_code_of_another_system_beside_a_known_one_does_no_harm() -> None:
    both = {"coding": [{"system": "http://example.org", "code": "7"}, *concept("loinc LA32-8")["coding"]]}
    read = reading(form(same(ALL, {"valueCodeableConcept": both})))

    assert (value(read, LEVEL), value(read, BEHAVIOR)) == ("none", "none")


def test_a_form_that_lacks_all_items_of_a_fact_leaves_it_unusable() -> None:
    read = reading(OLD, form({EVER: {"valueBoolean": False}}))
    assert (value(read, LEVEL), value(read, BEHAVIOR)) == (None, "none")
    assert issues(read, LEVEL) == {("score-incomplete", "unusable")}

    read = reading(OLD, form(same(IDEATION, {"valueBoolean": False})))
    assert (value(read, LEVEL), value(read, BEHAVIOR)) == ("none", None)


def test_a_form_that_names_the_screener_and_has_no_item_that_is_known_is_unusable() -> None:
    unknown = form({"q1": {"valueBoolean": True}}) | {"questionnaire": "http://loinc.org/q/93373-9|2.77"}
    read = reading(OLD, unknown)

    assert not {LEVEL, BEHAVIOR} & read.facts.keys()
    assert (candidates(read, LEVEL), candidates(read, BEHAVIOR)) == ([""], [""])


def test_what_an_earlier_form_found_is_suggested_where_the_newest_cannot_be_used() -> None:
    old = c_ssrs("old", {**dict.fromkeys(IDEATION, True), EVER: True, RECENT: True}, "2025-05-01")
    read = reading(old, form(same(ALL, {"valueString": "?"})))

    assert not {LEVEL, BEHAVIOR} & read.facts.keys()
    assert (candidates(read, LEVEL), candidates(read, BEHAVIOR)) == (["", WORST], ["", "within_3mo"])


@pytest.mark.parametrize(
    ("answers", "day", "kept"),
    [
        ({**dict.fromkeys(IDEATION, True)}, "2025-05-20", True),
        ({**dict.fromkeys(IDEATION, False), IDEATION[2]: True}, "2025-05-20", True),
        ({**dict.fromkeys(IDEATION, True)}, "2025-06-01", True),
        ({**dict.fromkeys(IDEATION, False), IDEATION[2]: True}, "2025-06-01", False),
        ({**dict.fromkeys(IDEATION, False)}, "2025-05-20", False),
    ],
    ids=["old and worst", "old", "yesterday's worst", "yesterday's", "nothing"],
)
def test_an_alarm_of_an_earlier_form_outlives_a_newer_one_that_cannot_be_used(
    answers: dict[str, bool], day: str, *, kept: bool
) -> None:
    read = reading(c_ssrs("old", answers, day), form(same(ALL, {"valueString": "?"})))

    assert LEVEL not in read.facts
    assert (LEVEL in read.earlier) is kept
    assert (LEVEL in read.raw_facts()) is kept


def test_items_in_a_list_of_their_own_are_read_and_what_is_no_item_may_have_been_one() -> None:
    told = form({EVER: {"valueBoolean": False}})
    assert value(reading({**told, "item": [told["item"]]}), BEHAVIOR) == "none"
    assert value(reading(OLD, {**told, "item": [*told["item"], "Was this recent? Yes"]}), BEHAVIOR) is None


def test_a_long_questionnaire_is_read_to_its_end() -> None:
    told = form(same(ALL, {"valueBoolean": True}))
    for more in (told["item"] + [{"linkId": f"x{n}"} for n in range(5000)], [{"linkId": "x"}] * 5000 + told["item"]):
        assert value(reading(OLD, {**told, "item": more}), LEVEL) == WORST


def test_what_is_dated_later_says_nothing_yet() -> None:
    read = reading(OLD, form(same(ALL, {"valueString": "Yes"})), as_of=date(2025, 6, 1))

    assert value(read, LEVEL) == "none"
    assert issues(read, LEVEL) == {("date-future", "ignored")}
