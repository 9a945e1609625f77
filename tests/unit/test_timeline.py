"""When the answer changes by time alone, against evaluating every day."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random

import pytest

from engine.evaluator.agree import Evaluation, Evaluator
from tests.property.patients import BENIGN, JURISDICTION, TODAY, Patient, Patients
from tests.repository import repository_rules

pytestmark = pytest.mark.long

BOOK = repository_rules()
PATIENTS = Patients(BOOK)
EVALUATOR = Evaluator(BOOK, "interpret")
FAILED = {
    "max_dose_mg": 150,
    "weeks_at_adequate_dose": 8,
    "adherence": "adherent",
    "outcome": "nonresponse",
    "improvement_pct": 10,
    "role": "mono",
}


def evaluate(facts: dict[str, object], as_of: date, payer: str | None = None) -> Evaluation:
    return EVALUATOR.evaluate(PATIENTS.read(Patient(facts, payer, as_of)), JURISDICTION, payer, as_of)


def resistant(as_of: date) -> dict[str, object]:
    ended = (as_of - timedelta(days=60)).isoformat()
    trials = [{**FAILED, "drug": drug, "end_date": ended} for drug in ("sertraline", "venlafaxine")]
    return {**BENIGN, "trials": trials, "episode_start_date": (as_of - timedelta(days=200)).isoformat()}


def first_change(facts: dict[str, object], as_of: date, days: int) -> tuple[str, set[tuple[str, str]]] | None:
    """Evaluate every following day; give the first on which a status differs, with every option that does."""
    now = {o.option: o.status for o in evaluate(facts, as_of).decision.options}
    for day in (as_of + timedelta(days=n) for n in range(1, days)):
        then = {o.option: o.status for o in evaluate(facts, day).decision.options}
        if then != now:
            return day.isoformat(), {(option, then[option]) for option in then if then[option] != now[option]}
    return None


def test_nothing_changes_for_ever() -> None:
    assert evaluate(resistant(TODAY), TODAY).decision.changes_on is None


def test_a_new_indication_begins_on_its_first_day() -> None:
    facts = {**resistant(date(2025, 1, 20)), "concomitant_oral_ad": "no", "oral_ad_class": "none"}
    before = evaluate(facts, date(2025, 1, 20)).decision

    assert before.options[0].status == "not_indicated"
    assert before.changes_on is not None
    assert (before.changes_on.date, before.changes_on.fact, before.changes_on.option) == (
        "2025-01-21",
        "",
        "esketamine",
    )
    assert evaluate(facts, date(2025, 1, 21)).decision.options[0].status == before.changes_on.to


def test_a_reading_goes_stale() -> None:
    readings = {n: {"value": v, "date": TODAY.isoformat()} for n, v in (("sbp_mmHg", 120), ("dbp_mmHg", 80))}
    change = evaluate({**resistant(TODAY), **readings}, TODAY).decision.changes_on

    assert change is not None
    assert change.fact in {"sbp_mmHg", "dbp_mmHg"}
    assert (change.date, change.to) == ((TODAY + timedelta(days=1)).isoformat(), "insufficient_data")


def test_an_alarm_that_an_old_observation_raises_lapses() -> None:
    seen = {"value": "active_plan_and_intent", "date": (TODAY - timedelta(days=20)).isoformat()}
    facts: dict[str, object] = {**resistant(TODAY), "si_level": seen}
    del facts["imminent_risk_judgement"]
    decision = evaluate(facts, TODAY).decision

    assert decision.triage.level == "emergency"
    assert decision.changes_on is not None
    assert decision.changes_on.fact == "si_level"
    found = first_change(facts, TODAY, 30)
    assert found is not None
    assert decision.changes_on.date == found[0] == (TODAY + timedelta(days=11)).isoformat()


def test_a_change_of_a_rule_that_changes_no_status_is_not_named() -> None:
    assert evaluate(resistant(date(2020, 8, 2)), date(2020, 8, 2)).decision.changes_on is None


@pytest.mark.parametrize("seed", range(8))
def test_the_next_change_is_the_one_that_evaluating_every_day_finds(seed: int) -> None:
    rng = Random(f"timeline {seed}")
    for _ in range(8):
        as_of = rng.choice(PATIENTS.days) - timedelta(days=rng.choice((1, 5, 20)))
        facts = resistant(as_of)
        for name in rng.sample(sorted(facts), 3):
            del facts[name]
        facts["si_level"] = rng.choice(("none", "active_plan_and_intent", "active_method_no_intent"))
        for name in ("sbp_mmHg", "dbp_mmHg", "uds_positive", "madrs_total", "transport_arranged", "si_level"):
            if name in facts:
                facts[name] = {
                    "value": facts[name],
                    "date": (as_of - timedelta(days=rng.choice((0, 0, 1)))).isoformat(),
                }
        found = first_change(facts, as_of, 60)
        change = evaluate(facts, as_of).decision.changes_on
        if found is None:
            assert change is None or change.date >= (as_of + timedelta(days=60)).isoformat()
        else:
            assert change is not None
            assert change.date == found[0]
            assert (change.option, change.to) in found[1]


@pytest.mark.parametrize("as_of", [date(1, 1, 1), date(9999, 12, 31)])
def test_the_ends_of_the_calendar(as_of: date) -> None:
    readings = {n: {"value": v, "date": as_of.isoformat()} for n, v in (("sbp_mmHg", 120), ("dbp_mmHg", 80))}

    assert evaluate({**BENIGN, **readings}, as_of).decision.as_of == as_of.isoformat()
