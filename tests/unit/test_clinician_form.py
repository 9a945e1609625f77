"""The forms of the clinician's page: the control that fits each fact, kept values, errors beside their fields."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from engine.evaluator.decision import Question
from engine.page.clinician import Feedback
from tests.unit.clinician_pages import read
from tests.unit.clinician_views import load_book, views

if TYPE_CHECKING:
    from engine.page.clinician import ClinicianView


@pytest.fixture(scope="module")
def sparse() -> ClinicianView:
    return views(load_book())["sparse"]


def test_each_fact_has_the_control_that_fits_it(sparse: ClinicianView) -> None:
    page = read(sparse)
    radios = page.named("fact.suicidal_behavior_recency")
    assert {found["type"] for _, found in radios} == {"radio"}
    assert [found["value"] for _, found in radios if "checked" in found] == [""]
    assert {found["type"] for _, found in page.named("fact.med_cns_depressants")} == {"checkbox"}
    [(_, number)] = page.named("fact.sbp_mmHg")
    assert (number["type"], number["inputmode"], number["value"]) == ("text", "decimal", "")
    assert re.search(r"\d+ to \d+ mmHg; empty means not known", page.text)


def test_a_date_has_the_day_of_the_evaluation_as_its_end(sparse: ClinicianView) -> None:
    asked = (Question("episode_start_date", "When did it begin?", ()),)
    [(_, found)] = read(replace(sparse, decision=replace(sparse.decision, missing=asked))).named(
        "fact.episode_start_date"
    )

    assert (found["type"], found["max"]) == ("date", "2025-06-02")


def test_trials_are_rows_of_what_is_recorded_and_blank_ones(sparse: ClinicianView) -> None:
    view = replace(sparse, decision=replace(sparse.decision, missing=(Question("trials", "Which drugs?", ()),)))
    page = read(view)
    [(_, dose)] = page.named("trial.1.max_dose_mg")
    chosen = [found["value"] for tag, found in page.tags if tag == "option" and "selected" in found]

    assert dose["value"] == "225"
    assert {"sertraline", "venlafaxine", "nonresponse", "adherent", "false"} <= set(chosen)
    assert page.named("trial.3.drug")
    assert not page.named("trial.4.drug")


def test_a_drug_outside_the_tables_is_kept(sparse: ClinicianView) -> None:
    view = replace(sparse, decision=replace(sparse.decision, missing=(Question("trials", "Which drugs?", ()),)))
    page = read(replace(view, entered={"trial.0.drug": "moonwater", "trial.0.rxnorm": "1"}))

    assert ("option", {"value": "moonwater", "selected": ""}) in page.tags
    assert page.named("trial.0.rxnorm") == [("input", {"type": "hidden", "name": "trial.0.rxnorm", "value": "1"})]


def test_after_an_error_values_are_kept_and_errors_stand_beside_their_fields(sparse: ClinicianView) -> None:
    entered = {"fact.sbp_mmHg": "12o", "fact.suicidal_behavior_recency": "none", "fact.gone": "1"}
    errors = {"fact.sbp_mmHg": "write a plain number", "fact.gone": "is not a fact"}
    page = read(replace(sparse, entered=entered, errors=errors))
    [(_, number)] = page.named("fact.sbp_mmHg")

    assert number["value"] == "12o"
    assert number["aria-invalid"] == "true"
    assert "fact-sbp_mmHg-fault" in number["aria-describedby"]
    assert "fact-sbp_mmHg-fault" in page.values("id")
    assert [f["value"] for _, f in page.named("fact.suicidal_behavior_recency") if "checked" in f] == ["none"]
    assert "#fact-sbp_mmHg" in page.values("href")
    assert "2 entries need another look" in page.text
    assert [found for _, found in page.tags if found.get("id") == "faults" and "autofocus" in found]
    assert page.text.index("Error: Treatment") < page.text.index("fact.gone")


def test_every_control_has_a_name_and_carries_the_token_with_it(sparse: ClinicianView) -> None:
    page = read(sparse)
    forms = [found for tag, found in page.tags if tag == "form"]
    labels = {found["for"] for tag, found in page.tags if tag == "label" and "for" in found}
    visible = [
        found
        for tag, found in page.tags
        if tag in {"input", "select", "textarea"} and found.get("type") not in {"hidden", "radio", "checkbox"}
    ]

    assert [found["action"] for found in forms] == ["/answers", "/feedback", "/feedback"]
    assert {found["method"] for found in forms} == {"post"}
    assert page.values("value").count("token") == len(forms)
    assert {found["id"] for found in visible} <= labels


def test_without_actions_there_is_no_form_and_the_questions_are_still_asked(sparse: ClinicianView) -> None:
    page = read(replace(sparse, actions=None))

    assert not {"form", "input", "button", "select", "textarea"} & {tag for tag, _ in page.tags}
    assert sparse.decision.missing[-1].question in page.text


def test_what_was_recorded_is_shown(sparse: ClinicianView) -> None:
    recorded = [Feedback("overridden", "need-more-info", "secret"), Feedback("accepted")]
    text = read(replace(sparse, recorded=recorded)).text

    assert "Recorded: overridden , because of: more has to be known." in text
    assert "Recorded: accepted ." in text
    assert "secret" not in text
