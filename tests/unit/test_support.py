"""`engine.evaluator.support`: what a node can be, compared with every patient; and what `audit` makes of it."""

from __future__ import annotations

from datetime import date
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.compiler import form
from engine.compiler.packset import PackSet, in_force, status_node
from engine.compiler.stages import compile_packs
from engine.evaluator.audit import assumptions, blocking, support_of
from engine.evaluator.interpret import Interpreter
from engine.evaluator.support import Support
from engine.pack.load import load_rules

if TYPE_CHECKING:
    from engine.pack.book import RuleBook

GOOD = Path(__file__).parents[1] / "packs" / "good"
DAY = date(2026, 2, 1)


@pytest.fixture(scope="module")
def book() -> RuleBook:
    return load_rules(GOOD)


@pytest.fixture(scope="module")
def packs(book: RuleBook) -> PackSet:
    return compile_packs(book, "US", None, DAY, is_whole=True)


def test_what_a_node_can_be_is_what_some_patient_makes_it(book: RuleBook, packs: PackSet) -> None:
    trial: dict[str, form.Value] = {"weeks_at_adequate_dose": 6, "ingredient": "alpha"}
    lists: list[tuple[dict[str, form.Value], ...] | None] = [
        None,
        (),
        (trial,),
        ({**trial, "weeks_at_adequate_dose": 5},),
        ({"ingredient": "alpha"},),
    ]
    facts: dict[str, list[form.Value]] = {
        "age_years": [None, 17, 18],
        "score": [None, 9, 10],
        "allergy": [None, "yes", "no"],
        "pressure": [None, 140, 141],
        "danger": [None, True],
        "trial_history_complete": [None, True],
    }
    interpreter = Interpreter(packs.compiled)
    seen: dict[str, set[form.Value]] = {}
    for combination, given_list in product(product(*facts.values()), lists):
        given = {**dict(zip(facts, combination, strict=True)), in_force("TINY-IND-01"): True}
        inputs = form.Inputs(given, {"trials": given_list})
        for name, value in interpreter.evaluate(inputs).values.items():
            seen.setdefault(name, set()).add(value)
    support = support_of(book, packs)
    nodes = [*packs.criteria, "grade", "one_failed", "indicated:spray"]
    for name in (n for n in nodes if n in packs.nodes and n != "TINY-SUI-01"):
        for value in (True, False, None):
            found = support.can_be(name, value, {in_force("TINY-IND-01"): True})
            assert found is (value in seen[name]), (name, value)
    statuses = {str(v) for v in seen[status_node("spray")]}
    assert {s for s in ("eligible", "contraindicated", "deferred") if support.can_be(status_node("spray"), s)} == (
        statuses & {"eligible", "contraindicated", "deferred"}
    )


def _support(*nodes: form.Node) -> Support:
    return Support(form.Graph(nodes), {})


def test_the_same_fact_twice_is_one_fact() -> None:
    fact = form.FactNode("a", "bool")
    node = form.ConditionNode("x", form.All((form.Holds("a"), form.Not(form.Holds("a")))))
    support = _support(fact, node)
    assert [support.can_be("x", value) for value in (True, False, None)] == [False, True, True]


def test_intervals_of_a_count_reach_every_side() -> None:
    count = form.CountNode("n", "list", "where")
    node = form.ConditionNode("x", form.Compare("n", ">=", 2))
    assert [_support(count, node).can_be("x", value) for value in (True, False, None)] == [True, True, True]


def test_a_pair_is_known_together_and_in_order(book: RuleBook) -> None:
    constraint = book.dictionary.model_validate(
        {
            **book.dictionary.model_dump(by_alias=True),
            "constraints": [
                {
                    "id": "pair",
                    "together": ["pressure", "score"],
                    "greater": ["pressure", "score"],
                    "unusable": ["pressure"],
                    "says": "no",
                }
            ],
        }
    ).constraints
    nodes = (
        form.FactNode("pressure", "int"),
        form.FactNode("score", "int"),
        form.ConditionNode("low", form.All((form.Compare("pressure", "<", 31), form.Compare("score", ">", 15)))),
        form.ConditionNode("half", form.All((form.Known("pressure"), form.Not(form.Known("score"))))),
    )
    support = Support(form.Graph(nodes), book.facts, constraint)
    assert support.can_be("low", wanted=True) is True
    assert support.can_be("half", wanted=True) is False
    fewer = form.All((form.Compare("pressure", "<=", 30), form.Compare("score", ">=", 30)))
    assert support.can_hold(fewer) is False


def test_a_hazard_that_nothing_asks_for_is_listed(book: RuleBook, packs: PackSet) -> None:
    rows = {b.criterion: b for b in blocking(book, packs, DAY)}
    assert rows["TINY-CI-01"].covered_by == ("TINY-CI-02",)
    assert (rows["TINY-EX-01"].covered_by, rows["TINY-EX-01"].unasked) == ((), ("score",))
    assert assumptions(book) == []
