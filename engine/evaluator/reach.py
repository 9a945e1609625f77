"""What the missing facts could still change: the statuses within reach, and the facts that lead to them.

A completion gives every missing fact a value or leaves it missing, keeps every evidence choice that is already made,
and creates no contradiction. A fact matters to an option if two completions that differ in this fact alone give it
different statuses, so a fact is listed on a witness and never on suspicion.

Each option is explored by itself. The facts that can still move it are varied together, in all ways at once, while
there are at most `MOST_TOGETHER` completions: then nothing is missed. Where there are more, the others are held where
they harm the option least, and each fact is varied alone, then together with the facts around it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.leaves import leaves, region_starts
from engine.compiler.levels import LEVELS, STATUS_OF_LEVEL, level_of
from engine.compiler.packset import PackSet, status_node
from engine.evaluator.interpret import Environment, Interpreter, Test, compile_test
from engine.evaluator.worlds import Bits, Held, Worlds, compile_node

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from engine.facts import Constraint, FactDefinition
    from engine.truth import Truth

MOST_TOGETHER = 1 << 16
"""How many completions are tried together."""

MOST_AROUND = 1 << 15
"""The same for one fact and those around it, where all together are too many."""

_RANK = {level: rank for rank, level in enumerate(LEVELS)}
_BLOCKING = _RANK["insufficient_data"]
_DEFERRED = _RANK["deferred"]
_NOT_INDICATED = _RANK["not_indicated_indication"]
_BETWEEN = _RANK["not_recommended"]
"""The level between two that are one status."""


@dataclass(frozen=True, eq=False)
class Variable:
    """What one or more missing facts can come to be, together.

    Each choice sets nodes, the first one leaves them as they are: missing. `facts` are credited.
    """

    facts: tuple[str, ...]
    choices: tuple[Mapping[str, form.Value], ...]
    names: frozenset[str]


@dataclass
class OptionReach:
    """For one option: statuses within reach, and per fact that matters the worst level it can lead to."""

    statuses: set[str] = field(default_factory=set)
    facts: dict[str, int] = field(default_factory=dict)
    blocking: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Row:
    """A criterion of an option, or (`is_group`) its indications together, that can still change."""

    name: str
    rank: int
    is_need: bool = False
    is_group: bool = False

    def good(self, worlds: Worlds) -> Bits:
        """Where it does not hold the option down."""
        return worlds.of(self.name).get(self.is_need or self.is_group, 0)

    def bad(self, worlds: Worlds) -> Bits:
        """Where it does."""
        return worlds.of(self.name).get(not (self.is_need or self.is_group), 0)


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
        nodes = packs.nodes
        wanted = _closure(packs, map(status_node, self.options))
        self.order = [
            n.name for n in packs.compiled.graph.nodes if n.name in wanted and not isinstance(n, form.FactNode)
        ]
        self.rules = {n: compile_node(nodes[n]) for n in self.order if not isinstance(nodes[n], form.CountNode)}
        self.evidence = [n for n in self.order if isinstance(nodes[n], form.EvidenceNode)]
        self.contradictions = frozenset(n for n in self.order if n.endswith("?contradiction"))
        self.counts = [n for n in self.order if isinstance(nodes[n], form.CountNode)]
        self.domains = _domains(nodes, wanted, definitions)
        self.cones = {name: _downstream(name, self.order, packs) for name in (*self.domains, *self.counts)}
        self.levels = _levels(packs)
        self.indications = {
            option: [n for n, c in packs.criteria.items() if c.effect == "indicates" and option in c.options]
            for option in self.options
        }
        self.thresholds = _thresholds(nodes, wanted)
        self.missing = interpreter.missing
        self._definitions = definitions
        self._joint = [c for c in constraints if c.together]
        self._never = [c for c in constraints if c.never]
        self._interpreter = interpreter
        self._all_counts = frozenset(n.name for n in nodes.values() if isinstance(n, form.CountNode))
        self._tests: dict[form.Expression, Test] = {}

    def test(self, expression: form.Expression, environment: Environment) -> Truth:
        """Give the truth of one expression."""
        test = self._tests.get(expression)
        if test is None:
            test = self._tests[expression] = compile_test(expression, self._all_counts)
        return test(environment)

    def decides(self, count: form.CountNode, record: Mapping[str, form.Value]) -> bool:
        """Say whether a count knows what to make of one record."""
        return self._interpreter.conclude_record(count.records, record)[count.where] is not None

    def explore(
        self, inputs: form.Inputs, values: form.Values, credited: Mapping[str, Sequence[str]]
    ) -> dict[str, OptionReach]:
        """Explore what is missing.

        Args:
            inputs: what the back ends read.
            values: what they concluded.
            credited: for each count, the facts to ask for when it matters what it comes to.

        """
        base = {**self.missing, **inputs.values, **values.values}
        pinned = {n for n in self.evidence if base[n] is not None}
        variables = list(self._variables(base, credited))
        return {option: _Search(self, base, option, pinned, variables).reach() for option in self.options}

    def _variables(self, base: Environment, credited: Mapping[str, Sequence[str]]) -> Iterator[Variable]:
        together = {name: c for c in self._joint for name in c.together}
        for name, domain in self.domains.items():
            if base.get(name) is not None:
                continue
            constraint = together.get(name)
            if constraint is None:
                choices = tuple({name: v} for v in domain if not self._is_impossible(base, name, v))
                yield Variable((name,), ({}, *choices), frozenset((name,)))
            elif name == constraint.together[0]:
                yield Variable(
                    constraint.together, ({}, *self._joint_choices(constraint)), frozenset(constraint.together)
                )
        for name in self.counts:
            low, high = form.interval(base[name])
            if low != high and credited[name]:
                points = {p for t in self.thresholds[name] for p in (t - 1, t) if low <= p <= high} | {low}
                intervals = [(low, high), *((p, p) for p in sorted(points))]
                yield Variable(tuple(credited[name]), tuple({name: i} for i in intervals), frozenset((name,)))

    def _joint_choices(self, constraint: Constraint) -> Iterator[dict[str, form.Value]]:
        """Each pair of classes of values in which a pair of values is possible."""
        for values in product(*(self.domains.get(n, ()) for n in constraint.together)):
            choice = dict(zip(constraint.together, values, strict=True))
            if constraint.greater is not None:
                first, second = constraint.greater
                if self._highest(first, choice[first]) <= choice[second]:  # type: ignore[operator]
                    continue
            yield choice

    def _highest(self, name: str, value: form.Value) -> int:
        """The highest number of the class that `value` begins."""
        later = [v for v in self.domains[name] if isinstance(v, int) and isinstance(value, int) and v > value]
        definition = self._definitions[name]
        highest = definition.scaled(definition.range[1]) if definition.range else None
        return min(later) - 1 if later else highest or 0

    def _is_impossible(self, base: Environment, name: str, value: form.Value) -> bool:
        return any(
            name in c.never and all((value if n == name else base.get(n)) == v for n, v in c.never.items())
            for c in self._never
        )


class _Search:
    """What one option can come to under completions of one patient."""

    def __init__(
        self,
        explorer: Explorer,
        base: Environment,
        option: str,
        pinned: Collection[str],
        variables: Sequence[Variable],
    ) -> None:
        self.explorer = explorer
        self.base = base
        self.option = option
        self.status = status_node(option)
        self.pinned = pinned
        self.rows, self.within = self._rows()
        self.cones = {v: self._cone(v) for v in variables} if self.rows else {}
        names = {row.name for row in self.rows}
        if any(row.is_group for row in self.rows):
            names.update(explorer.indications[option])
        self.touches = {v: names.intersection(cone) for v, cone in self.cones.items()}
        self.variables = [v for v, touched in self.touches.items() if touched]
        self.found = OptionReach({STATUS_OF_LEVEL[str(base[self.status])]})

    def reach(self) -> OptionReach:
        """Explore the option."""
        if not self.variables:
            return self.found
        best = self._best()
        self._vary_each(best)
        if not self._unresolved() and self.found.statuses >= self.within:
            return self.found
        if prod(len(v.choices) for v in self.variables) <= MOST_TOGETHER:
            self._vary_together(self.base, self.variables)
            return self.found
        places = [best, *(self._settled(best, row, [row]) for row in self.rows if row.rank == _BETWEEN)]
        for place in places[1:]:
            if self._unresolved():
                self._vary_each(place)
        worst = {row.name for row in self.rows if row.rank < _BETWEEN}
        for variable in self._unresolved():
            for place in places if self.touches[variable] & worst else places[:1]:
                if variable.facts[0] not in self.found.facts:
                    self._vary_together(place, self._around(self.touches[variable], [variable]))
        for row in self.rows:
            if row.is_group or STATUS_OF_LEVEL[LEVELS[row.rank]] not in self.found.statuses:
                self._vary_together(best, self._around({row.name}, []))
        return self.found

    def _rows(self) -> tuple[list[_Row], set[str]]:
        """The rows that can still move the option, worst first; and the statuses that they could lead to at most.

        A row can move it if its level is worse than the one that nothing can lift.
        """
        base, held = self.base, len(LEVELS) - 1
        rows = []
        for name, rank, is_need in self.explorer.levels[self.option]:
            value = base[name]
            if is_need:
                if value is False or base.get(f"{name}?given", False) is None:
                    rows.append(_Row(name, rank, is_need=True))
            elif value is None or (value is True and base.get(f"{name}?unless", False) is None):
                rows.append(_Row(name, rank))
            elif value is True:
                held = min(held, rank)
        indicated, prepared = base[f"indicated:{self.option}"], base[f"prepared:{self.option}"]
        if indicated is None or (indicated is False and prepared is None):
            rows += [
                _Row(f"{group}:{self.option}", _NOT_INDICATED, is_group=True) for group in ("indicated", "prepared")
            ]
        elif indicated is False:
            held = min(held, _DEFERRED if prepared else _NOT_INDICATED)
        rows = sorted((r for r in rows if r.rank < held), key=lambda r: r.rank)
        ranks = {held, *(row.rank for row in rows)}
        if any(row.is_group for row in rows):
            ranks |= {_BLOCKING, *([_DEFERRED] if prepared is not False else [])}
        return rows, {STATUS_OF_LEVEL[LEVELS[rank]] for rank in ranks}

    def _cone(self, variable: Variable) -> tuple[str, ...]:
        """The nodes that a variable can change, in order."""
        cones = self.explorer.cones
        if len(variable.names) == 1:
            (name,) = variable.names
            downstream: Iterable[str] = cones[name]
        else:
            union = set().union(*(cones[n] for n in variable.names))
            downstream = (n for n in self.explorer.order if n in union)
        reached = set(variable.names)
        found = []
        for name in downstream:
            if name not in self.pinned and not reached.isdisjoint(self.explorer.packs.reads[name]):
                reached.add(name)
                found.append(name)
        return tuple(found)

    def _unresolved(self) -> list[Variable]:
        return [v for v in self.variables if v.facts[0] not in self.found.facts]

    def _around(self, rows: Collection[str], group: list[Variable]) -> list[Variable]:
        """Add to a group the variables that share rows with it, nearest first, while completions are not too many."""
        size = prod(len(v.choices) for v in group)
        reached = set(rows)
        grown = True
        while grown:
            near = [v for v in self.variables if v not in group and not reached.isdisjoint(self.touches[v])]
            near.sort(key=lambda v: (-len(reached & self.touches[v]), len(v.choices)))
            grown = False
            for variable in near:
                if size * len(variable.choices) <= MOST_AROUND:
                    size *= len(variable.choices)
                    group.append(variable)
                    grown = True
            reached = reached.union(*(self.touches[v] for v in group))
        return group

    # Worlds

    def _together(self, environment: Environment, group: Sequence[Variable]) -> tuple[Worlds, Bits]:
        """Every combination of the group's choices; and in which of these worlds nothing contradicts itself."""
        worlds = Worlds(environment, prod(len(v.choices) for v in group))
        stride = 1
        for variable in group:
            for position, choice in enumerate(variable.choices):
                _set(worlds, variable, choice, _stripes(stride, position, len(variable.choices), worlds))
            stride *= len(variable.choices)
        return worlds, self._conclude(worlds, group)

    def _conclude(self, worlds: Worlds, group: Sequence[Variable]) -> Bits:
        explorer = self.explorer
        if len(group) == 1:
            cone: Iterable[str] = self.cones[group[0]]
        else:
            union = set().union(*(self.cones[v] for v in group))
            cone = (n for n in explorer.order if n in union)
        valid = worlds.all
        for name in cone:
            held = worlds.held[name] = explorer.rules[name](worlds)
            if name in explorer.contradictions and self.base[name] is not True:
                valid &= ~held.get(True, 0)
        return valid

    def _vary_together(self, environment: Environment, group: Sequence[Variable]) -> None:
        """Note what every combination of a group's choices leads to."""
        worlds, valid = self._together(environment, group)
        outcomes = self._outcomes(worlds, valid)
        stride = 1
        for variable in group:
            ways = len(variable.choices)
            if variable.facts[0] not in self.found.facts:
                folded = {
                    level: [(bits & _stripes(stride, w, ways, worlds)) >> (w * stride) for w in range(ways)]
                    for level, bits in outcomes.items()
                }
                self._credit(variable, folded)
            stride *= ways

    def _vary_each(self, environment: Environment) -> None:
        """Note what each variable alone leads to."""
        worlds = Worlds(environment, sum(len(v.choices) for v in self.variables))
        blocks: dict[Variable, int] = {}
        start = 0
        for variable in self.variables:
            blocks[variable] = start
            size = len(variable.choices)
            block = ((1 << size) - 1) << start
            for name in variable.names:
                worlds.held[name] = {v: bits & ~block for v, bits in worlds.of(name).items()}
            for position, choice in enumerate(variable.choices):
                _set(worlds, variable, choice, 1 << (start + position))
            start += size
        outcomes = self._outcomes(worlds, self._conclude(worlds, self.variables))
        for variable, first in blocks.items():
            if variable.facts[0] not in self.found.facts:
                ways = range(first, first + len(variable.choices))
                self._credit(variable, {level: [bits >> w & 1 for w in ways] for level, bits in outcomes.items()})

    def _outcomes(self, worlds: Worlds, valid: Bits) -> dict[str, Bits]:
        outcomes = {str(level): bits & valid for level, bits in worlds.of(self.status).items() if bits & valid}
        self.found.statuses.update(STATUS_OF_LEVEL[level] for level in outcomes)
        return outcomes

    def _credit(self, variable: Variable, folded: Mapping[str, Sequence[Bits]]) -> None:
        """Credit a variable's facts where, all else equal, its choices lead to different statuses.

        `folded` gives, for each level, for each choice, the surroundings in which it leads there.
        """
        words: dict[str, Bits] = {}
        for level, by_choice in folded.items():
            word = STATUS_OF_LEVEL[level]
            for bits in by_choice:
                words[word] = words.get(word, 0) | bits
        once = moved = 0
        for bits in words.values():
            moved |= once & bits
            once |= bits
        if not moved:
            return
        worst = min(_RANK[level] for level, by_choice in folded.items() if any(bits & moved for bits in by_choice))
        for fact in variable.facts:
            self.found.facts[fact] = min(worst, self.found.facts.get(fact, worst))
        if folded.get("insufficient_data", (0,))[0] & moved:
            self.found.blocking.update(variable.facts)

    # Where the option fares best

    def _best(self) -> Environment:
        """Give each variable a choice that harms the option least; what nothing waits for stays missing."""
        environment = self.base
        for row in self.rows:
            if not row.is_group:
                if environment[row.name] is not row.is_need:
                    environment = self._settled(environment, row, ())
                continue
            for name in self.explorer.indications[self.option]:
                if not self._is_indicated(environment):
                    environment = self._settled(environment, _Row(name, row.rank, is_group=True), ())
        return environment

    def _is_indicated(self, environment: Environment) -> bool:
        return any(environment[f"{group}:{self.option}"] is True for group in ("indicated", "prepared"))

    def _settled(self, environment: Environment, row: _Row, met: Collection[_Row]) -> Environment:
        """Choose for the variables around one row what keeps every row they touch from harm; rows of `met` are met."""
        touching = [v for v in self.variables if row.name in self.cones[v]]
        group: list[Variable] = []
        for variable in touching:
            if prod(len(v.choices) for v in (*group, variable)) <= MOST_AROUND:
                group.append(variable)
        if not group:
            return environment
        worlds, left = self._together(environment, group)
        if not left:
            return environment
        touched = set().union(*(self.touches[v] for v in group))
        ordered = [r for r in self.rows if r.name in touched and r not in met]
        if row.is_group:
            ordered.insert(0, row)
        for wanted in [r.bad(worlds) for r in met] + [
            b for r in ordered for b in (r.good(worlds), worlds.all & ~r.bad(worlds))
        ]:
            left = left & wanted or left
        world = (left & -left).bit_length() - 1
        changed = {name for v in group for name in (*v.names, *self.cones[v])}
        return {**environment, **{name: worlds.at(name, world) for name in changed}}


def _set(worlds: Worlds, variable: Variable, choice: Mapping[str, form.Value], bits: Bits) -> None:
    """Let a variable go one way in some worlds."""
    for name in variable.names:
        held: Held = worlds.held.setdefault(name, {})
        value = choice.get(name)
        if value is not None:
            held[value] = held.get(value, 0) | bits


def _stripes(stride: int, position: int, ways: int, worlds: Worlds) -> Bits:
    """The worlds in which a variable makes its choice at `position`, where it changes every `stride` worlds."""
    bits = ((1 << stride) - 1) << (position * stride)
    length = stride * ways
    while length < worlds.size:
        bits |= bits << length
        length *= 2
    return bits & worlds.all


def _closure(packs: PackSet, names: Iterable[str]) -> set[str]:
    wanted: set[str] = set()
    queue = list(names)
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue += packs.reads[name]
    return wanted


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
        for leaf in leaves(node):
            if isinstance(leaf, form.OneOf):
                groups.setdefault(leaf.node, set()).add(leaf.values)
            else:
                cuts.setdefault(leaf.node, set()).update(region_starts(leaf))
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


def _thresholds(nodes: Mapping[str, form.Node], wanted: set[str]) -> dict[str, set[int]]:
    thresholds: dict[str, set[int]] = {}
    for name in wanted:
        for leaf in leaves(nodes[name]):
            if isinstance(leaf, form.Compare) and isinstance(nodes.get(leaf.node), form.CountNode):
                thresholds.setdefault(leaf.node, set()).update((leaf.constant, leaf.constant + 1))
    return thresholds
