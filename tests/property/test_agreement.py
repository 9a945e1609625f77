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
from tests.property.patients import TODAY, Count

if TYPE_CHECKING:
    from engine.pack.book import RuleBook
    from tests.property.patients import Patients

ALL = Count(us=(5060, 100_100), elsewhere=(280, 20_000))
"""How many patients, the same number without a payer and with each payer."""


@pytest.mark.timeout(7200)
def test_both_engines_conclude_the_same(book: RuleBook, patients: Patients, is_full: bool) -> None:  # noqa: FBT001 - a fixture
    jurisdiction, payers = patients.jurisdiction, patients.payers_tried(is_full=is_full)
    each = -(-ALL.of(jurisdiction, is_full=is_full) // len(payers))
    seen: Counter[object] = Counter()
    for payer in payers:
        packs = compile_packs(book, jurisdiction, payer, TODAY)
        rng = Random(f"agreement {jurisdiction} {payer}")
        with closing(Chain(packs.compiled, 1, f"agreement-{jurisdiction}-{payer}")) as chain:
            interpreter = Interpreter(packs.compiled)
            for _ in range(each):
                patient = patients.draw(rng, payer=payer)
                inputs = prepare(book, packs, patients.read(patient))
                expected, chained = interpreter.evaluate(inputs), chain.evaluate(inputs)
                if encode_values(expected) != encode_values(chained):
                    different = [n for n in expected.values if expected.values[n] is not chained.values[n]]
                    pytest.fail(f"{different[:10]} differ for {patient}")
                seen.update(expected.values[status_node(option.id)] for option in packs.options)

    assert set(seen) >= set(LEVELS) - {"deferred"}, f"the patients do not reach every level: {seen}"
