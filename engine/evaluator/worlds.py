"""Many completions of one patient at once: what each node is in each of many worlds.

A set of worlds is one whole number with a bit for each world, so that Kleene's logic over thousands of worlds is a few
operations on whole numbers. A world in which a node is unknown is in none of the node's sets.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import TYPE_CHECKING, TypeAlias

from engine.compiler import form

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Bits: TypeAlias = int
Split: TypeAlias = tuple[Bits, Bits]
"""The worlds in which something is true, and those in which it is false."""

Held: TypeAlias = dict[form.Value, Bits]
"""For each value of a node, the worlds in which it has it."""

_COMPARISONS: Mapping[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}


class Worlds:
    """The values of nodes in `size` worlds that differ from one environment in some nodes.

    Attributes:
        all: every world.
        held: what was set or concluded; other nodes are everywhere as in the environment.

    """

    __slots__ = ("_environment", "all", "held", "size")

    def __init__(self, environment: Mapping[str, form.Value], size: int) -> None:
        self._environment = environment
        self.size = size
        self.all: Bits = (1 << size) - 1
        self.held: dict[str, Held] = {}

    def of(self, name: str) -> Held:
        """Give what a node is, by world."""
        found = self.held.get(name)
        if found is None:
            value = self._environment.get(name)
            found = self.held[name] = {} if value is None else {value: self.all}
        return found

    def at(self, name: str, world: int) -> form.Value:
        """Give the value of a node in one world."""
        return next((value for value, bits in self.of(name).items() if bits >> world & 1), None)


Rule: TypeAlias = Callable[[Worlds], Held]
Test: TypeAlias = Callable[[Worlds], Split]


def compile_node(node: form.Node) -> Rule:
    """Turn a condition, evidence or choice into a function that concludes it in all worlds.

    Raises: TypeError for facts and counts, which are given.
    """
    match node:
        case form.ConditionNode():
            return _condition(node)
        case form.EvidenceNode():
            return _evidence(node)
        case form.ChoiceNode():
            return _choice(node)
        case _:
            message = f"`{node.name}` is given and never concluded here"
            raise TypeError(message)


def _condition(node: form.ConditionNode) -> Rule:
    test, exception, contradiction = _compile(node.expression), node.except_if, node.unknown_if

    def concluded(worlds: Worlds) -> Held:
        true, false = test(worlds)
        if exception is not None:
            met = worlds.of(exception).get(True, 0)
            true, false = true & ~met, false | met
        if contradiction is not None:
            met = worlds.of(contradiction).get(True, 0)
            true, false = true & ~met, false & ~met
        return {True: true, False: false}

    return concluded


def _evidence(node: form.EvidenceNode) -> Rule:
    sources = [
        (s.node, None if s.mapping is None else [(says, _compile(guard)) for guard, says in s.mapping])
        for s in node.sources
    ]
    otherwise = node.otherwise

    def concluded(worlds: Worlds) -> Held:
        said: Held = {}
        silent = worlds.all
        for name, mapping in sources:
            spoken = worlds.of(name).items() if mapping is None else [(says, t(worlds)[0]) for says, t in mapping]
            heard = 0
            for value, bits in spoken:
                said[value] = said.get(value, 0) | (bits & silent)
                heard |= bits
            silent &= ~heard
        if otherwise is not None:
            said[otherwise] = said.get(otherwise, 0) | silent
        return said

    return concluded


def _choice(node: form.ChoiceNode) -> Rule:
    steps = [(_compile(guard), value) for guard, value in node.steps]
    otherwise = node.otherwise

    def concluded(worlds: Worlds) -> Held:
        chosen: Held = {}
        left = worlds.all
        for test, value in steps:
            met = test(worlds)[0] & left
            chosen[value] = chosen.get(value, 0) | met
            left &= ~met
        chosen[otherwise] = chosen.get(otherwise, 0) | left
        return chosen

    return concluded


def _compile(expression: form.Expression) -> Test:
    match expression:
        case form.Always():
            return lambda worlds: (worlds.all, 0)
        case form.Holds(node):

            def holds(worlds: Worlds) -> Split:
                held = worlds.of(node)
                return held.get(True, 0), held.get(False, 0)

            return holds
        case form.Is(node, truth):

            def is_so(worlds: Worlds) -> Split:
                held = worlds.of(node)
                met = worlds.all & ~(held.get(True, 0) | held.get(False, 0)) if truth is None else held.get(truth, 0)
                return met, worlds.all & ~met

            return is_so
        case form.Known(node):

            def known(worlds: Worlds) -> Split:
                met = _union(worlds.of(node).values())
                return met, worlds.all & ~met

            return known
        case form.OneOf(node, values):
            return _leaf(node, lambda value: value in values)
        case form.Compare(node, comparison, constant):
            return _leaf(node, lambda value: _compared(value, comparison, constant))
        case form.Not(part):
            inner = _compile(part)

            def negated(worlds: Worlds) -> Split:
                true, false = inner(worlds)
                return false, true

            return negated
        case form.All(parts):
            return _at_least(len(parts), tuple(map(_compile, parts)))
        case form.AnyOf(parts):
            return _at_least(1, tuple(map(_compile, parts)))
        case form.AtLeast(n, parts):
            return _at_least(n, tuple(map(_compile, parts)))


def _leaf(node: str, test: Callable[[form.Value], bool | None]) -> Test:
    def split(worlds: Worlds) -> Split:
        true = false = 0
        for value, bits in worlds.of(node).items():
            truth = test(value)
            if truth:
                true |= bits
            elif truth is False:
                false |= bits
        return true, false

    return split


def _compared(value: form.Value, comparison: str, constant: int) -> bool | None:
    compare = _COMPARISONS[comparison]
    if isinstance(value, int):
        return compare(value, constant)
    low, high = form.interval(value)
    if comparison == "==":
        return False if not low <= constant <= high else True if low == high else None
    at_low, at_high = compare(low, constant), compare(high, constant)
    return at_low if at_low is at_high else None


def _at_least(n: int, tests: tuple[Test, ...]) -> Test:
    """Say where `n` parts are true, and where so many are false that `n` cannot be."""
    to_refute = len(tests) - n + 1

    def enough(worlds: Worlds) -> Split:
        splits = [test(worlds) for test in tests]
        return _many(worlds.all, n, [t for t, _ in splits]), _many(worlds.all, to_refute, [f for _, f in splits])

    return enough


def _many(everywhere: Bits, n: int, sets: Sequence[Bits]) -> Bits:
    """The worlds that lie in `n` or more of some sets."""
    if n <= 0:
        return everywhere
    if n == 1:
        return _union(sets)
    if n == len(sets):
        return reduce(operator.and_, sets)
    reached = [everywhere] + [0] * n
    for each in sets:
        for count in range(n, 0, -1):
            reached[count] |= reached[count - 1] & each
    return reached[n]


def _union(sets: Iterable[Bits]) -> Bits:
    return reduce(operator.or_, sets, 0)
