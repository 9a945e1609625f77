"""The values of a fact or a count that conditions tell apart: one for each class."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.compiler.check import PAST
from engine.compiler.leaves import leaves, region_starts
from engine.compiler.packset import in_force

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from engine.dictionary import FactDefinition

ALWAYS_KNOWN = (in_force(""), PAST)
"""With what the names of inputs begin that are never missing."""


@dataclass(frozen=True)
class Domain:
    """One value per class, None for missing, and for a number the last one of the class that it begins.

    `same` gives for each word the one that stands for its class; of other types, values stand for themselves or, as
    numbers, for those up to the end of their class.
    """

    values: tuple[form.Value, ...]
    ends: Mapping[form.Value, int] = field(default_factory=dict)
    same: Mapping[form.Value, form.Value] = field(default_factory=dict)

    def class_of(self, value: form.Value) -> form.Value:
        """Give the value that stands for the class of a value."""
        if self.ends and isinstance(value, int):
            return self.values[bisect_right(self.values, value, lo=1) - 1]  # type: ignore[type-var]
        return self.same.get(value, value)


def domain(
    node: form.FactNode | form.CountNode, nodes: Sequence[form.Node], definition: FactDefinition | None
) -> Domain:
    """Give the classes of a node's values that no condition of `nodes` divides."""
    found = [leaf for other in nodes for leaf in leaves(other) if leaf.node == node.name]
    starts = sorted({s for leaf in found if isinstance(leaf, form.Compare) for s in region_starts(leaf)})
    if isinstance(node, form.CountNode):
        points = [0, *(s for s in starts if s > 0)]
        return Domain(tuple((low, high) for low in points for high in (*points, form.OPEN) if low <= high))
    match node.type:
        case "bool":
            return Domain((False, True) if node.name.startswith(ALWAYS_KNOWN) else (None, False, True))
        case "enum":
            groups = [leaf.values for leaf in found if isinstance(leaf, form.OneOf)]
            missing = definition.missing_values if definition else ()
            values = [v for v in node.values if v not in missing]
            if _speaks_for_itself(node.name, nodes):
                return Domain((None, *values))
            classes: dict[tuple[bool, ...], str] = {}
            same: dict[form.Value, form.Value] = {
                v: classes.setdefault(tuple(v in g for g in groups), v) for v in values
            }
            return Domain((None, *classes.values()), same=same)
        case "text":
            return Domain((None,))
        case _:
            return _numbers(starts, definition)


def _speaks_for_itself(name: str, nodes: Sequence[form.Node]) -> bool:
    """Say whether a concept takes the node's own value."""
    evidence = (n for n in nodes if isinstance(n, form.EvidenceNode))
    return any(s.node == name and s.mapping is None for n in evidence for s in n.sources)


def _numbers(starts: Sequence[int], definition: FactDefinition | None) -> Domain:
    low, high = 0, form.OPEN
    if definition is not None and definition.range is not None:
        low, high = (definition.scaled(n) or 0 for n in definition.range)
    points = [low, *(s for s in starts if low < s <= high)]
    return Domain((None, *points), {start: end - 1 for start, end in pairwise([*points, high + 1])})
