"""The reference interpreter: what a compiled graph means.

Strong three-valued logic for conditions, intervals for counts, first witness for evidence, first step for choices.
This is the semantics that the documents describe; `engine.evaluator.chain` computes the same values by forward
chaining.

Source: Kleene 1952.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TypeAlias

from engine.compiler import form
from engine.truth import Truth

Environment: TypeAlias = dict[str, form.Value]
Rule: TypeAlias = Callable[[Environment], form.Value]
Test: TypeAlias = Callable[[Environment], Truth]

_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


class Interpreter:
    """Runs one compiled pack set. Thread safe: it holds no state of an evaluation.

    Attributes:
        rules: for every condition, evidence and choice its value in an environment of the values it reads.
        missing: the environment in which every fact is missing.

    """

    def __init__(self, compiled: form.Compiled) -> None:
        self._counts = {n.name: n for n in compiled.graph.nodes if isinstance(n, form.CountNode)}
        self._completeness = compiled.completeness
        self.rules = _rules(compiled.graph, frozenset(self._counts))
        self.missing: Environment = dict.fromkeys(n.name for n in compiled.graph.nodes if isinstance(n, form.FactNode))
        self._record_missing = {
            name: dict.fromkeys(n.name for n in graph.nodes if isinstance(n, form.FactNode))
            for name, graph in compiled.records.items()
        }
        self._record_rules = {name: _rules(graph, frozenset()) for name, graph in compiled.records.items()}
        self._order = [
            (n.name, self.rules.get(n.name)) for n in compiled.graph.nodes if not isinstance(n, form.FactNode)
        ]

    def evaluate(self, inputs: form.Inputs) -> form.Values:
        """Give the value of every node that is not a fact; None is unknown."""
        records = {
            name: tuple(
                _run(rules, {**self._record_missing[name], **record}) for record in inputs.records.get(name) or ()
            )
            for name, rules in self._record_rules.items()
        }
        environment: Environment = {**self.missing, **inputs.values}
        result: dict[str, form.Value] = {}
        for name, rule in self._order:
            value = rule(environment) if rule else self._count(self._counts[name], inputs, records)
            environment[name] = result[name] = value
        return form.Values(result, records)

    def conclude_record(self, records: str, record: Mapping[str, form.Value]) -> dict[str, form.Value]:
        """Give the value of every node of the list's own graph for one record."""
        return _run(self._record_rules[records], {**self._record_missing[records], **record})

    def _count(
        self, node: form.CountNode, inputs: form.Inputs, records: Mapping[str, Sequence[Mapping[str, form.Value]]]
    ) -> tuple[int, int]:
        given = inputs.records.get(node.records)
        if given is None:
            return 0, form.OPEN
        sure: set[object] = set()
        possible: set[object] = set()
        unnamed = 0
        for position, (record, concluded) in enumerate(zip(given, records[node.records], strict=True)):
            truth = concluded[node.where]
            if truth is False:
                continue
            value = record.get(node.distinct) if node.distinct else position
            possible.add((position,) if value is None else value)
            if truth and value is None:
                unnamed = 1
            elif truth:
                sure.add(value)
        is_complete = inputs.values.get(self._completeness[node.records]) is True
        return max(len(sure), unnamed), len(possible) if is_complete else form.OPEN


def _rules(graph: form.Graph, counted: frozenset[str]) -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    for node in graph.nodes:
        match node:
            case form.ConditionNode():
                rules[node.name] = _condition(node, counted)
            case form.EvidenceNode():
                rules[node.name] = _evidence(node, counted)
            case form.ChoiceNode():
                rules[node.name] = _choice(node, counted)
    return rules


def _run(rules: Mapping[str, Rule], environment: Environment) -> dict[str, form.Value]:
    result: dict[str, form.Value] = {}
    for name, rule in rules.items():
        environment[name] = result[name] = rule(environment)
    return result


def _condition(node: form.ConditionNode, counted: frozenset[str]) -> Rule:
    test, exception, contradiction = compile_test(node.expression, counted), node.except_if, node.unknown_if
    if exception is None and contradiction is None:
        return test

    def guarded(environment: Environment) -> Truth:
        if contradiction is not None and environment[contradiction] is True:
            return None
        if exception is not None and environment[exception] is True:
            return False
        return test(environment)

    return guarded


def _evidence(node: form.EvidenceNode, counted: frozenset[str]) -> Rule:
    sources = [
        (s.node, None if s.mapping is None else [(compile_test(guard, counted), says) for guard, says in s.mapping])
        for s in node.sources
    ]
    otherwise = node.otherwise

    def first_known(environment: Environment) -> form.Value:
        for name, mapping in sources:
            value = environment[name]
            if value is None:
                continue
            if mapping is None:
                return value
            for guard, says in mapping:
                if guard(environment):
                    return says
        return otherwise

    return first_known


def _choice(node: form.ChoiceNode, counted: frozenset[str]) -> Rule:
    steps = [(compile_test(guard, counted), value) for guard, value in node.steps]
    otherwise = node.otherwise

    def first_step(environment: Environment) -> str:
        for guard, value in steps:
            if guard(environment):
                return value
        return otherwise

    return first_step


def compile_test(expression: form.Expression, counted: frozenset[str] = frozenset()) -> Test:
    """Turn an expression into a function from an environment to its truth.

    `counted` names the nodes that hold intervals.
    """
    match expression:
        case form.Always():
            return lambda _: True
        case form.Holds(node):
            return itemgetter(node)
        case form.Is(node, truth):
            return lambda environment: environment[node] is truth
        case form.Known(node):
            return lambda environment: environment[node] is not None
        case form.OneOf(node, values):

            def one_of(environment: Environment) -> Truth:
                value = environment[node]
                return None if value is None else value in values

            return one_of
        case form.Compare(node, comparison, constant) if node in counted:
            return _compare_count(node, comparison, constant)
        case form.Compare(node, comparison, constant):
            compare = _COMPARISONS[comparison]

            def compared(environment: Environment) -> Truth:
                value = environment[node]
                return None if value is None else compare(value, constant)  # type: ignore[arg-type]

            return compared
        case form.Not(part):
            inner = compile_test(part, counted)

            def negated(environment: Environment) -> Truth:
                truth = inner(environment)
                return None if truth is None else not truth

            return negated
        case form.All(parts):
            return _series(tuple(compile_test(p, counted) for p in parts), settled_by=False)
        case form.AnyOf(parts):
            return _series(tuple(compile_test(p, counted) for p in parts), settled_by=True)
        case form.AtLeast(n, parts):
            return _at_least(n, tuple(compile_test(p, counted) for p in parts))


def _series(tests: tuple[Test, ...], *, settled_by: bool) -> Test:
    """All (settled by a false part) or any (settled by a true part)."""

    def series(environment: Environment) -> Truth:
        result: Truth = not settled_by
        for test in tests:
            truth = test(environment)
            if truth is settled_by:
                return settled_by
            if truth is None:
                result = None
        return result

    return series


def _at_least(n: int, tests: tuple[Test, ...]) -> Test:
    def enough(environment: Environment) -> Truth:
        sure = possible = 0
        for test in tests:
            truth = test(environment)
            sure += truth is True
            possible += truth is not False
        return True if sure >= n else False if possible < n else None

    return enough


def _compare_count(node: str, comparison: str, constant: int) -> Test:
    """Compare an interval: true or false where both ends say so.

    The ends of `==` agree only when the interval is a point.
    """
    compare = _COMPARISONS[comparison]

    def compared(environment: Environment) -> Truth:
        low, high = form.interval(environment[node])
        if comparison == "==":
            if not low <= constant <= high:
                return False
            return True if low == high else None
        at_low, at_high = compare(low, constant), compare(high, constant)
        return at_low if at_low is at_high else None

    return compared
