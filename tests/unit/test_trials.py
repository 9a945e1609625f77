"""Trials, enriched and judged: the rules say of every trial what the definition of its state says, word for word."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import product
from random import Random

import pytest

from engine import trials
from engine.compiler.stages import compile_packs
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter
from engine.facts import read_facts
from tests.repository import repository_rules

pytestmark = pytest.mark.long

AS_OF = date(2025, 6, 2)
BOOK = repository_rules()
PACKS = {payer: compile_packs(BOOK, "US", payer, AS_OF) for payer in ("UHC", "CIGNA", "QUALCHOICE")}
INTERPRETERS = {payer: Interpreter(packs.compiled) for payer, packs in PACKS.items()}
EPISODE = {"episode_start_date": (AS_OF - timedelta(days=300)).isoformat()}
COUNTS = {
    (6, 49): ("UHC", "failed_trials_6_49?where"),
    (8, 49): ("UHC", "failed_trials_8_49?where"),
    (6, 25): ("CIGNA", "failed_trials_6_25?where"),
    (4, 49): ("QUALCHOICE", "failed_trials_4_49?where"),
}
GOOD: dict[str, object] = {
    "drug": "sertraline",
    "max_dose_mg": Decimal(50),
    "weeks_at_adequate_dose": 8,
    "start_date": (AS_OF - timedelta(days=200)).isoformat(),
    "end_date": (AS_OF - timedelta(days=100)).isoformat(),
    "adherence": "adherent",
    "outcome": "nonresponse",
    "improvement_pct": 10,
    "role": "mono",
}
WAYS: dict[str, tuple[object, ...]] = {
    "drug": (
        None,
        "sertraline",
        "venlafaxine",
        "lithium",
        "quetiapine",
        "esketamine",
        "lofepramine",
        "nobody lists it",
    ),
    "max_dose_mg": (None, Decimal("49.99"), Decimal(50), Decimal(300)),
    "weeks_at_adequate_dose": (None, 5, 6, 7, 8, 60),
    "start_date": (None, *((AS_OF - timedelta(days=n)).isoformat() for n in (400, 200, 50))),
    "end_date": (None, *((AS_OF - timedelta(days=n)).isoformat() for n in (301, 300, 100, 0, -1))),
    "ongoing": (None, True, False),
    "adherence": (None, "adherent", "nonadherent"),
    "outcome": (None, "nonresponse", "partial_response", "response_lost", "remission", "intolerance"),
    "improvement_pct": (None, 25, 26, 49, 50),
    "role": (None, "mono", "combination", "augmentation"),
}


@dataclass(frozen=True)
class Literal:
    """The definition of a trial's state, read line by line; None is unknown."""

    trial: dict[str, object]
    episode_days: int | None

    def days(self, name: str) -> int | None:
        value = self.trial.get(name)
        return (AS_OF - date.fromisoformat(str(value))).days if value is not None else None

    def in_episode(self) -> bool | None:
        if self.trial.get("ongoing") is True:
            return True
        end = self.usable("end_date")
        return None if end is None or self.episode_days is None else end <= self.episode_days

    def usable(self, name: str) -> int | None:
        days = self.days(name)
        return None if days is None or days < 0 else days

    def dose_reaches_minimum(self) -> bool | None:
        drug, dose = BOOK.drugs.get(str(self.trial.get("drug"))), self.trial.get("max_dose_mg")
        if drug is None or drug.minimum_daily_dose_mg is None or not isinstance(dose, Decimal):
            return None
        return dose >= drug.minimum_daily_dose_mg

    def contradicts_itself(self) -> bool:
        start, end = self.usable("start_date"), self.usable("end_date")
        if any(self.days(name) is not None and self.usable(name) is None for name in ("start_date", "end_date")):
            return True
        if start is not None and end is not None and end > start:
            return True
        improvement, weeks = self.trial.get("improvement_pct"), self.trial.get("weeks_at_adequate_dose")
        if (
            self.trial.get("outcome") in {"nonresponse", "partial_response"}
            and isinstance(improvement, int)
            and improvement >= 50
        ):
            return True
        last = 0 if self.trial.get("ongoing") is True else end
        known = [d for d in (start, self.episode_days) if d is not None]
        return isinstance(weeks, int) and last is not None and bool(known) and weeks * 7 > min(known) - last + 7

    def state(self, weeks_wanted: int, most_improvement: int) -> str:
        trial = self.trial
        drug = BOOK.drugs.get(str(trial.get("drug")))
        weeks, improvement, outcome = (trial.get(n) for n in ("weeks_at_adequate_dose", "improvement_pct", "outcome"))
        reaches, in_episode = self.dose_reaches_minimum(), self.in_episode()
        if trial.get("role") == "augmentation" or (drug is not None and not drug.counts_as_oral_ad):
            return "not_counted"
        if in_episode is False:
            return "not_counted"
        is_half = isinstance(improvement, int) and improvement >= 50
        is_intolerance_too_early = outcome == "intolerance" and (
            reaches is False or (isinstance(weeks, int) and weeks < 6) or is_half
        )
        if (
            reaches is False
            or (isinstance(weeks, int) and weeks < weeks_wanted)
            or trial.get("adherence") == "nonadherent"
            or outcome in {"response_lost", "remission"}
            or (outcome is None and is_half)
            or is_intolerance_too_early
        ):
            return "not_counted"
        if self.contradicts_itself():
            return "unknown"
        if isinstance(improvement, int) and improvement > most_improvement:
            return "not_counted"
        if (
            in_episode is None
            or reaches is None
            or weeks is None
            or trial.get("adherence") is None
            or (outcome is None and improvement is None)
            or (outcome == "intolerance" and improvement is None)
            or (most_improvement < 49 and improvement is None)
        ):
            return "unknown"
        return "failed"


def judged(trial: dict[str, object], patient: dict[str, object], payer: str = "UHC") -> dict[str, object]:
    """What the rules conclude of one trial, with what it was enriched by."""
    given = {name: value for name, value in trial.items() if value is not None}
    raw: dict[str, object] = {**patient, "trials": [given]}
    inputs = prepare(BOOK, PACKS[payer], read_facts(BOOK.facts, BOOK.dictionary.constraints, raw, AS_OF))
    records = inputs.records["trials"]
    assert records is not None
    return {**records[0], **INTERPRETERS[payer].evaluate(inputs).records["trials"][0]}


def assert_as_defined(trial: dict[str, object], patient: dict[str, object]) -> None:
    start = patient.get("episode_start_date")
    literal = Literal(trial, (AS_OF - date.fromisoformat(str(start))).days if start else None)
    found = {payer: judged(trial, patient, payer) for payer in PACKS}
    for (weeks, most), (payer, node) in COUNTS.items():
        truth = {"failed": True, "not_counted": False, "unknown": None}[literal.state(weeks, most)]

        assert found[payer][node] is truth, f"{node} of {trial} with {patient}"
    assert found["UHC"]["in_episode"] is literal.in_episode()
    assert found["UHC"]["dose_reaches_minimum"] is literal.dose_reaches_minimum()
    assert (found["UHC"]["consistent"] is None) is literal.contradicts_itself()


@pytest.mark.parametrize(("one", "other"), [(a, b) for a in WAYS for b in WAYS if a < b])
def test_every_pair_of_fields_is_judged_as_defined(one: str, other: str) -> None:
    for first, second in product(WAYS[one], WAYS[other]):
        for patient in (EPISODE, {}):
            assert_as_defined({**GOOD, one: first, other: second}, dict(patient))


def test_random_trials_are_judged_as_defined() -> None:
    rng = Random("trials")
    for _ in range(3000):
        trial = {name: rng.choice(ways) for name, ways in WAYS.items()}
        assert_as_defined(trial, dict(rng.choice((EPISODE, {}))))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"max_dose_mg": Decimal("49.99")}, "US-TRX-02"),
        ({"weeks_at_adequate_dose": 5}, "US-TRX-03"),
        ({"adherence": "nonadherent"}, "US-TRX-04"),
        ({"outcome": "remission"}, "US-TRX-07"),
        ({"outcome": None, "improvement_pct": 50}, "US-TRX-07"),
        ({"end_date": (AS_OF - timedelta(days=301)).isoformat()}, "US-TRX-10"),
        ({"outcome": "intolerance", "weeks_at_adequate_dose": 5}, "US-TRX-12"),
        ({"role": "augmentation"}, "US-TRX-13"),
        ({"drug": "nobody lists it"}, "US-TRX-21"),
        ({"improvement_pct": 50}, "US-TRX-22"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_the_reason_is_named(change: dict[str, object], reason: str) -> None:
    assert judged(GOOD, dict(EPISODE)).get(reason) is not True
    assert judged({**GOOD, **change}, dict(EPISODE))[reason] is True


def test_a_trial_without_any_field_is_unknown_and_consistent() -> None:
    found = judged({}, dict(EPISODE))

    assert found["consistent"] is True
    assert all(found[node] is None for payer, node in COUNTS.values() if payer == "UHC")


@pytest.mark.parametrize("name", [n for n in WAYS if n != "ongoing"])
def test_a_further_field_never_turns_what_was_settled(name: str) -> None:
    """Two exceptions: a contradiction makes a trial unknown; an exposure still running outweighs its end on record."""
    rng = Random(name)
    for _ in range(300):
        trial = {field: rng.choice(ways) for field, ways in WAYS.items() if field != name}
        before = judged(trial, dict(EPISODE))
        for value in WAYS[name]:
            after = judged({**trial, name: value}, dict(EPISODE))
            for field in (*trials.ENRICHED_TRUTHS, *trials.ENRICHED_TEXTS):
                if field != "consistent" and name != "drug":
                    assert before[field] is None or before[field] == after[field], field


def test_the_drug_tables_are_read_by_key() -> None:
    drugs = trials.read_drugs(
        "drug,display,ingredient,class,counts_as_oral_ad,min_adequate_daily_dose_mg\n"
        "one,One,uno,ssri,yes,12.5\ntwo,Two,dos,other,no,\n",
        "drug,class\ntwo,antipsychotic\nthree,lithium\n".replace("drug,class", "drug,display,class")
        .replace("two,", "two,Two,")
        .replace("three,", "three,Three,"),
    )

    assert drugs["one"].minimum_daily_dose_mg == Decimal("12.5")
    assert drugs["two"].minimum_daily_dose_mg is None
    assert not drugs["two"].is_augmentation_only
    assert drugs["three"].is_augmentation_only
    assert not drugs["three"].counts_as_oral_ad
