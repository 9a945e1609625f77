"""What a node can come to be, decided on the facts behind it: every class of values that a condition tells apart.

Each fact behind the node gets one value per class, or stays missing. Values are given one fact after another; what the
node can still be is bounded from above on the way (each part taken by itself), and where the bound excludes the wanted
value the branch is left. At the end of a branch the bound is exact, so an answer is never a guess. Counts are taken as
independent of each other.

Source: Davis, Logemann and Loveland 1962, for the search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from engine.compiler import form
from engine.compiler.packset import node_reads
from engine.evaluator.domain import domain
from engine.evaluator.interpret import compile_test
from engine.truth import conjoin, disjoin, negate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from engine.dictionary import Constraint, FactDefinition
    from engine.truth import Truth

Values: TypeAlias = frozenset[form.Value]
Truths: TypeAlias = frozenset["Truth"]

BUDGET = 20_000
"""How many partial patients are looked at before a question stays open."""

_TARGET = "target?"
_GIVEN = form.FactNode | form.CountNode


class Support:
    """Answers questions about the nodes of one graph."""

    def __init__(
        self,
        graph: form.Graph,
        definitions: Mapping[str, FactDefinition],
        constraints: Sequence[Constraint] = (),
        dates: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Take a graph.

        Args:
            graph: the patient's graph, or a list's own.
            definitions: the facts of the graph, by name.
            constraints: what facts cannot be at once.
            dates: nodes that compare a date with a fixed day, and the fact that each reads.

        """
        self._nodes = {n.name: n for n in graph.nodes}
        self._order = [n.name for n in graph.nodes]
        self._definitions = definitions
        self._constraints = constraints
        self._dates = tuple(dates)

    def facts(self, name: str) -> tuple[str, ...]:
        """Name the facts and counts behind a node, in reading order."""
        return tuple(n for n in self._closure(name) if isinstance(self._nodes[n], _GIVEN))

    def can_be(self, name: str, wanted: form.Value, fixed: Mapping[str, form.Value] | None = None) -> bool | None:
        """Say whether a patient exists for whom the node has the wanted value.

        Args:
            name: the node.
            wanted: the value.
            fixed: values of facts that are not up for choice.

        Returns:
            None if the budget ran out.

        """
        names = self._closure(name)
        return _Search(self, [self._nodes[n] for n in names], name, wanted, fixed or {}).run()

    def can_hold(self, expression: form.Expression, fixed: Mapping[str, form.Value] | None = None) -> bool | None:
        """Say whether a patient exists for whom the expression is true; None if the budget ran out."""
        target = form.ConditionNode(_TARGET, expression)
        read = {n for name in node_reads(target) for n in self._closure(name)}
        nodes = [self._nodes[n] for n in self._order if n in read]
        return _Search(self, [*nodes, target], _TARGET, wanted=True, fixed=fixed or {}).run()

    def _closure(self, name: str) -> list[str]:
        wanted: set[str] = set()
        queue = [name]
        while queue:
            current = queue.pop()
            if current not in wanted:
                wanted.add(current)
                queue += node_reads(self._nodes[current])
        return [n for n in self._order if n in wanted]

    def violates(self, given: Mapping[str, form.Value], ends: Mapping[str, Mapping[form.Value, int]]) -> bool:
        """Say whether the values given so far cannot be at once."""
        for node, fact in self._dates:
            if node in given and fact in given and (given[node] is None) != (given[fact] is None):
                return True
        return any(_violates(c, given, ends) for c in self._constraints)

    def definition(self, name: str) -> FactDefinition | None:
        """Give the definition of a fact, if it has one."""
        return self._definitions.get(name)


def _violates(
    constraint: Constraint, given: Mapping[str, form.Value], ends: Mapping[str, Mapping[form.Value, int]]
) -> bool:
    together = [given[n] is None for n in constraint.together if n in given]
    if len(set(together)) > 1:
        return True
    if constraint.greater:
        first, second = constraint.greater
        high, low = ends.get(first, {}).get(given.get(first)), given.get(second)
        return high is not None and isinstance(low, int) and high <= low
    return bool(constraint.never) and all(n in given and given[n] == v for n, v in constraint.never.items())


class _Search:
    def __init__(
        self,
        support: Support,
        nodes: Sequence[form.Node],
        target: str,
        wanted: form.Value,
        fixed: Mapping[str, form.Value],
    ) -> None:
        self.support = support
        self.target = target
        self.wanted = wanted
        self.counted = frozenset(n.name for n in nodes if isinstance(n, form.CountNode))
        found = {n.name: domain(n, nodes, support.definition(n.name)) for n in nodes if isinstance(n, _GIVEN)}
        self.ends = {n: each.ends for n, each in found.items()}
        domains = {n: (fixed[n],) if n in fixed else each.values for n, each in found.items()}
        self.domains = {n: frozenset(values) for n, values in domains.items()}
        self.variables = sorted((n for n, v in domains.items() if len(v) > 1), key=lambda n: len(domains[n]))
        self.rules = [(n.name, rule) for n in nodes if (rule := self._rule(n)) is not None]
        self.budget = BUDGET
        self._leaves: dict[tuple[form.Expression, form.Value], Truth] = {}

    def run(self) -> bool | None:
        given = {n: next(iter(values)) for n, values in self.domains.items() if len(values) == 1}
        return self._search(given, 0)

    def _search(self, given: dict[str, form.Value], position: int) -> bool | None:
        self.budget -= 1
        if self.budget < 0:
            return None
        if self.support.violates(given, self.ends):
            return False
        possible: dict[str, Values] = {n: frozenset((given[n],)) if n in given else d for n, d in self.domains.items()}
        for name, rule in self.rules:
            possible[name] = rule(possible)
        if self.wanted not in possible[self.target]:
            return False
        if position == len(self.variables):
            return True
        name = self.variables[position]
        for value in sorted(self.domains[name], key=lambda v: (v is not None, str(v))):
            found = self._search({**given, name: value}, position + 1)
            if found is not False:
                return found
        return False

    def _rule(self, node: form.Node) -> Callable[[Mapping[str, Values]], Values] | None:
        match node:
            case form.ConditionNode():
                return lambda possible: self._condition(node, possible)
            case form.EvidenceNode():
                return lambda possible: self._evidence(node, possible)
            case form.ChoiceNode():
                return lambda possible: self._choice(node, possible)
            case _:
                return None

    def _condition(self, node: form.ConditionNode, possible: Mapping[str, Values]) -> Values:
        result: set[form.Value] = set(self._truths(node.expression, possible))
        for guard, instead in ((node.except_if, False), (node.unknown_if, None)):
            if guard is not None and True in possible[guard]:
                result = {instead} if possible[guard] == {True} else {*result, instead}
        return frozenset(result)

    def _evidence(self, node: form.EvidenceNode, possible: Mapping[str, Values]) -> Values:
        result: set[form.Value] = set()
        for source in node.sources:
            is_silent = False
            for value in possible[source.node]:
                says = None if value is None else self._says(source, value)
                is_silent = is_silent or says is None
                result |= set() if says is None else {says}
            if not is_silent:
                return frozenset(result)
        return frozenset({*result, node.otherwise})

    def _says(self, source: form.Source, value: form.Value) -> form.Value:
        if source.mapping is None:
            return value
        for guard, says in source.mapping:
            if compile_test(guard)({source.node: value}):
                return says
        return None

    def _choice(self, node: form.ChoiceNode, possible: Mapping[str, Values]) -> Values:
        result: set[form.Value] = set()
        for guard, value in node.steps:
            truths = self._truths(guard, possible)
            result |= {value} if True in truths else set()
            if truths == {True}:
                return frozenset(result)
        return frozenset({*result, node.otherwise})

    def _truths(self, expression: form.Expression, possible: Mapping[str, Values]) -> Truths:
        match expression:
            case form.Always():
                return frozenset((True,))
            case form.Not(part):
                return frozenset(map(negate, self._truths(part, possible)))
            case form.All(parts):
                return _folded(conjoin, (self._truths(p, possible) for p in parts))
            case form.AnyOf(parts):
                return _folded(disjoin, (self._truths(p, possible) for p in parts))
            case form.AtLeast(n, parts):
                return _counted(n, [self._truths(p, possible) for p in parts])
            case _:
                return frozenset(self._leaf(expression, value) for value in possible[expression.node])

    def _leaf(self, leaf: form.Compare | form.OneOf | form.Holds | form.Is | form.Known, value: form.Value) -> Truth:
        key = (leaf, value)
        if key not in self._leaves:
            self._leaves[key] = compile_test(leaf, self.counted)({leaf.node: value})
        return self._leaves[key]


def _folded(join: Callable[[Iterable[Truth]], Truth], parts: Iterable[Truths]) -> Truths:
    result: Truths = frozenset((join(()),))
    for part in parts:
        result = frozenset(join((a, b)) for a in result for b in part)
    return result


def _counted(n: int, parts: Sequence[Truths]) -> Truths:
    states = {(0, 0)}
    for part in parts:
        states = {(sure + (t is True), may + (t is not False)) for sure, may in states for t in part}
    return frozenset(True if sure >= n else False if may < n else None for sure, may in states)
