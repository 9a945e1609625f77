"""Every completion of a patient at once, by brute force, sharing no code with the engines.

An axis is something that is missing and may come to be known in several ways, or stay missing. With axes of d1, d2, ...
ways there are d1 x d2 x ... completions. What a node is under each of them is held as one whole number per value, with
one bit for each completion, so that Kleene's logic over all of them is a handful of operations on whole numbers.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, TypeAlias

from engine.compiler import form
from engine.compiler.packset import node_reads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from engine.compiler.packset import PackSet

Bits: TypeAlias = int
Held: TypeAlias = dict[form.Value, Bits]
"""For each known value of a node the completions under which it has it; unknown under all others."""

COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq}


@dataclass(frozen=True)
class Axis:
    """What may come to be known together: each way sets values of nodes; the first way, `{}`, leaves them missing."""

    name: str
    ways: tuple[Mapping[str, form.Value], ...]

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes that it sets."""
        return frozenset(name for way in self.ways for name in way)


class Completions:
    """All completions of one patient that keep what evidence already says and create no contradiction.

    Args:
        packs: the compiled rules.
        base: the value of every node of the patient as given.
        axes: what may come to be known.
        is_strict: leave out a completion under which a piece of evidence that has spoken would say something else;
            otherwise the evidence keeps saying what it said.

    """

    def __init__(
        self, packs: PackSet, base: Mapping[str, form.Value], axes: Sequence[Axis], *, is_strict: bool = False
    ) -> None:
        self.axes = axes
        self.strides: list[int] = []
        size = 1
        for axis in axes:
            self.strides.append(size)
            size *= len(axis.ways)
        self.size = size
        self.all = (1 << size) - 1
        self.valid = self.all
        self.held: dict[str, Held] = {}
        moved: set[str] = set()
        for position, axis in enumerate(axes):
            moved |= axis.nodes
            for way, changes in enumerate(axis.ways):
                bits = self.where(position, way)
                for name in axis.nodes:
                    value = changes.get(name, base.get(name))
                    if value is not None:
                        held = self.held.setdefault(name, {})
                        held[value] = held.get(value, 0) | bits
        self._base = base
        for node in packs.compiled.graph.nodes:
            name = node.name
            if name in moved or isinstance(node, form.FactNode | form.CountNode):
                continue
            if moved.isdisjoint(node_reads(node)):
                continue
            said = base[name]
            if isinstance(node, form.EvidenceNode) and said is not None and not is_strict:
                continue
            moved.add(name)
            self.held[name] = self._value(node)
            if isinstance(node, form.EvidenceNode) and said is not None:
                self.valid &= self.held[name].get(said, 0)
            if name.endswith("?contradiction") and said is not True:
                self.valid &= ~self.held[name].get(True, 0)

    def where(self, axis: int, way: int) -> Bits:
        """The completions in which an axis goes one way."""
        stride = self.strides[axis]
        bits = ((1 << stride) - 1) << (way * stride)
        length = stride * len(self.axes[axis].ways)
        while length < self.size:
            bits |= bits << length
            length *= 2
        return bits & self.all

    def of(self, name: str) -> Held:
        """What a node is, by completion."""
        held = self.held.get(name)
        if held is None:
            value = self._base.get(name)
            held = {} if value is None else {value: self.all}
        return held

    def matters(self, axis: int, outcomes: Mapping[str, Bits]) -> bool:
        """Say whether two completions that differ in one axis alone have different outcomes."""
        stride = self.strides[axis]
        projected = []
        for bits in outcomes.values():
            union = 0
            for way in range(len(self.axes[axis].ways)):
                union |= (bits & self.valid & self.where(axis, way)) >> (way * stride)
            projected.append(union)
        return any(one & other for i, one in enumerate(projected) for other in projected[:i])

    def _value(self, node: form.Node) -> Held:
        match node:
            case form.ConditionNode(_, expression, except_if, unknown_if):
                true, false = self._truth(expression)
                if except_if is not None:
                    met = self.of(except_if).get(True, 0)
                    true, false = true & ~met, false | met
                if unknown_if is not None:
                    met = self.of(unknown_if).get(True, 0)
                    true, false = true & ~met, false & ~met
                return {True: true, False: false}
            case form.EvidenceNode(_, sources, _, otherwise):
                return self._evidence(sources, otherwise)
            case form.ChoiceNode(_, steps, otherwise):
                chosen: Held = {}
                left = self.all
                for guard, value in steps:
                    met = self._truth(guard)[0] & left
                    chosen[value] = chosen.get(value, 0) | met
                    left &= ~met
                chosen[otherwise] = chosen.get(otherwise, 0) | left
                return chosen
        raise AssertionError(node)

    def _evidence(self, sources: Sequence[form.Source], otherwise: form.Value) -> Held:
        said: Held = {}
        left = self.all
        for source in sources:
            held = self.of(source.node)
            spoken: list[tuple[form.Value, Bits]] = (
                list(held.items())
                if source.mapping is None
                else [(says, self._truth(guard)[0]) for guard, says in source.mapping]
            )
            silent = left
            for value, bits in spoken:
                said[value] = said.get(value, 0) | (bits & left)
                silent &= ~bits
            left = silent
        if otherwise is not None:
            said[otherwise] = said.get(otherwise, 0) | left
        return said

    def _truth(self, expression: form.Expression) -> tuple[Bits, Bits]:
        """The completions under which an expression is true, and under which it is false."""
        match expression:
            case form.Always():
                return self.all, 0
            case form.Holds(node):
                held = self.of(node)
                return held.get(True, 0), held.get(False, 0)
            case form.Is(node, truth):
                held = self.of(node)
                known = held.get(True, 0) | held.get(False, 0)
                bits = self.all & ~known if truth is None else held.get(truth, 0)
                return bits, self.all & ~bits
            case form.Known(node):
                bits = reduce(operator.or_, self.of(node).values(), 0)
                return bits, self.all & ~bits
            case form.OneOf(node, values):
                return self._split(node, lambda value: value in values)
            case form.Compare(node, sign, constant):
                return self._split(node, lambda value: _compared(value, sign, constant))
            case form.Not(part):
                true, false = self._truth(part)
                return false, true
            case form.All(parts):
                truths = [self._truth(part) for part in parts]
                return reduce(operator.and_, (t for t, _ in truths), self.all), _union(f for _, f in truths)
            case form.AnyOf(parts):
                truths = [self._truth(part) for part in parts]
                return _union(t for t, _ in truths), reduce(operator.and_, (f for _, f in truths), self.all)
            case form.AtLeast(n, parts):
                truths = [self._truth(part) for part in parts]
                sure = self._many(n, [t for t, _ in truths])
                return sure, self._many(len(parts) - n + 1, [f for _, f in truths])

    def _split(self, node: str, test: object) -> tuple[Bits, Bits]:
        true = false = 0
        for value, bits in self.of(node).items():
            truth = test(value)  # type: ignore[operator]
            if truth is True:
                true |= bits
            elif truth is False:
                false |= bits
        return true, false

    def _many(self, n: int, bits: Sequence[Bits]) -> Bits:
        """The completions that are in `n` or more of some sets."""
        reached = [self.all] + [0] * n
        for each in bits:
            for count in range(n, 0, -1):
                reached[count] |= reached[count - 1] & each
        return reached[n]


def _union(bits: Iterator[Bits]) -> Bits:
    return reduce(operator.or_, bits, 0)


def _compared(value: form.Value, sign: str, constant: int) -> bool | None:
    compare = COMPARE[sign]
    if isinstance(value, tuple):
        if sign == "==":
            return False if not value[0] <= constant <= value[1] else True if value[0] == value[1] else None
        ends = {compare(end, constant) for end in value}
        return ends.pop() if len(ends) == 1 else None
    assert isinstance(value, int)
    return bool(compare(value, constant))
