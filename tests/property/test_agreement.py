"""Promise two: the two engines conclude the same value of every node, for every patient, to the byte."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING

import pytest

from engine.compiler.levels import LEVELS
from engine.compiler.packset import status_node
from engine.compiler.stages import compile_packs
from engine.evaluator.agree import encode_values
from engine.evaluator.chain import Chain
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter
from tests.property.patients import JURISDICTION, TODAY

if TYPE_CHECKING:
    from engine.pack.book import RuleBook
    from tests.property.patients import Patients

PAYERS = 11
"""With and without each payer."""

EACH, EACH_IN_FULL = 460, 9100
"""How many patients for each payer."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("place", range(PAYERS))
def test_both_engines_conclude_the_same(place: int, book: RuleBook, patients: Patients, is_full: bool) -> None:  # noqa: FBT001 - a fixture
    assert len(patients.payers) == PAYERS
    payer = patients.payers[place]
    packs = compile_packs(book, JURISDICTION, payer, TODAY)
    rng = Random(f"agreement {payer}")
    seen: Counter[object] = Counter()
    with closing(Chain(packs.compiled, 1, f"agreement-{payer}")) as chain:
        interpreter = Interpreter(packs.compiled)
        for _ in range(EACH_IN_FULL if is_full else EACH):
            patient = patients.draw(rng, payer=payer)
            inputs = prepare(book, packs, patients.read(patient))
            expected, chained = interpreter.evaluate(inputs), chain.evaluate(inputs)
            if encode_values(expected) != encode_values(chained):
                different = [n for n in expected.values if expected.values[n] is not chained.values[n]]
                pytest.fail(f"{different[:10]} differ for {patient}")
            seen.update(expected.values[status_node(option.id)] for option in packs.options)

    assert set(seen) >= set(LEVELS) - {"deferred"}, f"the patients do not reach every level: {seen}"
