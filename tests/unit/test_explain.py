"""The decision, against the decision procedure read literally from the values of the graph."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from random import Random
from typing import TYPE_CHECKING

import pytest

from engine.compiler.levels import LEVELS, STATUS_OF_LEVEL, level_of
from engine.compiler.packset import in_force, referral_node, status_node
from engine.compiler.stages import compile_packs
from engine.evaluator.agree import Evaluation, Evaluator
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter
from tests.property.patients import BENIGN, JURISDICTION, TODAY, Patient, Patients
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.compiler import form
    from engine.compiler.packset import PackSet

pytestmark = pytest.mark.long

BOOK = repository_rules()
PATIENTS = Patients(BOOK)
EVALUATOR = Evaluator(BOOK, "interpret")
TRIALS: list[dict[str, object]] = [
    {
        "drug": drug,
        "max_dose_mg": 150,
        "weeks_at_adequate_dose": 8,
        "end_date": "2025-03-01",
        "adherence": "adherent",
        "outcome": "nonresponse",
        "improvement_pct": 10,
        "role": "mono",
    }
    for drug in ("sertraline", "venlafaxine")
]
COURSE = {"treatment_phase": "maintenance", "prior_esketamine": "ongoing"}
OPEN: dict[str, object] = {**BENIGN, "episode_start_date": "2024-06-01", "trials": TRIALS}
URGENCY = ("emergency", "same_day", "routine")


def evaluate(change: Mapping[str, object], payer: str | None = None, as_of: date = TODAY) -> Evaluation:
    facts = {name: value for name, value in {**OPEN, **change}.items() if value is not ...}
    return EVALUATOR.evaluate(PATIENTS.read(Patient(facts, payer, as_of)), JURISDICTION, payer, as_of)


def statuses(change: Mapping[str, object]) -> dict[str, str]:
    return {o.option: o.status for o in evaluate(change).decision.options}


@cache
def packs_of(payer: str | None) -> PackSet:
    return compile_packs(BOOK, JURISDICTION, payer, TODAY)


@cache
def interpreter_of(payer: str | None) -> Interpreter:
    return Interpreter(packs_of(payer).compiled)


def drawn(
    seed: str, count: int, payers: tuple[str | None, ...]
) -> list[tuple[Patient, Evaluation, dict[str, form.Value]]]:
    """Draw patients with their evaluations and all values of the graph."""
    rng = Random(seed)
    found = []
    for _ in range(count):
        patient = PATIENTS.draw(rng, payer=rng.choice(payers))
        facts = PATIENTS.read(patient)
        inputs = prepare(BOOK, packs_of(patient.payer), facts)
        values = {**inputs.values, **interpreter_of(patient.payer).evaluate(inputs).values}
        evaluation = EVALUATOR.evaluate(facts, JURISDICTION, patient.payer, patient.as_of)
        found.append((patient, evaluation, values))
    return found


# Why not


def test_every_option_is_open_to_the_benign_patient() -> None:
    assert set(statuses({}).values()) <= {"eligible", "eligible_with_precautions"}


@pytest.mark.parametrize(
    ("change", "why_not"),
    [
        ({"aneurysmal_vascular_disease": "yes"}, ["US-ESK-CI-01"]),
        ({"aneurysmal_vascular_disease": "yes", "hypersensitivity_esk_ket": "yes"}, ["US-ESK-CI-01", "US-ESK-CI-04"]),
        ({"aneurysmal_vascular_disease": "yes", "age_years": 17}, ["US-ESK-CI-01"]),
        ({"age_years": 17}, ["US-ESK-IND-10"]),
        ({"pregnancy_status": "pregnant"}, ["US-ESK-POP-01"]),
        ({"sbp_mmHg": 141}, ["US-ESK-WP-09"]),
        ({"sbp_mmHg": ..., "dbp_mmHg": ...}, ["US-ESK-WP-08"]),
        ({}, []),
    ],
    ids=str,
)
def test_why_not_names_what_holds_the_status_down(change: dict[str, object], why_not: list[str]) -> None:
    assert sorted(evaluate(change).decision.options[0].why_not) == why_not


def test_too_few_trials_are_explained_by_the_trials_that_do_not_count() -> None:
    trials = [TRIALS[0], {**TRIALS[1], "max_dose_mg": 25}]

    esketamine = evaluate({"trials": trials}).decision.options[0]

    assert esketamine.status == "not_indicated"
    assert esketamine.why_not == ("US-ESK-IND-15",)
    reported = {c.id: c.because for c in esketamine.criteria if c.is_reported}
    assert "US-TRX-02" in reported
    assert "25 mg" in reported["US-TRX-02"]


def test_why_not_is_the_criteria_of_the_deciding_level() -> None:
    for patient, evaluation, values in drawn("why not", 150, (None,)):
        packs = packs_of(None)
        for option in evaluation.decision.options:
            level = str(values[status_node(option.option)])
            mine = {n: c for n, c in packs.criteria.items() if option.option in c.options and level_of(c) == level}
            expected = {n for n, c in mine.items() if values[n] is (c.effect != "requires")}
            concluded = {n for n in option.why_not if packs.criteria[n].effect == "concludes"}
            steps = {n for n in option.why_not if packs.criteria[n].gives == "deferred"}

            assert set(option.why_not) - concluded - steps == expected, patient
            assert option.status == STATUS_OF_LEVEL[level]
            assert bool(option.why_not) is (level != LEVELS[-1]), patient
            assert {c.id for c in option.criteria if c.is_reported} >= set(option.why_not)


# Order


def literal_order(status: Mapping[str, str], *, is_conventional_first: bool) -> tuple[str, ...]:
    groups = (
        {"eligible", "eligible_with_precautions"},
        {"deferred"},
        {"insufficient_data"},
        {"not_recommended", "not_indicated", "contraindicated"},
    )
    order = []
    for place, group in enumerate(groups):
        within = ["esketamine", "conventional", "ketamine_iv"]
        if place == 0 and is_conventional_first:
            within = ["conventional", "esketamine", "ketamine_iv"]
        order += [option for option in within if status[option] in group]
    is_open = status["esketamine"] in {"eligible", "eligible_with_precautions", "deferred"}
    if is_open and order.index("ketamine_iv") < order.index("esketamine"):
        order.remove("ketamine_iv")
        order.insert(order.index("esketamine") + 1, "ketamine_iv")
    return tuple(order)


def test_options_come_in_the_order_of_the_tables() -> None:
    seen = set()
    for patient, evaluation, values in drawn("order", 250, (None,)):
        status = {o.option: o.status for o in evaluation.decision.options}
        is_first = values["ect_advised"] is True or patient.facts.get("mdd_psychotic_features_current") == "yes"
        seen.add(evaluation.decision.option_order)

        assert evaluation.decision.option_order == literal_order(status, is_conventional_first=is_first), patient
    assert len(seen) > 2


# Referrals and triage


def test_one_referral_a_kind_with_the_highest_urgency_and_every_criterion_that_asks() -> None:
    packs = packs_of(None)
    for patient, evaluation, values in drawn("referrals", 150, (None,)):
        asked: dict[tuple[str, object], list[tuple[int, tuple[str, ...]]]] = {}
        for rule in packs.referrals:
            truth = values[referral_node(rule)]
            asked.setdefault((rule.kind, truth), []).append((URGENCY.index(rule.urgency), rule.criteria))
        required = {r.kind: r for r in evaluation.decision.referrals if r.state == "required"}
        unresolved = {r.kind: r for r in evaluation.decision.referrals if r.state == "unresolved"}

        assert len(required) + len(unresolved) == len(evaluation.decision.referrals)
        assert set(required) == {kind for kind, truth in asked if truth is True}, patient
        for kind, referral in required.items():
            rules = asked[kind, True]
            assert URGENCY.index(referral.urgency) == min(rank for rank, _ in rules)
            assert set(referral.criteria) == {name for _, names in rules for name in names}
        for (kind, asks), rules in asked.items():
            rank = min(each for each, _ in rules)
            is_settled = kind in required and URGENCY.index(required[kind].urgency) <= rank
            if asks is None:
                assert (kind in unresolved) is not is_settled, (kind, patient)


def test_an_emergency_comes_before_everything_and_changes_no_label_fact() -> None:
    calm, urgent = evaluate({}), evaluate({"suicidal_behavior_recency": "within_24h"})

    assert urgent.decision.triage.level == "emergency"
    assert not urgent.decision.triage.provisional
    assert urgent.decision.referrals[0].urgency == "emergency"
    assert urgent.decision.options[0].status in {"eligible", "eligible_with_precautions"}
    assert calm.decision.triage.level == "none"


@pytest.mark.parametrize("name", ["si_level", "suicidal_behavior_recency"])
def test_triage_is_provisional_while_an_input_is_missing(name: str) -> None:
    triage = evaluate({name: ...}).decision.triage

    assert (triage.level, triage.provisional) == ("low", True)


@pytest.mark.parametrize(
    ("fact", "value", "age", "level"),
    [
        ("si_level", "active_plan_and_intent", 30, "emergency"),
        ("si_level", "active_plan_and_intent", 31, "low"),
        ("si_level", "active_method_no_intent", 2, "moderate"),
        ("si_level", "none", 2, "low"),
        ("suicidal_behavior_recency", "within_24h", 2, "high"),
        ("suicidal_behavior_recency", "within_24h", 91, "moderate"),
        ("suicidal_behavior_recency", "none", 2, "low"),
    ],
)
def test_an_old_observation_raises_an_alarm_and_settles_nothing(fact: str, value: str, age: int, level: str) -> None:
    seen = {"value": value, "date": (TODAY - timedelta(days=age)).isoformat()}
    decision = evaluate({fact: seen, "imminent_risk_judgement": ...}).decision

    assert decision.triage.level == level
    assert decision.triage.provisional is (level != "emergency")
    assert fact in {q.fact for q in decision.missing}
    first = decision.triage.criteria[0]
    assert ("when last recorded" in first.because) is (value != "none")
    assert (seen["date"] in first.because) is (value != "none")


def test_an_old_observation_favors_nothing() -> None:
    seen = {"value": "active_plan_and_intent", "date": (TODAY - timedelta(days=3)).isoformat()}
    findings = [f for o in evaluate({"si_level": seen}).decision.options for f in o.criteria]

    assert {f.truth for f in findings if f.id == "US-ESK-IND-03"} == {"unknown"}


def test_a_reading_that_went_stale_is_no_contradiction() -> None:
    day = (TODAY - timedelta(days=1)).isoformat()
    stale = {"sbp_mmHg": {"value": 126, "date": day}, "dbp_mmHg": {"value": 78, "date": day}}
    swapped = {"sbp_mmHg": 78, "dbp_mmHg": 126}

    def reported(changes: Mapping[str, object]) -> set[str]:
        return {f.id for o in evaluate(changes).decision.options for f in o.criteria if f.is_reported}

    assert "US-ENG-05" not in reported(stale)
    assert "US-ENG-05" in reported(swapped)


def test_a_trial_that_ended_before_the_episode_is_not_said_to_contradict_itself() -> None:
    earlier = {**TRIALS[0], "drug": "escitalopram", "start_date": "2023-09-02", "end_date": "2024-01-25"}
    now = {**TRIALS[0], "drug": "escitalopram", "start_date": "2025-05-20", "end_date": "2025-06-01"}

    def contradicting(trial: dict[str, object]) -> bool:
        decision = evaluate({"trials": [trial], "episode_start_date": "2024-08-12"}).decision
        return any("contradicts itself" in u.reason for u in decision.unusable)

    assert not contradicting(earlier)
    assert contradicting(now)


# Coverage


def literal_coverage(packs: PackSet, values: Mapping[str, form.Value]) -> tuple[str, set[str]]:
    """Steps V1 to V9 of the tables."""
    for effect, answer in (("asks_approval", "prior_approval"), ("covers", "covered"), ("denies", "not_covered")):
        rows = {n: c for n, c in packs.criteria.items() if c.effect == effect}
        first = [n for n, c in rows.items() if c.before_status or effect == "asks_approval"]
        for truth, status in ((True, answer), (None, "insufficient_data")):
            found = {n for n in first if values[n] is truth}
            if found:
                return status, found
    denies = [n for n, c in packs.criteria.items() if c.effect == "denies" and not c.before_status]
    covers = {n: c for n, c in packs.criteria.items() if c.effect == "covers" and not c.before_status}
    if any(values[n] is True for n in denies):
        return "not_covered", {n for n in denies if values[n] is True}
    if STATUS_OF_LEVEL[str(values["status:esketamine"])] in {"not_indicated", "not_recommended", "contraindicated"}:
        return "not_met", {"PAY-GEN-02"}
    if any(values[n] is None for n in denies):
        return "insufficient_data", {n for n in denies if values[n] is None}
    met = {n for n in covers if values[n] is True}
    if met:
        doubts = {n: values[doubt] if (doubt := covers[n].prior_approval_if) else False for n in met}
        result = {True: "prior_approval", None: "insufficient_data", False: "covered"}
        best = next(truth for truth in (False, True, None) if truth in doubts.values())
        return result[best], met
    unknown = {n for n in covers if values[n] is None}
    if unknown:
        return "insufficient_data", unknown
    current = {n for n in covers if values.get(in_force(n), True)}
    return ("not_met", current) if current else ("insufficient_data", set())


@pytest.mark.parametrize("payer", [p for p in PATIENTS.payers if p])
def test_coverage_goes_by_the_steps_of_the_tables(payer: str) -> None:
    for patient, evaluation, values in drawn(f"coverage {payer}", 60, (payer,)):
        status, reported = literal_coverage(packs_of(payer), values)
        coverage = evaluation.decision.coverage
        assert coverage is not None

        assert coverage.status == status, patient
        assert {c.id for c in coverage.criteria if c.is_reported} <= reported, patient
        assert bool(coverage.criteria) is bool(reported), patient


def test_coverage_is_silent_without_a_payer_and_open_for_one_without_rules() -> None:
    assert evaluate({}).decision.coverage is None
    unknown = evaluate({}, payer="CA_PUBLIC", as_of=date(2020, 11, 30)).decision.coverage
    assert unknown is not None
    assert (unknown.status, unknown.criteria) == ("insufficient_data", ())


@pytest.mark.parametrize(
    ("payer", "change", "status", "criteria"),
    [
        ("VA", {"age_years": 12}, "prior_approval", {"VA-02"}),
        ("NHS", {}, "not_covered", {"UK-02"}),
        ("NHS", {**COURSE}, "insufficient_data", {"UK-03"}),
        ("NHS", {**COURSE, "esketamine_start_date": "2022-12-13"}, "covered", {"UK-03"}),
        ("NHS", {**COURSE, "esketamine_start_date": "2022-12-14"}, "not_covered", {"UK-02"}),
        ("CA_PUBLIC", {"age_years": 12}, "not_covered", {"CA-03"}),
    ],
)
def test_what_a_public_payer_decided_comes_before_the_clinical_status(
    payer: str, change: Mapping[str, object], status: str, criteria: set[str]
) -> None:
    coverage = evaluate(change, payer).decision.coverage

    assert coverage is not None
    assert (coverage.status, {c.id for c in coverage.criteria}) == (status, criteria)


def test_coverage_never_changes_a_status() -> None:
    for patient, evaluation, _ in drawn("coverage apart", 60, PATIENTS.payers):
        alone = EVALUATOR.evaluate(PATIENTS.read(patient), JURISDICTION, None, patient.as_of).decision

        assert [(o.status, o.could_be, o.missing) for o in evaluation.decision.options] == [
            (o.status, o.could_be, o.missing) for o in alone.options
        ]


# What is said


def test_every_finding_has_a_sentence_and_sources() -> None:
    for patient, evaluation, _ in drawn("sentences", 60, PATIENTS.payers):
        coverage = evaluation.decision.coverage
        findings = [c for o in evaluation.decision.options for c in o.criteria]
        findings += [*evaluation.decision.triage.criteria, *(coverage.criteria if coverage else ())]
        for finding in findings:
            assert finding.because[:1].isupper() or finding.because[:1].isdigit(), (finding.id, finding.because)
            assert "{" not in finding.because, (finding.id, finding.because)
            assert finding.references, finding.id
            assert finding.truth != "unknown" or finding.side == "unresolved", (finding.id, patient)


def test_contradicting_facts_are_listed_as_unusable_with_the_concept_unknown() -> None:
    evaluation = evaluate({"bipolar_history": "yes"})

    assert evaluation.values.values["dx_is_mdd"] is None
    assert {u.fact for u in evaluation.decision.unusable} == {"dx_primary", "bipolar_history"}
    assert evaluation.decision.options[0].status == "insufficient_data"
    assert "US-ENG-05" in evaluation.decision.options[0].why_not
