"""Whatever a sender does to a record, reading never fails, and nothing that was missing becomes a value."""

from __future__ import annotations

import json
import os
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.facts import read_facts
from tests.property.fhir_mutants import mutate, shuffled, whole_record
from tests.unit.fhir_record import AS_OF, BOOK, TERMINOLOGY, of

if TYPE_CHECKING:
    from engine.fhir.reading import Reading

EXAMPLES = 60_000 if os.environ.get("ELIGIBILITY_PROPERTY") == "full" else 400
WHOLE = whole_record()
BEFORE = of(WHOLE, who="p1")
SEEDS = st.integers(0, 2**64 - 1)
NEGATIVES = ("no", "none", False)


def mentioned(reading: Reading) -> set[str]:
    """Give the facts of which a record says anything: settled, suggested, or not read at face value.

    A fact that follows from another (the onset of an event, the date of a scale) is mentioned with it.
    """
    names = {*reading.facts, *(c.fact for c in reading.candidates), *(i.fact for i in reading.issues)}
    rows = [row for those in TERMINOLOGY.conditions.exact.values() for row in those]
    rows += [row for those in TERMINOLOGY.conditions.forms.values() for _, row in those]
    names |= {row.onset for row in rows if row.fact in names}
    names |= {dated for scale, dated in TERMINOLOGY.scales.items() if scale in names}
    return names


def check_readable(reading: Reading) -> None:
    """Check that what was read is JSON, and that the facts are such as every caller may give."""
    json.dumps(reading.to_plain(), allow_nan=False)
    read_facts(BOOK.facts, BOOK.dictionary.constraints, reading.raw_facts(), AS_OF)


@pytest.mark.timeout(3600)
@settings(max_examples=EXAMPLES)
@given(SEEDS, st.integers(1, 6))
def test_no_mutant_fails_or_gives_a_fact_of_which_the_record_said_nothing(seed: int, count: int) -> None:
    after = of(mutate(WHOLE, Random(seed), count), who="p1")

    check_readable(after)
    assert set(after.facts) <= mentioned(BEFORE)


@settings(max_examples=EXAMPLES // 10)
@given(SEEDS)
def test_the_order_of_a_record_decides_nothing(seed: int) -> None:
    assert of(shuffled(WHOLE, Random(seed)), who="p1").to_plain() == BEFORE.to_plain()


@settings(max_examples=EXAMPLES // 10)
@given(SEEDS, st.integers(1, 6))
def test_the_order_of_a_mutant_decides_nothing(seed: int, count: int) -> None:
    mutant = mutate(WHOLE, Random(seed), count)

    assert of(shuffled(mutant, Random(seed)), who="p1").to_plain() == of(mutant, who="p1").to_plain()


@settings(max_examples=EXAMPLES // 10)
@given(SEEDS, st.integers(1, 30))
def test_a_removed_resource_never_turns_missing_into_no(seed: int, count: int) -> None:
    entries: list[Any] = WHOLE["entry"]
    kept = Random(seed).sample(entries, len(entries) - count)
    after = of({**WHOLE, "entry": kept}, who="p1")
    negative = {name for name, fact in after.facts.items() if fact.value in NEGATIVES}

    assert negative <= {name for name, fact in BEFORE.facts.items() if fact.value in NEGATIVES} | {
        issue.fact for issue in BEFORE.issues if issue.effect in {"unusable", "unconfirmed"}
    }


@settings(max_examples=EXAMPLES // 10)
@given(SEEDS)
def test_a_resource_that_comes_twice_says_nothing_more(seed: int) -> None:
    random = Random(seed)
    entries = WHOLE["entry"] + random.choices(WHOLE["entry"], k=5)
    random.shuffle(entries)

    assert of({**WHOLE, "entry": entries}, who="p1").to_plain() == BEFORE.to_plain()
