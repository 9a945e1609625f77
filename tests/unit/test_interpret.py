"""What each kind of node means, on graphs small enough to read."""

from __future__ import annotations

from itertools import product

import pytest

from engine.compiler import form
from engine.compiler.form import (
    OPEN,
    All,
    Always,
    AnyOf,
    AtLeast,
    ChoiceNode,
    Compare,
    ConditionNode,
    CountNode,
    EvidenceNode,
    Expression,
    FactNode,
    Graph,
    Holds,
    Is,
    Known,
    Node,
    Not,
    OneOf,
    Operator,
    Source,
    Value,
)
from engine.evaluator.interpret import Interpreter

BOOLS = (True, False, None)


def conclude(
    nodes: list[Node],
    values: dict[str, Value],
    records: tuple[dict[str, Value], ...] | None = (),
    *,
    is_whole: bool = True,
) -> dict[str, Value]:
    given = [
        FactNode(name, "bool" if value is None or isinstance(value, bool) else "int") for name, value in values.items()
    ]
    record = Graph((FactNode("good", "bool"), FactNode("kind", "text"), ConditionNode("where", Holds("good"), level=1)))
    compiled = form.Compiled(Graph((*given, FactNode("whole", "bool"), *nodes)), {"list": record}, {"list": "whole"})
    inputs = form.Inputs({**values, "whole": is_whole or None}, {"list": records})
    return Interpreter(compiled).evaluate(inputs).values


def truth(expression: Expression, **values: Value) -> Value:
    return conclude([ConditionNode("it", expression, level=1)], values)["it"]


@pytest.mark.parametrize(
    ("sign", "below", "at", "above"),
    [
        ("<", True, False, False),
        ("<=", True, True, False),
        ("==", False, True, False),
        (">=", False, True, True),
        (">", False, False, True),
    ],
)
def test_comparisons(sign: Operator, *, below: bool, at: bool, above: bool) -> None:
    compared = Compare("x", sign, 5)

    assert [truth(compared, x=n) for n in (4, 5, 6, None)] == [below, at, above, None]


def test_leaves() -> None:
    assert truth(Always()) is True
    assert [truth(Holds("x"), x=v) for v in BOOLS] == [True, False, None]
    assert [truth(OneOf("x", frozenset({"a"})), x=v) for v in ("a", "b", None)] == [True, False, None]


@pytest.mark.parametrize("value", BOOLS)
def test_what_the_compiler_alone_may_ask_is_never_unknown(value: Value) -> None:
    assert truth(Known("x"), x=value) is (value is not None)
    for asked in BOOLS:
        assert truth(Is("x", asked), x=value) is (value is asked)


@pytest.mark.parametrize("values", list(product(BOOLS, repeat=3)))
def test_joined_truths_by_counting(values: tuple[Value, ...]) -> None:
    parts = tuple(map(Holds, "xyz"))
    given = dict(zip("xyz", values, strict=True))
    sure, possible = values.count(True), values.count(True) + values.count(None)
    for n in range(5):
        assert truth(AtLeast(n, parts), **given) is (True if sure >= n else False if possible < n else None)
    assert truth(All(parts), **given) is truth(AtLeast(3, parts), **given)
    assert truth(AnyOf(parts), **given) is truth(AtLeast(1, parts), **given)
    assert truth(Not(All(parts)), **given) is truth(AnyOf(tuple(map(Not, parts))), **given)


@pytest.mark.parametrize(("unless", "unknown_if", "value"), list(product(BOOLS, repeat=3)))
def test_exceptions_and_contradictions_count_only_when_met(unless: Value, unknown_if: Value, value: Value) -> None:
    nodes: list[Node] = [
        ConditionNode("it?unless", Holds("e"), level=1),
        ConditionNode("it?contradiction", Holds("c"), level=1),
        ConditionNode("it", Holds("x"), "it?unless", "it?contradiction", level=2),
    ]
    expected = None if unknown_if is True else False if unless is True else value

    assert conclude(nodes, {"e": unless, "c": unknown_if, "x": value})["it"] is expected


def test_the_first_source_that_speaks_decides() -> None:
    bands = ((All((Compare("n", ">=", 0), Compare("n", "<=", 4))), "low"), (Compare("n", ">=", 7), "high"))
    node = EvidenceNode("it", (Source("first"), Source("n", bands)), ("low", "high"), None, level=1)
    otherwise = EvidenceNode("it", (Source("n", bands),), ("low", "high", "none"), "none", level=1)

    assert conclude([node], {"first": "high", "n": 1})["it"] == "high"
    assert conclude([node], {"first": None, "n": 1})["it"] == "low"
    assert conclude([node], {"first": None, "n": 7})["it"] == "high"
    assert conclude([node], {"first": None, "n": 5})["it"] is None, "a value that no band covers does not speak"
    assert conclude([node], {"first": None, "n": None})["it"] is None
    assert conclude([otherwise], {"n": 5})["it"] == "none"


def test_false_evidence_speaks() -> None:
    node = EvidenceNode("it", (Source("x"), Source("y")), otherwise=True, level=1)

    assert conclude([node], {"x": False, "y": True})["it"] is False
    assert conclude([node], {"x": None, "y": None})["it"] is True


def test_the_first_step_whose_guard_is_met_is_chosen() -> None:
    node = ChoiceNode("it", ((Is("x", truth=True), "one"), (Is("y", truth=True), "two")), "none", level=1)

    assert conclude([node], {"x": True, "y": True})["it"] == "one"
    assert conclude([node], {"x": None, "y": True})["it"] == "two"
    assert conclude([node], {"x": None, "y": None})["it"] == "none"


def kept(kind: Value = None) -> dict[str, Value]:
    return {"good": True, "kind": kind}


def doubtful(kind: Value = None) -> dict[str, Value]:
    return {"good": None, "kind": kind}


def dropped() -> dict[str, Value]:
    return {"good": False, "kind": None}


@pytest.mark.parametrize(
    ("records", "is_whole", "expected"),
    [
        (None, True, (0, OPEN)),
        ((), True, (0, 0)),
        ((), False, (0, OPEN)),
        ((kept(), doubtful(), dropped()), True, (1, 2)),
        ((kept(), doubtful(), dropped()), False, (1, OPEN)),
    ],
)
def test_a_count_is_an_interval(
    records: tuple[dict[str, Value], ...] | None,
    expected: tuple[int, int],
    *,
    is_whole: bool,
) -> None:
    assert conclude([CountNode("it", "list", "where", level=1)], {}, records, is_whole=is_whole)["it"] == expected


def test_records_of_one_kind_count_once() -> None:
    node = CountNode("it", "list", "where", "kind", level=1)

    assert conclude([node], {}, (kept("a"), kept("a"), kept("b")))["it"] == (2, 2)
    assert conclude([node], {}, (kept("a"), doubtful("a")))["it"] == (1, 1)
    assert conclude([node], {}, (kept("a"), doubtful("b"), doubtful()))["it"] == (1, 3)


def test_records_without_a_kind_are_surely_one_kind_at_least() -> None:
    node = CountNode("it", "list", "where", "kind", level=1)

    assert conclude([node], {}, (kept(), kept()))["it"] == (1, 2)


@pytest.mark.parametrize(
    ("sign", "constant", "expected"),
    [
        (">=", 1, True),
        (">=", 2, None),
        (">=", 4, False),
        ("<", 1, False),
        ("<", 4, True),
        ("==", 0, False),
        ("==", 2, None),
    ],
)
def test_an_interval_is_compared_at_both_ends(sign: Operator, constant: int, expected: Value) -> None:
    nodes: list[Node] = [
        CountNode("count", "list", "where", level=1),
        ConditionNode("it", Compare("count", sign, constant), level=2),
    ]

    assert conclude(nodes, {}, (kept(), doubtful(), doubtful()))["it"] is expected


def test_a_point_equals_itself() -> None:
    nodes: list[Node] = [
        CountNode("count", "list", "where", level=1),
        ConditionNode("it", Compare("count", "==", 1), level=2),
    ]

    assert conclude(nodes, {}, (kept(),))["it"] is True
