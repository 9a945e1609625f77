"""The clinician's page says what the decision says, in its order, and what was told beside it."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.evaluator.agree import Evaluator
from engine.evaluator.decision import Question
from tests.unit.clinician_pages import in_order, read
from tests.unit.clinician_views import Oddity, Suggested, load_book, view_of, views

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.page.clinician import ClinicianView

EXAMPLES = Path(__file__).parents[2] / "examples" / "patients"


@pytest.fixture(scope="module")
def shown() -> dict[str, ClinicianView]:
    return views(load_book())


@pytest.fixture(scope="module")
def emergency(shown: Mapping[str, ClinicianView]) -> ClinicianView:
    return shown["emergency"]


@pytest.fixture(scope="module")
def sparse(shown: Mapping[str, ClinicianView]) -> ClinicianView:
    return shown["sparse"]


def test_the_order_is_safety_options_precautions_questions_argument_and_the_rest(emergency: ClinicianView) -> None:
    question = Question("audit_c", "What is the AUDIT-C score (0 to 12)?", ("esketamine",))
    view = replace(
        emergency,
        decision=replace(emergency.decision, missing=(question,)),
        candidates=[Suggested("dx_primary", "mdd_single")],
        issues=[Oddity("fhir/conflict", "sbp_mmHg"), Oddity("fhir/text-only")],
    )

    assert in_order(
        read(view).text.partition("Accept or override")[2],
        "Safety first",
        "Options",
        "Contraindications and precautions",
        "What is missing, best question first",
        "The argument",
        "Antidepressant trials in the current episode",
        "What was read",
        "Inputs that came but cannot be used",
        "To be confirmed by a clinician",
        "Conflicts in the record",
        "Not read at face value",
        "When time alone changes this",
        "Plan, dosing and monitoring",
        "What this rests on",
        "Intended use",
        "Record of this decision",
        "Record as overridden",
    )


@pytest.mark.parametrize("name", ["emergency", "sparse", "dated"])
def test_everything_that_the_decision_argues_is_on_the_page(shown: Mapping[str, ClinicianView], name: str) -> None:
    text = read(shown[name]).text
    decision = shown[name].decision
    findings = [c for o in decision.options for c in o.criteria]
    said = {part for c in findings for part in (c.title, c.because, c.id, c.contested)}
    said |= {part for c in findings for r in c.references for part in (r.title, r.supports, r.section)}
    said |= {f"{f.label} {f.value or 'not recorded'}" for c in findings for f in c.facts}
    said |= {item.text for o in decision.options for item in (*o.plan, *o.dosing, *o.monitoring, *o.notes)}
    said |= {q.question for q in decision.missing} | {u.reason for u in decision.unusable} | {decision.disclaimer}

    assert not [part for part in said if " ".join(part.split()) not in text]


def test_a_criterion_stands_once_with_every_option_it_speaks_to(sparse: ClinicianView) -> None:
    shared = {c.id for c in sparse.decision.options[0].criteria} & {c.id for c in sparse.decision.options[2].criteria}
    text = read(sparse).text
    argument = text[text.index("The argument For") : text.index("Antidepressant trials in the current episode")]

    assert shared
    assert all(argument.count(f"{name} ") - argument.count(f"of {name} ") == 1 for name in shared)
    assert "Esketamine nasal spray, Intravenous ketamine (off-label)" in argument


def test_what_bars_an_option_and_what_is_not_ruled_out_come_before_the_argument(
    emergency: ClinicianView, sparse: ClinicianView
) -> None:
    barred, open_text = read(emergency).text, read(sparse).text

    assert "Active substance use disorder or ketamine misuse" in barred[: barred.index("The argument For")]
    assert "Not ruled out yet" in open_text
    assert "None was found in what is recorded." in open_text


def test_what_an_option_waits_for_is_no_mere_precaution() -> None:
    case = json.loads((EXAMPLES / "10-blood-pressure-today.json").read_text(encoding="utf-8"))
    with closing(Evaluator(load_book(), "interpret")) as evaluator:
        text = read(view_of(evaluator, case)).text
    first = text[text.index("What has to come first") : text.index("The argument For")]

    assert in_order(first, "Severely raised blood pressure before the dose", "Precautions", "above 140/90")


def test_questions_keep_their_order_and_what_the_record_suggests_comes_early(sparse: ClinicianView) -> None:
    plain = [q.question for q in sparse.decision.missing]
    text = read(replace(sparse, actions=None)).text
    assert in_order(text[text.index("What is missing, best") :], *plain)

    late = sparse.decision.missing[-1]
    moved = replace(sparse, actions=None, candidates=[Suggested(late.fact, "x")])
    asked = read(moved).text.partition("What is missing, best")[2]
    urgent = [q.question for q in sparse.decision.missing if "triage" in q.purposes]
    assert sparse.decision.triage.provisional
    assert in_order(asked, *urgent, late.question, next(q for q in plain if q not in urgent))


def test_a_suggestion_is_never_chosen_for_the_clinician(sparse: ClinicianView) -> None:
    page = read(replace(sparse, candidates=[Suggested("breastfeeding", suggests=True, why="an old note")]))

    assert "The record suggests yes ( an old note ); not used until confirmed." in page.text
    assert [found["value"] for _, found in page.named("fact.breastfeeding") if "checked" in found] == [""]
    empty = read(replace(sparse, candidates=[Suggested("breastfeeding", "")]))
    assert "The record leaves this open" in empty.text


def test_facts_say_where_they_came_from(emergency: ClinicianView) -> None:
    text = read(replace(emergency, typed=frozenset({"audit_c"}))).text

    assert "Systolic blood pressure 186 mmHg 2025-06-02 record: Observation/bp-7" in text.replace(
        "record : ", "record: "
    )
    assert "AUDIT-C score 1 no date typed by a clinician" in text
    assert "typed by a clinician: AUDIT-C score" in text


def test_trials_that_are_not_recorded_are_not_none(sparse: ClinicianView) -> None:
    assert sparse.history is not None
    assert "That is not the same as none." in read(replace(sparse, history=None)).text
    none = replace(sparse.history, trials=(), is_complete=None)
    text = read(replace(sparse, history=none)).text
    assert "The list is empty" in text
    assert "Nobody has confirmed that the list is complete" in text


def test_missing_parts_of_a_trial_are_words_and_not_gaps(sparse: ClinicianView) -> None:
    assert sparse.history is not None
    blank = replace(sparse.history.trials[0], dose="", weeks="", outcome="", began=None, ended=None, is_ongoing=None)
    page = read(replace(sparse, history=replace(sparse.history, trials=(blank,))))

    assert "trials" not in page.values("class"), "there is nothing to draw"
    for part in ("dose not recorded", "weeks not recorded", "not recorded to not recorded"):
        assert part in page.text


def test_the_basis_names_packs_reviews_and_the_log(emergency: ClinicianView) -> None:
    text = read(emergency).text
    shared = emergency.packs["shared"]

    assert shared.title in text
    assert str(shared.last_review_date) in text
    assert all(limit in text for limit in shared.limitations)
    assert "entry 4711 of the decision log log.example.org/eligibility , in a signed tree of 4720 entries" in text
    assert "the decision is in no log" in read(replace(emergency, receipt=None)).text
    assert emergency.receipt is not None
    waiting = replace(emergency, receipt=replace(emergency.receipt, tree_size=None))
    assert "not covered by a checkpoint yet" in read(waiting).text


def test_an_overdue_review_is_told(emergency: ClinicianView) -> None:
    later = replace(emergency, facts=replace(emergency.facts, as_of=date(2030, 1, 1)))

    assert "review overdue" not in read(emergency).text
    assert "review overdue" in read(later).text


def test_issues_are_told_in_words_with_their_effect_and_count(emergency: ClinicianView) -> None:
    issues = [
        Oddity("fhir/answer-conflict", "phq9_total", "unusable", 2, ("QuestionnaireResponse/1.item[3]",)),
        Oddity("fhir/wrong-patient", effect="ignored"),
    ]
    text = read(replace(emergency, issues=issues, issue_words={"fhir/wrong-patient": "of another patient"})).text

    assert "PHQ-9 total : answer conflict, cannot be used 2 times QuestionnaireResponse/1.item[3]" in text
    assert "of another patient, left out" in text
