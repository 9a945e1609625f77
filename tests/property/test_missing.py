"""Promise one, to the letter: `missing` and `could_be` are what trying every completion gives.

A fact matters to an option if two completions that differ in this fact alone give it different statuses. A completion
gives missing facts values or leaves them missing, leaves what evidence already says, and creates no contradiction.
"""

from __future__ import annotations

from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import pytest

from engine.compiler.stages import compile_packs
from engine.evaluator.agree import Evaluation, Evaluator
from tests.property.brute_force import Answer, BruteForce
from tests.property.patients import TODAY, Count, Patient, Patients, Regime

if TYPE_CHECKING:
    from engine.pack.book import RuleBook

CHUNKS = 2
EACH = Count(us=(200, 10_000), elsewhere=(16, 10_000))
MOST_DROPPED = 5
COMPLETE = (
    Regime("complete, mostly benign", missing=0.0, random=0.03, contradicted=0.02),
    Regime("complete, some off", missing=0.0, random=0.10, contradicted=0.05),
    Regime("complete, all contradictory", missing=0.0, random=0.03, contradicted=1.0),
)


def nearly_complete(rng: Random, patients: Patients, regime: Regime | None = None) -> Patient:
    """Draw a patient of whom a few facts are missing."""
    patient = patients.draw(rng, regime or rng.choice(COMPLETE))
    facts = dict(patient.facts)
    for name, definition in patients.book.facts.items():
        if name not in facts and definition.type != "records" and rng.random() < 0.5:
            facts[name] = patients.value(rng, definition, patient.as_of)
    for _ in range(rng.randint(0, MOST_DROPPED)):
        dropped = rng.choice(sorted(facts))
        trials = facts.get("trials")
        if dropped == "trials" and isinstance(trials, list) and trials and rng.random() < 0.7:
            trial = rng.choice(trials)
            trial.pop(rng.choice(sorted(trial)), None) if trial else None
        else:
            del facts[dropped]
    return Patient(facts, None, patient.as_of)


def compare(found: Answer, decision: Evaluation) -> list[str]:
    """List the differences between what brute force found and the answer."""
    different = []
    for option in decision.decision.options:
        could_be, missing = found.could_be[option.option], found.missing[option.option]
        different += [f"{option.option} could_be lacks {word}" for word in sorted(could_be - set(option.could_be))]
        different += [f"{option.option} could_be has {word}" for word in sorted(set(option.could_be) - could_be)]
        different += [f"{option.option} missing lacks {fact}" for fact in sorted(missing - set(option.missing))]
        different += [f"{option.option} missing has {fact}" for fact in sorted(set(option.missing) - missing)]
    return different


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_missing_is_what_trying_every_completion_gives(
    chunk: int,
    book: RuleBook,
    patients: Patients,
    is_full: bool,  # noqa: FBT001 - a fixture
) -> None:
    jurisdiction = patients.jurisdiction
    rng = Random(f"missing {jurisdiction} {chunk}")
    force = BruteForce(book, compile_packs(book, jurisdiction, None, TODAY))
    tried = 0
    with closing(Evaluator(book, "interpret")) as evaluator:
        while tried < EACH.of(jurisdiction, is_full=is_full):
            patient = nearly_complete(rng, patients)
            found = force.answer(patients, patient)
            if found is None:
                continue
            tried += 1
            evaluation = evaluator.evaluate(patients.read(patient), jurisdiction, None, patient.as_of)
            assert not compare(found, evaluation), f"for {patient}"
