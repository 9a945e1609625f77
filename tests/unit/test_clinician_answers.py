"""What is posted becomes facts or errors; what is not known becomes neither."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.page.answers import (
    MAX_COMMENT,
    NONE,
    Feedback,
    Form,
    control,
    parse_answers,
    parse_feedback,
    posted_rows,
    posted_text,
)
from tests.unit.clinician_views import REASONS, load_book

if TYPE_CHECKING:
    from engine.dictionary import FactDefinition

DEFINITIONS = load_book().facts


def test_answers_of_every_kind_become_facts() -> None:
    form: Form = {
        "csrf": "token",
        "fact.breastfeeding": "false",
        "fact.pregnancy_status": "not_pregnant",
        "fact.phq9_total": " 0 ",
        "fact.weight_kg": "68.5",
        "fact.episode_start_date": "2025-01-31",
        "fact.med_cns_depressants": ["opioid", "alcohol"],
        "fact.sud_substances": NONE,
    }

    assert parse_answers(form, DEFINITIONS) == (
        {
            "breastfeeding": False,
            "pregnancy_status": "not_pregnant",
            "phq9_total": 0,
            "weight_kg": Decimal("68.5"),
            "episode_start_date": "2025-01-31",
            "med_cns_depressants": ["opioid", "alcohol"],
            "sud_substances": [],
        },
        {},
    )


@pytest.mark.parametrize("nothing", ["", "  ", [], ["", ""], "unknown"])
@pytest.mark.parametrize("name", list(DEFINITIONS))
def test_not_known_and_empty_yield_no_fact(name: str, nothing: str | list[str]) -> None:
    assert parse_answers({f"fact.{name}": nothing, "trial.0.drug": nothing}, DEFINITIONS) == ({}, {})


@pytest.mark.parametrize(
    ("name", "posted", "said"),
    [
        ("phq9_total", "28", "outside 0 to 27"),
        ("phq9_total", "15.68", "whole number"),
        ("phq9_total", "1e3", "plain number"),
        ("phq9_total", "\u0663", "plain number"),
        ("phq9_total", ["3", "4"], "one answer"),
        ("weight_kg", "68.25", "digits after the point"),
        ("episode_start_date", "2025-02-30", "day that exists"),
        ("episode_start_date", "31.01.2025", "YYYY-MM-DD"),
        ("breastfeeding", "perhaps", "yes, no or not known"),
        ("pregnancy_status", "maybe", "must be one of"),
        ("med_cns_depressants", [NONE, "opioid"], "either"),
        ("trials", "sertraline", "trial by trial"),
        ("nobody_knows", "1", "data dictionary"),
        ("phq9_total", "1" * 201, "longer than 200"),
    ],
)
def test_what_cannot_be_read_is_an_error_beside_its_field(name: str, posted: str | list[str], said: str) -> None:
    facts, errors = parse_answers({f"fact.{name}": posted, "fact.audit_c": "2"}, DEFINITIONS)

    assert facts == {"audit_c": 2}
    assert list(errors) == [f"fact.{name}"]
    assert said in errors[f"fact.{name}"]


def test_every_error_is_told_at_once() -> None:
    form = {
        "fact.phq9_total": "28",
        "fact.audit_c": "two",
        "fact.episode_start_date": "soon",
        "trial.0.outcome": "fine",
    }

    assert set(parse_answers(form, DEFINITIONS)[1]) == set(form)


def test_trials_are_read_row_by_row_and_empty_rows_left_out() -> None:
    form = {
        "trial.0.drug": "sertraline",
        "trial.0.max_dose_mg": "37.5",
        "trial.0.ongoing": "true",
        "trial.1.drug": "",
        "trial.7.drug": "venlafaxine",
        "trial.7.improvement_pct": "-10",
        "trial.7.end_date": "",
    }

    assert parse_answers(form, DEFINITIONS) == (
        {
            "trials": [
                {"drug": "sertraline", "max_dose_mg": Decimal("37.5"), "ongoing": True},
                {"drug": "venlafaxine", "improvement_pct": -10},
            ]
        },
        {},
    )


def test_one_wrong_field_withholds_the_whole_list_and_is_named_by_the_row_that_was_posted() -> None:
    form = {"trial.2.drug": "sertraline", "trial.5.drug": "venlafaxine", "trial.5.weeks_at_adequate_dose": "600"}
    facts, errors = parse_answers(form, DEFINITIONS)

    assert facts == {}
    assert list(errors) == ["trial.5.weeks_at_adequate_dose"]


def test_no_trial_at_all_is_an_answer_that_excludes_trials() -> None:
    assert parse_answers({"fact.trials": NONE}, DEFINITIONS) == ({"trials": []}, {})

    facts, errors = parse_answers({"fact.trials": NONE, "trial.0.drug": "sertraline"}, DEFINITIONS)
    assert (facts, list(errors)) == ({}, ["fact.trials"])


def test_more_trials_than_can_be_read_are_refused_as_a_whole() -> None:
    facts, errors = parse_answers({f"trial.{n}.drug": "sertraline" for n in range(201)}, DEFINITIONS)

    assert (facts, list(errors)) == ({}, ["fact.trials"])


@given(
    form=st.dictionaries(
        st.sampled_from(
            [*(f"fact.{name}" for name in DEFINITIONS), "trial.0.drug", "trial.1.max_dose_mg", "trial.x.y"]
        ),
        st.one_of(st.text(max_size=30), st.lists(st.text(max_size=10), max_size=3)),
        max_size=6,
    )
)
def test_whatever_is_posted_is_read_or_refused(form: dict[str, str | list[str]]) -> None:
    facts, errors = parse_answers(form, DEFINITIONS)

    assert set(facts) <= set(DEFINITIONS)
    assert not {f"fact.{name}" for name in facts} & set(errors)
    assert {name for name in errors if name.startswith(("fact.", "trial."))} == set(errors)


@given(text=st.text(st.characters(codec="utf-8"), min_size=6, max_size=40).filter(str.strip))
def test_no_message_repeats_what_was_typed(text: str) -> None:
    _, errors = parse_answers({"fact.phq9_total": f"{text}!", "fact.breastfeeding": f"{text}!"}, DEFINITIONS)

    assert len(errors) == 2
    assert not [message for message in errors.values() if f"{text}!" in message]


def test_a_control_says_what_can_be_answered() -> None:
    errors = {"fact.sbp_mmHg": "wrong"}
    number = control("fact.sbp_mmHg", DEFINITIONS["sbp_mmHg"], {"fact.sbp_mmHg": "12o"}, errors, {})
    drug = control("trial.0.drug", DEFINITIONS["trials"].fields[0], {}, {}, {"b": "zed", "a": "alpha"})

    assert (number.anchor, number.text, number.error) == ("fact-sbp_mmHg", "12o", "wrong")
    assert number.range.endswith("mmHg")
    assert control("f", DEFINITIONS["weight_kg"], {}, {}, {}).range == "20 to 400 kg"
    assert control("f", DEFINITIONS["breastfeeding"], {}, {}, {}).choices == (("true", "yes"), ("false", "no"))
    assert drug.choices == (("a", "alpha"), ("b", "zed"))
    assert drug.text == ""


def test_a_known_trial_is_posted_as_it_was_recorded() -> None:
    fields: dict[str, FactDefinition] = {f.id: f for f in DEFINITIONS["trials"].fields}
    raw = {"drug": "sertraline", "max_dose_mg": 37.5, "weeks_at_adequate_dose": 8, "ongoing": False}
    posted: dict[str, str | int] = {
        "drug": "sertraline",
        "max_dose_mg": 3750,
        "weeks_at_adequate_dose": 8,
        "ongoing": False,
    }
    form = {f"trial.0.{name}": posted_text(fields[name], value) for name, value in posted.items()}

    assert parse_answers(form, DEFINITIONS)[0] == {"trials": [{**raw, "max_dose_mg": Decimal("37.5")}]}
    assert posted_rows({**form, "trial.9.drug": "", "fact.trials": ""}) == [0, 9]


def test_feedback_is_accepted_or_has_a_reason() -> None:
    assert parse_feedback({"outcome": "accepted", "reason": "x", "comment": "y"}, REASONS) == (Feedback("accepted"), {})
    overridden = {"outcome": "overridden", "reason": "need-more-info", "comment": " more to say "}
    assert parse_feedback(overridden, REASONS) == (Feedback("overridden", "need-more-info", "more to say"), {})


@pytest.mark.parametrize(
    ("form", "wrong"),
    [
        ({}, {"outcome"}),
        ({"outcome": "ignored"}, {"outcome"}),
        ({"outcome": "overridden"}, {"reason"}),
        ({"outcome": "overridden", "reason": "made-up"}, {"reason"}),
        ({"outcome": "overridden", "comment": "x" * (MAX_COMMENT + 1)}, {"reason", "comment"}),
    ],
)
def test_feedback_that_cannot_be_recorded_says_why(form: Form, wrong: set[str]) -> None:
    feedback, errors = parse_feedback(form, REASONS)

    assert feedback is None
    assert set(errors) == wrong
