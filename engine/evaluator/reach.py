"""What the missing facts could still change: the statuses within reach, and exactly the facts that lead to them.

A completion gives every missing fact a value or leaves it missing, keeps every evidence choice that is already made,
and creates no contradiction. A fact matters to an option if two completions that differ in this fact alone give it
different statuses. Facts are tried in a benign completion first, then with one or two of the facts around them
changed too, so that a fact is listed on a witness and never on suspicion.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations, islice, product
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.stages import LEVELS, STATUS_OF_LEVEL, PackSet, level_of, status_node
from engine.evaluator.interpret import Environment, Interpreter, Test, compile_test

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from engine.facts import Constraint, FactDefinition
    from engine.truth import Truth

WITNESS_BUDGET = 3000
"""How many completions are tried for one fact before it is taken not to matter."""

STATUS_BUDGET = 2000
"""The same for one status."""

_RANK = {level: rank for rank, level in enumerate(LEVELS)}
_MOST_CHANGED = 4
_BLOCKING = _RANK["insufficient_data"]
_UNDECIDED_COST, _LACKING_COST, _NOT_INDICATED_COST = 1, 2, 7


@dataclass(frozen=True)
class Variable:
    """What one or more missing facts can come to be, together.

    Each choice sets the nodes of `names`; `facts` are credited.
    """

    facts: tuple[str, ...]
    choices: tuple[dict[str, form.Value], ...]
    names: frozenset[str]


@dataclass
class OptionReach:
    """For one option: statuses within reach, and per fact that matters the worst level it can lead to."""

    statuses: set[str] = field(default_factory=set)
    facts: dict[str, int] = field(default_factory=dict)
    blocking: set[str] = field(default_factory=set)


class Explorer:
    """Explores completions for one compiled pack set. Thread safe."""

    def __init__(
        self,
        packs: PackSet,
        interpreter: Interpreter,
        definitions: Mapping[str, FactDefinition],
        constraints: Sequence[Constraint],
    ) -> None:
        self.packs = packs
        self.options = tuple(o.id for o in packs.options)
        self.statuses = tuple(status_node(o) for o in self.options)
        nodes = packs.nodes
        wanted = _closure(packs, self.statuses)
        order = [n.name for n in packs.compiled.graph.nodes if n.name in wanted and not isinstance(n, form.FactNode)]
        self.rules = {name: interpreter.rules[name] for name in order if name in interpreter.rules}
        self.evidence = [n for n in order if isinstance(nodes[n], form.EvidenceNode)]
        self.contradictions = frozenset(n for n in order if n.endswith("?contradiction"))
        self.readers = _readers(packs, order)
        self.domains = _domains(nodes, wanted, definitions)
        starts = [*self.domains, *(n for n in order if isinstance(nodes[n], form.CountNode))]
        self.cones = {name: _downstream(name, order, packs) for name in starts}
        self.costs = _costs(packs)
        self.levels = _levels(packs)
        self.counts = [n for n in order if isinstance(nodes[n], form.CountNode)]
        self.thresholds = _thresholds(nodes, wanted)
        self._joint = [c for c in constraints if c.together]
        self._never = [c for c in constraints if c.never]
        self._interpreter = interpreter
        self.missing = interpreter.missing
        self._all_counts = frozenset(n.name for n in nodes.values() if isinstance(n, form.CountNode))
        self._tests: dict[form.Expression, Test] = {}

    def test(self, expression: form.Expression, environment: Environment) -> Truth:
        """Give the truth of one expression."""
        test = self._tests.get(expression)
        if test is None:
            test = self._tests[expression] = compile_test(expression, self._all_counts)
        return test(environment)

    def decides_records(self, records: str, record: Mapping[str, form.Value]) -> bool:
        """Say whether every count over `records` knows what to make of one record."""
        concluded = self._interpreter.conclude_record(records, record)
        counts = (self.packs.nodes[n] for n in self._all_counts)
        return all(
            concluded[n.where] is not None for n in counts if isinstance(n, form.CountNode) and n.records == records
        )

    def explore(
        self, inputs: form.Inputs, values: form.Values, list_credits: Mapping[str, Mapping[str, tuple[str, ...]]]
    ) -> dict[str, OptionReach]:
        """Explore what is missing.

        Args:
            inputs: what the back ends read.
            values: what they concluded.
            list_credits: for each list, the facts to credit when its `content` or its `completeness` matters.

        """
        search = _Search(self, {**self.missing, **inputs.values, **values.values})
        result = {
            o: OptionReach({STATUS_OF_LEVEL[search.level(s)]}) for o, s in zip(self.options, self.statuses, strict=True)
        }
        if not any(search.open.values()):
            return result
        variables = [v for v in self._variables(search.base, list_credits) if search.options_of(v)]
        if not variables:
            return result
        benign = search.benign(variables)
        search.note(result, search.completed(benign))
        for variable in variables:
            search.try_variable(result, variable, variables, benign)
        for option, status in zip(self.options, self.statuses, strict=True):
            search.complete_statuses(result[option], option, status, variables, benign)
        return result

    def _variables(
        self, base: Environment, list_credits: Mapping[str, Mapping[str, tuple[str, ...]]]
    ) -> Iterator[Variable]:
        together = {name: c for c in self._joint for name in c.together}
        done: set[str] = set()
        for name, domain in self.domains.items():
            if base.get(name) is not None or name in done:
                continue
            constraint = together.get(name)
            if constraint is None:
                choices = tuple({name: v} for v in domain if not self._is_impossible(base, name, v))
                yield Variable((name,), choices, frozenset((name,)))
                continue
            done.update(constraint.together)
            domains = [self.domains.get(n, ()) for n in constraint.together]
            pairs = (dict(zip(constraint.together, combination, strict=True)) for combination in product(*domains))
            choices = tuple(p for p in pairs if _is_greater(constraint, p))
            yield Variable(constraint.together, choices, frozenset(constraint.together))
        for name in self.counts:
            node = self.packs.nodes[name]
            if isinstance(node, form.CountNode):
                yield from self._count_variables(node, base, list_credits.get(node.records, {}))

    def _count_variables(
        self, node: form.CountNode, base: Environment, credit: Mapping[str, tuple[str, ...]]
    ) -> Iterator[Variable]:
        low, high = form.interval(base[node.name])
        if low == high:
            return
        points = sorted({p for t in self.thresholds[node.name] for p in (t - 1, t) if low <= p <= high} | {low})
        choices: tuple[dict[str, form.Value], ...] = tuple({node.name: (p, p)} for p in points)
        for facts in (credit.get("content", ()), credit.get("completeness", ())):
            if facts:
                yield Variable(facts, choices, frozenset((node.name,)))

    def _is_impossible(self, base: Environment, name: str, value: form.Value) -> bool:
        return any(
            name in c.never and all((value if n == name else base.get(n)) == v for n, v in c.never.items())
            for c in self._never
        )


class _Search:
    """Levels of the options under completions of one patient."""

    def __init__(self, explorer: Explorer, base: Environment) -> None:
        self.explorer = explorer
        self.base = base
        self.pinned = {n for n in explorer.evidence if base[n] is not None}
        self.known_contradictions = {n for n in explorer.contradictions if base[n] is True}
        self.open = {o: self._open(o, s) for o, s in zip(explorer.options, explorer.statuses, strict=True)}
        self._cones: dict[frozenset[str], list[str]] = {}

    def level(self, status: str) -> str:
        return str(self.base[status])

    def _open(self, option: str, status: str) -> set[str]:
        """The nodes that can still move the option: unknown criteria below its level, and what it waits for."""
        base, rank = self.base, _RANK[self.level(status)]
        rows = self.explorer.levels[option]
        cap = rank
        if rank == _BLOCKING:
            cap = min(
                (r for n, r, is_need in rows if r > rank and not is_need and base[n] is True), default=len(LEVELS)
            )
        found = set()
        for name, row_rank, is_need in rows:
            value = base[name]
            if is_need:
                if value is False and rank == _BLOCKING:
                    found.add(name)
            elif value is None:
                if row_rank < cap:
                    found.add(name)
            elif value and row_rank <= rank and base.get(f"{name}?unless", False) is None:
                found.add(name)
        if rank == _BLOCKING and (base[f"indicated:{option}"] is None or base[f"prepared:{option}"] is None):
            found.add(f"indicated:{option}")
            found.add(f"prepared:{option}")
        return found

    def options_of(self, variable: Variable) -> list[str]:
        """The options that the variable can still move."""
        reached: set[str] = set()
        queue = list(variable.names)
        while queue:
            for reader in self.explorer.readers.get(queue.pop(), ()):
                if reader not in reached and reader not in self.pinned:
                    reached.add(reader)
                    queue.append(reader)
        return [o for o, nodes in self.open.items() if not nodes.isdisjoint(reached)]

    def cone(self, names: frozenset[str]) -> list[str]:
        """Nodes downstream of `names` that a completion can change, in order."""
        cached = self._cones.get(names)
        if cached is None:
            if len(names) == 1:
                downstream: Iterable[str] = self.explorer.cones[next(iter(names))]
            else:
                union = set().union(*(self.explorer.cones[n] for n in names))
                downstream = [n for n in self.explorer.rules if n in union]
            cached = self._cones[names] = [n for n in downstream if n not in self.pinned]
        return cached

    def completed(self, completion: Mapping[int, dict[str, form.Value]]) -> Environment | None:
        """The values under a completion; None where it contradicts itself."""
        changes: dict[str, form.Value] = {}
        for choice in completion.values():
            changes.update(choice)
        return self.changed(self.base, changes)

    def changed(self, environment: Environment, changes: Mapping[str, form.Value]) -> Environment | None:
        """The values after `changes` to an environment; None where they create a contradiction."""
        result = dict(environment)
        result.update(changes)
        rules = self.explorer.rules
        for name in self.cone(frozenset(changes)) if changes else ():
            value = result[name] = rules[name](result)
            if value is True and name in self.explorer.contradictions and name not in self.known_contradictions:
                return None
        return result

    def note(self, result: Mapping[str, OptionReach], environment: Environment | None) -> None:
        """Add the statuses of an environment to what is within reach."""
        if environment is not None:
            for option, status in zip(self.explorer.options, self.explorer.statuses, strict=True):
                result[option].statuses.add(STATUS_OF_LEVEL[str(environment[status])])

    def benign(self, variables: Sequence[Variable]) -> dict[int, dict[str, form.Value]]:
        """Give each variable, in turn, the choice that costs the options least.

        What nothing waits for stays missing.
        """
        completion: dict[int, dict[str, form.Value]] = {}
        current = self.base
        for variable in variables:
            costs = [(n, c) for n in self.cone(variable.names) if (c := self.explorer.costs.get(n)) is not None]
            best: dict[str, form.Value] = {}
            best_environment = current
            lowest = sum(cost(current[name]) for name, cost in costs)
            for choice in variable.choices:
                environment = self.changed(current, choice)
                if environment is not None:
                    total = sum(cost(environment[name]) for name, cost in costs)
                    if total < lowest:
                        lowest, best, best_environment = total, choice, environment
            completion[id(variable)] = best
            current = best_environment
        return completion

    def try_variable(
        self,
        result: Mapping[str, OptionReach],
        variable: Variable,
        variables: Sequence[Variable],
        benign: Mapping[int, dict[str, form.Value]],
    ) -> None:
        """Look for completions that differ in this variable alone and give an option different statuses."""
        open_options = set(self.options_of(variable))
        budget = WITNESS_BUDGET
        for context in _contexts(benign, variable, self._near(variable, variables)):
            environment = self.completed({**context, id(variable): {}})
            outcomes: list[tuple[bool, Environment]] = []
            if environment is not None:
                outcomes.append((True, environment))
                for choice in variable.choices:
                    changed = self.changed(environment, choice)
                    if changed is not None:
                        outcomes.append((False, changed))
            budget -= 1 + len(variable.choices)
            for option, status in zip(self.explorer.options, self.explorer.statuses, strict=True):
                if option not in open_options:
                    continue
                levels = [str(e[status]) for _, e in outcomes]
                found = {STATUS_OF_LEVEL[level] for level in levels}
                result[option].statuses |= found
                if len(found) > 1:
                    open_options.discard(option)
                    worst = min(_RANK[level] for level in levels)
                    reach = result[option]
                    for fact in variable.facts:
                        reach.facts[fact] = min(worst, reach.facts.get(fact, worst))
                    if outcomes[0][0] and _RANK[levels[0]] == _BLOCKING:
                        reach.blocking.update(variable.facts)
            if not open_options or budget < 0:
                return

    def complete_statuses(
        self,
        reach: OptionReach,
        option: str,
        status: str,
        variables: Sequence[Variable],
        benign: Mapping[int, dict[str, form.Value]],
    ) -> None:
        """Look for completions that reach the statuses that open criteria could still give."""
        nodes = self.open[option]
        wanted: dict[str, set[str]] = {}
        for name, rank, _ in self.explorer.levels[option]:
            if name in nodes:
                wanted.setdefault(STATUS_OF_LEVEL[LEVELS[rank]], set()).add(name)
        if f"indicated:{option}" in nodes:
            group = {f"indicated:{option}", f"prepared:{option}"}
            wanted.setdefault("not_indicated", set()).update(group)
            if self.base[f"prepared:{option}"] is not False:
                wanted.setdefault("deferred", set()).update(group)
        for target, targets in wanted.items():
            if target in reach.statuses:
                continue
            near = [v for v in variables if not targets.isdisjoint(self.cone(v.names))]
            for context in islice(_contexts(benign, None, near), STATUS_BUDGET):
                environment = self.completed(context)
                if environment is not None:
                    reach.statuses.add(STATUS_OF_LEVEL[str(environment[status])])
                    if target in reach.statuses:
                        break

    def _near(self, variable: Variable, variables: Sequence[Variable]) -> Iterator[Variable]:
        """The variables that meet this one below the statuses.

        Looked for only when the benign completion is no witness.
        """
        cone = set(self.cone(variable.names))
        yield from (v for v in variables if v is not variable and any(n in cone for n in self.cone(v.names)))


def _contexts(
    benign: Mapping[int, dict[str, form.Value]], variable: Variable | None, near: Iterable[Variable]
) -> Iterator[Mapping[int, dict[str, form.Value]]]:
    """The benign completion, then those that differ from it in one to four of the variables around this one."""
    yield benign
    around = [v for v in near if v is not variable]
    for size in range(1, min(len(around), _MOST_CHANGED) + 1):
        for group in combinations(around, size):
            for choices in product(*(({}, *v.choices) for v in group)):
                yield {**benign, **{id(v): c for v, c in zip(group, choices, strict=True)}}


def _closure(packs: PackSet, names: Iterable[str]) -> set[str]:
    wanted: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue += packs.reads[name]
    return wanted


def _readers(packs: PackSet, order: Iterable[str]) -> dict[str, list[str]]:
    readers: dict[str, list[str]] = {}
    for name in order:
        for read in packs.reads[name]:
            readers.setdefault(read, []).append(name)
    return readers


def _downstream(start: str, order: Iterable[str], packs: PackSet) -> tuple[str, ...]:
    reached = {start}
    found = []
    for name in order:
        if name != start and not reached.isdisjoint(packs.reads[name]):
            reached.add(name)
            found.append(name)
    return tuple(found)


def _levels(packs: PackSet) -> dict[str, list[tuple[str, int, bool]]]:
    """For each option its criteria that hold a level: name, rank, and whether it waits for something known."""
    rows: dict[str, list[tuple[str, int, bool]]] = {o.id: [] for o in packs.options}
    for name, criterion in packs.criteria.items():
        level = level_of(criterion)
        if level is not None:
            for option in criterion.options:
                rows[option].append((name, _RANK[level], criterion.effect == "requires"))
    return rows


def _costs(packs: PackSet) -> dict[str, Callable[[form.Value], int]]:
    def of_criterion(weight: int) -> Callable[[form.Value], int]:
        return lambda value: weight if value is True else 0 if value is False else _UNDECIDED_COST

    costs: dict[str, Callable[[form.Value], int]] = {}
    for name, criterion in packs.criteria.items():
        level = level_of(criterion)
        if level is None or name not in packs.nodes:
            continue
        if criterion.effect == "requires":
            costs[name] = lambda value: 0 if value else _LACKING_COST
        else:
            costs[name] = of_criterion(len(LEVELS) + 2 - _RANK[level])
    for option in packs.options:
        costs[f"indicated:{option.id}"] = lambda value: (
            0 if value is True else _NOT_INDICATED_COST if value is False else _UNDECIDED_COST
        )
    return costs


def _expressions(node: form.Node) -> Iterator[form.Expression]:
    match node:
        case form.ConditionNode():
            yield node.expression
        case form.EvidenceNode():
            for source in node.sources:
                yield from (guard for guard, _ in source.mapping or ())
        case form.ChoiceNode():
            yield from (guard for guard, _ in node.steps)


def _leaves(expression: form.Expression) -> Iterator[form.Compare | form.OneOf]:
    match expression:
        case form.Compare() | form.OneOf():
            yield expression
        case form.Not(part):
            yield from _leaves(part)
        case form.All(parts) | form.AnyOf(parts) | form.AtLeast(_, parts):
            for part in parts:
                yield from _leaves(part)


def _domains(
    nodes: Mapping[str, form.Node], wanted: set[str], definitions: Mapping[str, FactDefinition]
) -> dict[str, tuple[form.Value, ...]]:
    """For each fact, one value per class of values that no condition tells apart."""
    cuts: dict[str, set[int]] = {}
    groups: dict[str, set[frozenset[str]]] = {}
    plain: set[str] = set()
    for name in wanted:
        node = nodes[name]
        if isinstance(node, form.EvidenceNode):
            plain.update(s.node for s in node.sources if s.mapping is None)
        for expression in _expressions(node):
            for leaf in _leaves(expression):
                if isinstance(leaf, form.OneOf):
                    groups.setdefault(leaf.node, set()).add(leaf.values)
                else:
                    cuts.setdefault(leaf.node, set()).update(_region_starts(leaf))
    domains: dict[str, tuple[form.Value, ...]] = {}
    for name, definition in definitions.items():
        if name not in wanted:
            continue
        match definition.type:
            case "bool":
                domains[name] = (False, True)
            case "enum":
                classes: dict[object, str] = {}
                for value in definition.values:
                    if value in definition.missing_values:
                        continue
                    key = value if name in plain else frozenset(g for g in groups.get(name, ()) if value in g)
                    classes.setdefault(key, value)
                domains[name] = tuple(classes.values())
            case "int" | "decimal":
                low, high = (definition.scaled(n) or 0 for n in definition.range or (0, 0))
                domains[name] = tuple(sorted(c for c in cuts.get(name, set()) | {low} if low <= c <= high))
            case "date" | "set":
                domains[name] = tuple(sorted(c for c in cuts.get(name, set()) | {0} if c >= 0))
    return domains


def _region_starts(comparison: form.Compare) -> tuple[int, ...]:
    """Where the truth of a comparison changes: the first numbers of the regions that it tells apart."""
    match comparison.operator:
        case "<" | ">=":
            return (comparison.constant,)
        case "<=" | ">":
            return (comparison.constant + 1,)
        case "==":
            return (comparison.constant, comparison.constant + 1)


def _thresholds(nodes: Mapping[str, form.Node], wanted: set[str]) -> dict[str, set[int]]:
    thresholds: dict[str, set[int]] = {}
    for name in wanted:
        for expression in _expressions(nodes[name]):
            for leaf in _leaves(expression):
                if isinstance(leaf, form.Compare) and isinstance(nodes.get(leaf.node), form.CountNode):
                    thresholds.setdefault(leaf.node, set()).update((leaf.constant, leaf.constant + 1))
    return thresholds


def _is_greater(constraint: Constraint, values: Mapping[str, form.Value]) -> bool:
    if constraint.greater is None:
        return True
    first, second = (values[n] for n in constraint.greater)
    return first > second  # type: ignore[operator]
