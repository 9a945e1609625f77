"""The patients on whom the other properties are tried bring every rule of a jurisdiction to every truth it can have."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from engine.compiler.packset import TRIAGE, PackSet, referral_node
from engine.compiler.stages import compile_packs
from engine.evaluator.audit import support_of
from engine.evaluator.inputs import prepare
from engine.evaluator.interpret import Interpreter
from engine.evaluator.support import Support
from tests.property.patients import JURISDICTIONS, TODAY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.compiler import form
    from engine.pack.book import RuleBook
    from tests.property.patients import Patients

FIRST, MOST = 120, 15_000
"""How many patients are drawn for each payer before it is asked what else could be, and before it never is."""


def test_the_rule_book_serves_the_jurisdictions_that_are_tried(book: RuleBook) -> None:
    assert set(JURISDICTIONS) == book.jurisdictions


def test_patients_bring_every_rule_to_every_truth_within_its_reach(
    book: RuleBook,
    patients: Patients,
    is_full: bool,  # noqa: FBT001 - a fixture
) -> None:
    rng = Random(f"truths {patients.jurisdiction}")
    done: set[str] = set()
    for payer in patients.payers_tried(is_full=is_full):
        packs = compile_packs(book, patients.jurisdiction, payer, TODAY)
        interpreter = Interpreter(packs.compiled)
        draws = (patients.read(patients.draw(rng)) for _ in range(MOST))
        drawn = (seen_in(interpreter.evaluate(prepare(book, packs, facts))) for facts in draws)
        rules = {n for n in truth_bearers(packs) if n not in done}
        never: set[tuple[str, form.Value]] = {(n, truth) for n in rules for truth in (True, False, None)}
        never |= {(TRIAGE, level) for level in packs.triage.levels} if payer is None else set()
        for number, seen in enumerate(drawn):
            never -= seen
            if number == FIRST:
                never = {(n, value) for n, value in never if n == TRIAGE or is_within_reach(book, packs, n, value)}
            if not never:
                break
        done |= rules

        assert not never, f"with payer {payer}"


def truth_bearers(packs: PackSet) -> Iterator[str]:
    """Name every criterion and referral that has a truth; `trials/` stands before what is about one trial."""
    yield from (n for n in packs.criteria if n in packs.nodes)
    yield from map(referral_node, packs.referrals)
    for records, graph in packs.compiled.records.items():
        yield from (f"{records}/{node.name}" for node in graph.nodes if node.name in packs.criteria)


def is_within_reach(book: RuleBook, packs: PackSet, name: str, value: form.Value) -> bool:
    """Say whether a rule can have a truth for some patient; where the search gives up, it can."""
    records, slash, own = name.partition("/")
    if slash and records in packs.compiled.records:
        return Support(packs.compiled.records[records], book.fields[records]).can_be(own, value) is not False
    return support_of(book, packs).can_be(name, value) is not False


def seen_in(values: form.Values) -> set[tuple[str, form.Value]]:
    """Give what each node of a patient is, and each of each trial."""
    of_records = [(f"{name}/{n}", v) for name, each in values.records.items() for one in each for n, v in one.items()]
    return {*values.values.items(), *of_records}
