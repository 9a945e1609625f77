"""The chain concludes what strong Kleene logic says, for any graph and any inputs.

The oracle below follows the compiled form's definitions in plain Python and shares no code with either back end.
"""

from __future__ import annotations

import operator
from contextlib import closing
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.compiler.form import (
    OPEN,
    All,
    Always,
    AnyOf,
    AtLeast,
    ChoiceNode,
    Compare,
    Compiled,
    ConditionNode,
    CountNode,
    EvidenceNode,
    Expression,
    FactNode,
    FactType,
    Graph,
    Holds,
    Inputs,
    Is,
    Known,
    Node,
    Not,
    OneOf,
    Operator,
    Source,
    Value,
    Values,
)
from engine.evaluator.chain import Chain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}
WORDS = ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n")
COMPLETE = "trials_complete"


# The oracle


def truth_of(expression: Expression, values: Mapping[str, Value]) -> bool | None:
    match expression:
        case Always():
            return True
        case Compare(node, sign, constant):
            return compared(values[node], sign, constant)
        case OneOf(node, among):
            return None if values[node] is None else values[node] in among
        case Holds(node):
            return values[node]  # type: ignore[return-value]
        case Is(node, truth):
            return values[node] is truth
        case Known(node):
            return values[node] is not None
        case Not(part):
            truth = truth_of(part, values)
            return None if truth is None else not truth
        case All(parts):
            return at_least(len(parts), [truth_of(part, values) for part in parts])
        case AnyOf(parts):
            return at_least(1, [truth_of(part, values) for part in parts])
        case AtLeast(n, parts):
            return at_least(n, [truth_of(part, values) for part in parts])


def at_least(n: int, truths: Sequence[bool | None]) -> bool | None:
    if truths.count(True) >= n:
        return True
    return None if len(truths) - truths.count(False) >= n else False


def compared(value: Value, sign: str, constant: int) -> bool | None:
    if value is None:
        return None
    if isinstance(value, tuple):
        least, most = value
        if sign == "==":
            return False if not least <= constant <= most else True if least == most else None
        ends = {COMPARE[sign](least, constant), COMPARE[sign](most, constant)}
        return ends.pop() if len(ends) == 1 else None
    return bool(COMPARE[sign](value, constant))


def value_of(node: Node, values: Mapping[str, Value]) -> Value:
    match node:
        case ConditionNode(_, expression, except_if, unknown_if):
            if unknown_if is not None and values[unknown_if] is True:
                return None
            return False if except_if is not None and values[except_if] is True else truth_of(expression, values)
        case EvidenceNode(_, sources, _, otherwise):
            said = (said for source in sources for said in speech_of(source, values))
            return next(said, otherwise)
        case ChoiceNode(_, steps, otherwise):
            return next((said for guard, said in steps if truth_of(guard, values) is True), otherwise)
        case _:
            raise AssertionError(node)


def speech_of(source: Source, values: Mapping[str, Value]) -> list[Value]:
    value = values[source.node]
    if source.mapping is None or value is None:
        return [] if value is None else [value]
    return [said for expression, said in source.mapping if truth_of(expression, values) is True]


def counted(node: CountNode, records: Sequence[Mapping[str, Value]] | None, *, is_complete: bool) -> tuple[int, int]:
    if records is None:
        return 0, OPEN
    groups: dict[tuple[str, object], list[Value]] = {}
    for place, record in enumerate(records):
        shared = record[node.distinct] if node.distinct is not None else None
        groups.setdefault(("alone", place) if shared is None else ("shared", shared), []).append(record[node.where])
    named = sum(True in truths for (kind, _), truths in groups.items() if kind == "shared" or node.distinct is None)
    sure = max(named, int(any(True in truths for truths in groups.values())))
    possible = sum(True in truths or None in truths for truths in groups.values())
    return sure, possible if is_complete else OPEN


def resolved(graph: Graph, given_values: Mapping[str, Value], counts: Mapping[str, Value]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for node in graph.nodes:
        if isinstance(node, FactNode):
            values[node.name] = given_values.get(node.name)
        elif isinstance(node, CountNode):
            values[node.name] = counts[node.name]
        else:
            values[node.name] = value_of(node, values)
    return values


def answers(graph: Graph, values: Mapping[str, Value]) -> dict[str, Value]:
    return {node.name: values[node.name] for node in graph.nodes if not isinstance(node, FactNode)}


def oracle(compiled: Compiled, inputs: Inputs) -> Values:
    settled = {
        of: [resolved(graph, record, {}) for record in inputs.records.get(of) or ()]
        for of, graph in compiled.records.items()
    }
    counts = {
        node.name: counted(
            node,
            None if inputs.records.get(node.records) is None else settled[node.records],
            is_complete=inputs.values.get(compiled.completeness[node.records]) is True,
        )
        for node in compiled.graph.nodes
        if isinstance(node, CountNode)
    }
    return Values(
        values=answers(compiled.graph, resolved(compiled.graph, inputs.values, counts)),
        records={of: tuple(answers(compiled.records[of], each) for each in all_) for of, all_ in settled.items()},
    )


# Graphs and inputs


class _Drawing:
    """Draws the nodes of one graph, each reading those before it."""

    def __init__(self, draw: Random, prefix: str, *, counts: Sequence[CountNode] = ()) -> None:
        self.draw = draw
        self.prefix = prefix
        self.nodes: list[Node] = [*counts]
        self.truths: list[str] = []
        self.conditions: list[str] = []
        self.enums: dict[str, tuple[str, ...]] = {}
        self.numbers: list[str] = []
        self.counts = [node.name for node in counts]

    def name(self) -> str:
        return f"{self.prefix}{len(self.nodes)}"

    def facts(self, count: int) -> None:
        for _ in range(count):
            name = self.name()
            kind: FactType = self.draw.choice(("bool", "enum", "int", "date", "decimal", "set"))
            values = WORDS[: self.draw.randint(1, len(WORDS))] if kind == "enum" else ()
            self.nodes.append(FactNode(name, kind, values))
            if kind == "bool":
                self.truths.append(name)
            elif kind == "enum":
                self.enums[name] = values
            else:
                self.numbers.append(name)

    def some_of(self, words: Sequence[str]) -> frozenset[str]:
        return frozenset(word for word in words if self.draw.random() < 0.4)

    def atom(self, *, is_crisp: bool) -> Expression:
        kinds = ["known", *(["is"] if self.truths else [])]
        if not is_crisp:
            kinds += ["always", *(["holds"] * 3 if self.truths else []), *(["one_of"] * 2 if self.enums else [])]
            kinds += ["compare"] * 2 if self.numbers or self.counts else []
        match self.draw.choice(kinds):
            case "is":
                return Is(self.draw.choice(self.truths), self.draw.choice((True, False, None)))
            case "holds":
                return Holds(self.draw.choice(self.truths))
            case "one_of":
                return self.one_of(self.draw.choice(list(self.enums)))
            case "compare":
                return self.compare(self.draw.choice([*self.numbers, *self.counts]))
            case "known":
                known = [*self.truths, *self.enums, *self.numbers, *self.counts]
                return Known(self.draw.choice(known)) if known else Always()
            case _:
                return Always()

    def one_of(self, node: str) -> OneOf:
        return OneOf(node, self.some_of(self.enums[node]) | self.some_of(("elsewhere",)))

    def compare(self, node: str) -> Compare:
        sign: Operator = self.draw.choice(("<", "<=", ">", ">=", "=="))
        return Compare(node, sign, self.draw.randint(-2, 6))

    def expression(self, depth: int = 2, *, is_crisp: bool = False) -> Expression:
        if depth == 0 or self.draw.random() < 0.2:
            return self.atom(is_crisp=is_crisp)
        kind = self.draw.choice(("all", "any", "not", "at_least"))
        if kind == "not":
            return Not(self.expression(depth - 1, is_crisp=is_crisp))
        parts = tuple(self.expression(depth - 1, is_crisp=is_crisp) for _ in range(self.draw.randint(1, 4)))
        if kind == "at_least":
            return AtLeast(self.draw.randint(0, len(parts) + 1), parts)
        return All(parts) if kind == "all" else AnyOf(parts)

    def derived(self, count: int) -> None:
        for _ in range(count):
            kind = self.draw.choice(("condition", "condition", "condition", "evidence", "choice"))
            name = self.name()
            if kind == "condition":
                guards = [None, None, *self.conditions]
                self.nodes.append(
                    ConditionNode(name, self.expression(), self.draw.choice(guards), self.draw.choice(guards))
                )
                self.truths.append(name)
                self.conditions.append(name)
            elif kind == "evidence":
                self.evidence(name)
            else:
                steps = tuple(
                    (self.expression(is_crisp=True), self.draw.choice(WORDS[:4]))
                    for _ in range(self.draw.randint(0, 4))
                )
                self.nodes.append(ChoiceNode(name, steps, self.draw.choice(WORDS[:4])))
                self.enums[name] = WORDS[:4]

    def evidence(self, name: str) -> None:
        values = WORDS[: self.draw.randint(2, 5)] if self.draw.random() < 0.5 else ()
        words: tuple[bool | str, ...] = values or (True, False)
        named = [*self.truths, *self.enums, *self.numbers, *self.counts]
        drawn = self.draw.sample(named, min(len(named), self.draw.randint(1, 4)))
        sources = tuple(self.source(node, words) for node in drawn)
        otherwise = self.draw.choice((None, *words))
        self.nodes.append(EvidenceNode(name, sources, values, otherwise))
        if values:
            # A source that speaks with its own value may say more than the concept's values.
            own = (value for source in sources if source.mapping is None for value in self.enums[source.node])
            self.enums[name] = tuple(dict.fromkeys((*values, *own)))
        else:
            self.truths.append(name)

    def source(self, node: str, words: Sequence[bool | str]) -> Source:
        is_enum = isinstance(words[0], str)
        if node in (self.enums if is_enum else self.truths) and self.draw.random() < 0.5:
            return Source(node)
        pairs: list[tuple[Expression, bool | str]] = []
        if node in self.truths:
            pairs = [(Holds(node), self.draw.choice(words)), (Not(Holds(node)), self.draw.choice(words))]
        elif node in self.enums:
            left = list(self.enums[node])
            self.draw.shuffle(left)
            while left:
                among, left = left[:3], left[3:]
                pairs.append((OneOf(node, frozenset(among)), self.draw.choice(words)))
        else:
            bounds = sorted(self.draw.sample(range(-2, 9), 4))
            pairs = [(Compare(node, "<", bounds[0]), self.draw.choice(words))]
            pairs += [
                (All((Compare(node, ">=", low), Compare(node, "<", high))), self.draw.choice(words))
                for low, high in pairwise(bounds)
            ]
        return Source(node, tuple(pair for pair in pairs if self.draw.random() < 0.8))

    def given_values(self) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for node in self.nodes:
            if isinstance(node, FactNode) and self.draw.random() < 0.7:
                if self.draw.random() < 0.1:
                    values[node.name] = None
                elif node.type == "bool":
                    values[node.name] = self.draw.random() < 0.5
                elif node.type == "enum":
                    values[node.name] = self.draw.choice(node.values)
                else:
                    values[node.name] = self.draw.randint(-3, 8)
        return values


def drawn(draw: Random) -> tuple[Compiled, list[Inputs]]:
    record = _Drawing(draw, "r")
    record.facts(draw.randint(1, 4))
    record.derived(draw.randint(1, 4))
    fields = [None, *(node.name for node in record.nodes)]
    counts = [
        CountNode(f"count{number}", "trials", draw.choice(record.truths), draw.choice(fields))
        for number in range(draw.randint(0, 3) if record.truths else 0)
    ]
    patient = _Drawing(draw, "p", counts=counts)
    patient.facts(draw.randint(1, 8))
    patient.nodes.append(FactNode(COMPLETE, "bool"))
    patient.derived(draw.randint(1, 10))
    compiled = Compiled(Graph(tuple(patient.nodes)), {"trials": Graph(tuple(record.nodes))}, {"trials": COMPLETE})
    inputs = [
        Inputs(
            patient.given_values(),
            {"trials": draw.choice((None, tuple(record.given_values() for _ in range(draw.randint(0, 4)))))},
        )
        for _ in range(12)
    ]
    return compiled, inputs


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.randoms(use_true_random=False))
def test_chain_agrees_with_kleene_logic(draw: Random) -> None:
    compiled, inputs = drawn(draw)
    with closing(Chain(compiled, sessions=1)) as chain:
        for each in inputs:
            concluded = chain.evaluate(each)
            assert concluded == oracle(compiled, each)
            assert list(concluded.values) == [
                node.name for node in compiled.graph.nodes if not isinstance(node, FactNode)
            ]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.randoms(use_true_random=False))
def test_answers_do_not_depend_on_what_was_evaluated_before(draw: Random) -> None:
    compiled, inputs = drawn(draw)
    with closing(Chain(compiled, sessions=1)) as chain, closing(Chain(compiled, sessions=3)) as other:
        first = [chain.evaluate(each) for each in inputs]
        assert [other.evaluate(each) for each in reversed(inputs)] == first[::-1]
        assert [chain.evaluate(each) for each in inputs] == first
