"""What is asked, and what is not; and that trying facts a few at a time finds what trying all together finds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import pytest

from engine.compiler import form
from engine.compiler.stages import compile_packs
from engine.evaluator import search
from engine.evaluator.agree import Evaluator
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter
from engine.evaluator.reach import Explorer
from tests.property.brute_force import BruteForce
from tests.property.patients import BENIGN, JURISDICTION, TODAY, Patient, Patients
from tests.property.test_missing import compare, nearly_complete
from tests.repository import repository_rules

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from engine.evaluator.decision import Decision, OptionAnswer
    from engine.evaluator.search import OptionReach

pytestmark = pytest.mark.long

BOOK = repository_rules()
PATIENTS = Patients(BOOK)
EVALUATOR = Evaluator(BOOK, "interpret")
TRIAL = {
    "max_dose_mg": 150,
    "weeks_at_adequate_dose": 8,
    "end_date": "2025-03-01",
    "adherence": "adherent",
    "outcome": "nonresponse",
    "improvement_pct": 10,
    "role": "mono",
}
RESISTANT: dict[str, object] = {
    **BENIGN,
    "episode_start_date": "2024-06-01",
    "trials": [{**TRIAL, "drug": "sertraline"}, {**TRIAL, "drug": "venlafaxine"}],
}


def decide(change: Mapping[str, object], as_of: date = TODAY) -> Decision:
    facts = {name: value for name, value in {**RESISTANT, **change}.items() if value is not ...}
    return EVALUATOR.evaluate(PATIENTS.read(Patient(facts, None, as_of)), JURISDICTION, None, as_of).decision


def esketamine(change: Mapping[str, object], as_of: date = TODAY) -> OptionAnswer:
    return decide(change, as_of).options[0]


def without(*names: str) -> dict[str, object]:
    return dict.fromkeys(names, ...)


def test_nothing_is_missing_of_a_complete_patient() -> None:
    answer = esketamine({})

    assert (answer.could_be, answer.missing) == ((answer.status,), ())


def test_a_fact_that_only_notes_read_is_never_asked() -> None:
    decision = decide(without("weight_kg", "spo2_pct", "dx_confirmed_dsm5", "sud_substances"))

    assert (decision.missing, decision.also_ask) == ((), ())


def test_blood_pressure_is_asked_as_a_pair() -> None:
    answer = esketamine(without("sbp_mmHg", "dbp_mmHg"))

    assert answer.status == "insufficient_data"
    assert set(answer.missing) == {"sbp_mmHg", "dbp_mmHg"}
    assert answer.could_be == ("eligible", "eligible_with_precautions", "deferred", "insufficient_data")


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (without("trials"), ["trials"]),
        (without("trials", "trial_history_complete"), ["trial_history_complete", "trials"]),
        ({"trials": [], "trial_history_complete": ...}, ["trial_history_complete"]),
        ({"trials": [{**TRIAL, "drug": "sertraline"}, {"drug": "venlafaxine"}]}, ["trials"]),
        (without("episode_start_date"), ["episode_start_date"]),
        ({"trials": [{**TRIAL, "drug": "sertraline"}, {"drug": "lithium"}]}, []),
        ({"trials": [{**TRIAL, "drug": "sertraline"}]}, []),
    ],
    ids=str,
)
def test_what_is_asked_about_trials(change: dict[str, object], missing: list[str]) -> None:
    assert sorted(esketamine(change).missing) == missing


def test_a_trial_that_another_count_alone_leaves_open_is_not_asked_for() -> None:
    open_for_another = {"drug": "venlafaxine", "weeks_at_adequate_dose": 5, "end_date": "2025-03-01"}
    change = {"trials": [open_for_another], "trial_history_complete": False, "episode_start_date": ...}

    assert esketamine(change).missing == ("trial_history_complete",)


def test_a_contradiction_is_never_offered_as_a_way_out() -> None:
    answer = esketamine({"bipolar_history": ...})

    assert "bipolar_history" not in answer.missing


def test_a_barrier_that_may_be_lifted_lets_what_lies_behind_it_matter() -> None:
    change = {"bp_rise_serious_risk": True, "cv_event_history": "yes", "breastfeeding": ..., "trials": []}
    answer = esketamine(change)

    assert answer.status == "not_recommended"
    assert set(answer.missing) == {"recent_cv_event_weeks", "breastfeeding"}


def test_a_requirement_that_may_come_to_life_is_within_reach() -> None:
    answer = esketamine(without("raised_icp", "bp_rise_serious_risk"))

    assert answer.status == "eligible"
    assert "insufficient_data" in answer.could_be
    assert set(answer.missing) == {"raised_icp", "bp_rise_serious_risk"}


def test_an_exception_still_unknown_keeps_its_barrier_and_is_asked_for() -> None:
    answer = esketamine({"transport_arranged": False, "care_setting": ..., "trials": [{}, {}]})

    assert "care_setting" in answer.missing
    assert "deferred" in answer.could_be


def test_best_questions_come_first() -> None:
    decision = decide(without("si_level", "dialysis", "hepatic_child_pugh"))

    assert [q.fact for q in decision.missing][:2] == ["si_level", "hepatic_child_pugh"]
    assert decision.missing[0].purposes[-1] == "triage"


@pytest.mark.parametrize("most_around", [512, 1 << 15])
def test_a_few_at_a_time_finds_what_all_together_find(most_around: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_TOGETHER", 1)
    monkeypatch.setattr(search, "MOST_AROUND", most_around)
    rng = Random("a few at a time")
    force = BruteForce(BOOK, compile_packs(BOOK, JURISDICTION, None, TODAY))
    with closing(Evaluator(BOOK, "interpret")) as evaluator:
        for _ in range(400):
            patient = nearly_complete(rng, PATIENTS)
            found = force.answer(PATIENTS, patient)
            if found is not None:
                evaluation = evaluator.evaluate(PATIENTS.read(patient), JURISDICTION, None, patient.as_of)
                assert not compare(found, evaluation), patient


class Explored:
    """Explores patients with one memory."""

    def __init__(self) -> None:
        self.packs = compile_packs(BOOK, JURISDICTION, None, TODAY)
        self.interpreter = Interpreter(self.packs.compiled)
        self.explorer = Explorer(self.packs, self.interpreter, BOOK.facts, BOOK.dictionary.constraints)

    def __call__(self, change: Mapping[str, object]) -> dict[str, OptionReach]:
        facts = {name: value for name, value in {**RESISTANT, **change}.items() if value is not ...}
        inputs = prepare(BOOK, self.packs, PATIENTS.read(Patient(facts, None, TODAY)))
        credited = {n.name: ("trials",) for n in self.packs.nodes.values() if isinstance(n, form.CountNode)}
        return self.explorer.explore(inputs, self.interpreter.evaluate(inputs), credited)


def test_patients_of_the_same_classes_are_searched_once() -> None:
    explored = Explored()
    one = explored({**without("dialysis"), "age_years": 40, "sbp_mmHg": 124})
    same = explored({**without("dialysis"), "age_years": 41, "sbp_mmHg": 125})
    other = explored({**without("dialysis"), "age_years": 70, "sbp_mmHg": 125})

    assert one["esketamine"] is same["esketamine"]
    assert other["esketamine"] is not one["esketamine"]
    assert "dialysis" in one["esketamine"].facts


def test_what_is_remembered_is_what_a_first_search_finds() -> None:
    rng, remembering = Random("remembered"), Explored()
    changes = [without(*rng.sample(sorted(RESISTANT), rng.randint(0, len(RESISTANT)))) for _ in range(12)]
    first = [remembering(change) for change in changes]

    assert len({str(reach) for reach in first}) > 8
    assert [remembering(change) for change in changes] == first
    assert [Explored()(change) for change in changes] == first


def test_several_threads_find_the_same() -> None:
    explored = Explored()
    changes = [without("dialysis"), without("age_years", "raised_icp"), without(*RESISTANT)] * 8
    with ThreadPoolExecutor(max_workers=6) as pool:
        found = list(pool.map(explored, changes))

    assert found == found[:3] * 8


def test_nothing_missing_needs_no_search() -> None:
    found = Explored()({})

    assert {option: (len(reach.statuses), dict(reach.facts)) for option, reach in found.items()} == {
        option.id: (1, {}) for option in Explored().packs.options
    }


def test_knowing_nothing_asks_for_much_and_decides_nothing() -> None:
    decision = EVALUATOR.evaluate(PATIENTS.read(Patient({}, None, TODAY)), JURISDICTION, None, TODAY).decision

    assert {o.status for o in decision.options} == {"insufficient_data"}
    assert set(decision.options[0].could_be) == {
        "eligible",
        "eligible_with_precautions",
        "deferred",
        "insufficient_data",
        "not_recommended",
        "not_indicated",
        "contraindicated",
    }
    assert len(decision.missing) > 40
