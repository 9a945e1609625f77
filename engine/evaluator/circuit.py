"""Rules as a circuit: what their nodes are in many completions of one patient at once.

The worlds (completions) in which a node has a value are a plane: one whole number with a bit for each world, so that
Kleene's logic over thousands of worlds is a few operations on whole numbers. A node that is unknown in a world is on
none of its planes there. -1 is the plane of all worlds, however many there are.

Each plane has a slot. Sources hold what facts and counts are; every other slot has a gate that makes its plane from
those of earlier slots.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import reduce
from operator import and_, itemgetter, or_
from typing import TYPE_CHECKING, TypeAlias

from engine.compiler import form

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine.evaluator.domain import Domain

Bits: TypeAlias = int
Planes: TypeAlias = list[Bits]
Slot: TypeAlias = int
Gate: TypeAlias = Callable[[Planes], Bits]

NOWHERE, EVERYWHERE = 0, 1
"""The slots of the empty plane and of the plane of all worlds."""

_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


class Circuit:
    """The gates behind the planes that were asked for; immutable once nothing more is asked.

    Attributes:
        gates: by slot; None for sources.
        inputs: by slot, the slots that its gate reads.
        facts: for every fact that is read, the slot of each class of its values.
        counts: for every count that is read, the slot of each comparison's being true or false.
        evidence: for every piece of evidence that is read, the slots of its values; these are no other node's.

    """

    def __init__(self, nodes: Mapping[str, form.Node], domains: Mapping[str, Domain]) -> None:
        self.gates: list[Gate | None] = [None, None]
        self.inputs: list[tuple[Slot, ...]] = [(), ()]
        self.facts: dict[str, dict[form.Value, Slot]] = {}
        self.counts: dict[str, dict[tuple[form.Compare, bool], Slot]] = {}
        self.evidence: dict[str, dict[form.Value, Slot]] = {}
        self._nodes = nodes
        self._domains = domains
        self._chosen: dict[str, dict[form.Value, Slot]] = {}
        self._conditions: dict[tuple[str, bool], Slot] = {}
        self._same: dict[tuple[str, tuple[Slot, ...]], Slot] = {}

    def held(self, name: str, value: form.Value) -> tuple[Slot, ...]:
        """Give the sources of a fact or count that hold while it has a value: none while the fact is missing."""
        if name in self.counts:
            return tuple(slot for (leaf, truth), slot in self.counts[name].items() if _compared(value, leaf) is truth)
        return () if value is None else (self.facts[name][self._domains[name].class_of(value)],)

    def sources(self) -> dict[str, tuple[Slot, ...]]:
        """Give the sources of every fact and count that is read."""
        facts = {name: tuple(slots.values()) for name, slots in self.facts.items()}
        return {**facts, **{name: tuple(slots.values()) for name, slots in self.counts.items()}}

    def planes(self, held: Iterable[Slot]) -> Planes:
        """Give the planes of the one world in which some sources hold."""
        planes = [0] * len(self.gates)
        planes[EVERYWHERE] = -1
        for slot in held:
            planes[slot] = -1
        for slot, gate in enumerate(self.gates):
            if gate is not None:
                planes[slot] = gate(planes)
        return planes

    def behind(self, slots: Iterable[Slot]) -> set[Slot]:
        """Give the slots on which some slots rest, themselves included."""
        found: set[Slot] = set()
        queue = list(slots)
        while queue:
            slot = queue.pop()
            if slot not in found:
                found.add(slot)
                queue += self.inputs[slot]
        return found

    def run(self, planes: Planes, slots: Iterable[Slot]) -> None:
        """Make the planes of slots with gates anew; the slots are in ascending order."""
        gates = self.gates
        for slot in slots:
            planes[slot] = gates[slot](planes)  # type: ignore[misc]

    # Nodes

    def plane(self, name: str, value: form.Value) -> Slot:
        """Give the slot of where a node has a value."""
        node = self._nodes[name]
        if not isinstance(node, form.ConditionNode):
            return self.values(name).get(value, NOWHERE)
        truth = value is True
        slot = self._conditions.get((name, truth))
        if slot is None:
            slot = self._conditions[name, truth] = self._condition(node, truth=truth)
        return slot

    def values(self, name: str) -> Mapping[form.Value, Slot]:
        """Give the slot of where a node has each of its values. Raises: TypeError for a count, which has no classes."""
        match self._nodes[name]:
            case form.FactNode():
                return self.fact(name)
            case form.ConditionNode():
                return {truth: self.plane(name, truth) for truth in (True, False)}
            case form.EvidenceNode() as node:
                if name not in self.evidence:
                    self.evidence[name] = self._evidence(node)
                return self.evidence[name]
            case form.ChoiceNode() as node:
                if name not in self._chosen:
                    self._chosen[name] = self._choice(node)
                return self._chosen[name]
        message = f"the values of `{name}` are intervals"
        raise TypeError(message)

    def fact(self, name: str) -> Mapping[form.Value, Slot]:
        """Give the source of each class of a fact's values."""
        slots = self.facts.get(name)
        if slots is None:
            slots = self.facts[name] = {
                value: self._source() for value in self._domains[name].values if value is not None
            }
        return slots

    def _condition(self, node: form.ConditionNode, *, truth: bool) -> Slot:
        slot = self._truth(node.expression, truth=truth)
        if node.except_if is not None:
            met = self.plane(node.except_if, value=True)
            slot = self._less(slot, met) if truth else self._union((slot, met))
        return slot if node.unknown_if is None else self._less(slot, self.plane(node.unknown_if, value=True))

    def _evidence(self, node: form.EvidenceNode) -> dict[form.Value, Slot]:
        said: dict[form.Value, list[Slot]] = {}
        silent = EVERYWHERE
        for source in node.sources:
            if source.mapping is None:
                spoken = list(self.values(source.node).items())
            else:
                spoken = [(says, self._truth(guard, truth=True)) for guard, says in source.mapping]
            for value, slot in spoken:
                said.setdefault(value, []).append(self._meet((slot, silent)))
            silent = self._less(silent, self._union(slot for _, slot in spoken))
        if node.otherwise is not None:
            said.setdefault(node.otherwise, []).append(silent)
        return {value: self._gate(tuple(slots), _union_of(slots)) for value, slots in said.items()}

    def _choice(self, node: form.ChoiceNode) -> dict[form.Value, Slot]:
        chosen: dict[form.Value, list[Slot]] = {}
        left = EVERYWHERE
        for guard, value in node.steps:
            met = self._truth(guard, truth=True)
            chosen.setdefault(value, []).append(self._meet((met, left)))
            left = self._less(left, met)
        chosen.setdefault(node.otherwise, []).append(left)
        return {value: self._union(slots) for value, slots in chosen.items()}

    # Expressions

    def _truth(self, expression: form.Expression, *, truth: bool) -> Slot:
        """Give the slot of where an expression is true, or of where it is false."""
        match expression:
            case form.Always():
                return EVERYWHERE if truth else NOWHERE
            case form.Holds(node):
                return self.plane(node, truth)
            case form.Is() | form.Known():
                met = self._known(expression)
                return met if truth else self._less(EVERYWHERE, met)
            case form.OneOf(node, values):
                return self._union(slot for value, slot in self.values(node).items() if (value in values) is truth)
            case form.Compare(node):
                if isinstance(self._nodes[node], form.CountNode):
                    return self._count(expression, truth=truth)
                slots = self.values(node).items()
                return self._union(slot for value, slot in slots if _compared(value, expression) is truth)
            case form.Not(part):
                return self._truth(part, truth=not truth)
            case form.All(parts):
                return self._at_least(len(parts), parts, truth=truth)
            case form.AnyOf(parts):
                return self._at_least(1, parts, truth=truth)
            case form.AtLeast(n, parts):
                return self._at_least(n, parts, truth=truth)

    def _known(self, leaf: form.Is | form.Known) -> Slot:
        if isinstance(leaf, form.Is) and leaf.truth is not None:
            return self.plane(leaf.node, leaf.truth)
        if isinstance(self._nodes[leaf.node], form.CountNode):
            return EVERYWHERE
        known = self._union(self.values(leaf.node).values())
        return known if isinstance(leaf, form.Known) else self._less(EVERYWHERE, known)

    def _count(self, leaf: form.Compare, *, truth: bool) -> Slot:
        slots = self.counts.setdefault(leaf.node, {})
        for each in (True, False):
            if (leaf, each) not in slots:
                slots[leaf, each] = self._source()
        return slots[leaf, truth]

    def _at_least(self, n: int, parts: Sequence[form.Expression], *, truth: bool) -> Slot:
        """Where `n` parts are true; or where so many are false that `n` cannot be."""
        if not truth and all(map(_is_never_unknown, parts)):
            return self._less(EVERYWHERE, self._at_least(n, parts, truth=True))
        slots = [self._truth(part, truth=truth) for part in parts]
        return self._many(n if truth else len(parts) - n + 1, slots)

    # Gates

    def _source(self) -> Slot:
        self.gates.append(None)
        self.inputs.append(())
        return len(self.gates) - 1

    def _gate(self, inputs: tuple[Slot, ...], gate: Gate) -> Slot:
        self.gates.append(gate)
        self.inputs.append(inputs)
        return len(self.gates) - 1

    def _shared(self, kind: str, inputs: tuple[Slot, ...], gate: Gate) -> Slot:
        """Give the slot of a gate; two of one kind over the same slots are one."""
        slot = self._same.get((kind, inputs))
        if slot is None:
            slot = self._same[kind, inputs] = self._gate(inputs, gate)
        return slot

    def _union(self, slots: Iterable[Slot]) -> Slot:
        parts = tuple(sorted({slot for slot in slots if slot != NOWHERE}))
        if EVERYWHERE in parts or not parts:
            return EVERYWHERE if parts else NOWHERE
        return parts[0] if len(parts) == 1 else self._shared("or", parts, _union_of(parts))

    def _meet(self, slots: Iterable[Slot]) -> Slot:
        parts = tuple(sorted({slot for slot in slots if slot != EVERYWHERE}))
        if NOWHERE in parts or not parts:
            return NOWHERE if parts else EVERYWHERE
        return parts[0] if len(parts) == 1 else self._shared("and", parts, _meet_of(parts))

    def _less(self, one: Slot, other: Slot) -> Slot:
        """Where one plane is and the other is not."""
        if NOWHERE in (one, other):
            return one
        return self._shared("less", (one, other), lambda planes: planes[one] & ~planes[other])

    def _many(self, n: int, slots: Sequence[Slot]) -> Slot:
        """Where `n` or more of some planes are."""
        if n <= 0:
            return EVERYWHERE
        if n == 1:
            return self._union(slots)
        if n >= len(slots):
            return self._meet(slots) if n == len(slots) else NOWHERE
        return self._shared(f"{n} of", tuple(sorted(slots)), _many_of(n, slots))


def _is_never_unknown(expression: form.Expression) -> bool:
    match expression:
        case form.Always() | form.Is() | form.Known():
            return True
        case form.Not(part):
            return _is_never_unknown(part)
        case form.All(parts) | form.AnyOf(parts) | form.AtLeast(_, parts):
            return all(map(_is_never_unknown, parts))
        case _:
            return False


def _compared(value: form.Value, leaf: form.Compare) -> bool | None:
    """Compare a number, or an interval: true or false where both of its ends say so."""
    compare = _COMPARISONS[leaf.operator]
    if isinstance(value, int):
        return compare(value, leaf.constant)
    low, high = form.interval(value)
    if leaf.operator == "==":
        return False if not low <= leaf.constant <= high else True if low == high else None
    at_low, at_high = compare(low, leaf.constant), compare(high, leaf.constant)
    return at_low if at_low is at_high else None


def _union_of(slots: Sequence[Slot]) -> Gate:
    return _folded(or_, slots)


def _meet_of(slots: Sequence[Slot]) -> Gate:
    return _folded(and_, slots)


def _folded(join: Callable[[Bits, Bits], Bits], slots: Sequence[Slot]) -> Gate:
    match slots:
        case (one,):
            return itemgetter(one)
        case (one, other):
            return lambda planes: join(planes[one], planes[other])
    take = itemgetter(*slots)
    return lambda planes: reduce(join, take(planes))


def _many_of(n: int, slots: Sequence[Slot]) -> Gate:
    def many(planes: Planes) -> Bits:
        reached = [-1] + [0] * n
        for slot in slots:
            for count in range(n, 0, -1):
                reached[count] |= reached[count - 1] & planes[slot]
        return reached[n]

    return many
