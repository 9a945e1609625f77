"""Sets of states as unions of boxes: per property of a fact, the whole numbers that it may hold.

A condition's two surely-sides, "surely true" and "surely false", are such sets. A box is one conjunction, so a union of
boxes is a disjunctive normal form; a box that lies within another is absorbed by it.
"""

from __future__ import annotations

from collections import deque
from itertools import chain, product
from math import prod
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Whole numbers: (first, last) runs, ascending, neither overlapping nor adjacent."""

BREADTH: Final = 256
"""How many boxes a set may have while it is being computed."""

LEFT_OUT: Final = 8
"""How many numbers one chain of comparisons may leave out between its bounds."""


class TooWideError(Exception):
    """A set of states needs more boxes than `BREADTH`."""


class Property(NamedTuple):
    """One number of the fact that a pass asserts.

    Attributes:
        name: its key in the fact.
        low: the least number it can hold.
        high: the greatest number it can hold.
        marker: None for a property that is always present; else the one that is 1 while this one is present and 0
            while it is absent.
    """

    name: str
    low: int
    high: int
    marker: Property | None = None


Box: TypeAlias = tuple[tuple[Property, Ranges], ...]
Boxes: TypeAlias = tuple[Box, ...]

NOWHERE: Boxes = ()
EVERYWHERE: Boxes = ((),)


def ranges_of(*numbers: int) -> Ranges:
    """Give single numbers as runs."""
    return _union((), tuple((number, number) for number in numbers))


def _common(left: Ranges, right: Ranges) -> Ranges:
    overlaps = ((max(a, c), min(b, d)) for a, b in left for c, d in right)
    return tuple(sorted((first, last) for first, last in overlaps if first <= last))


def _union(left: Ranges, right: Ranges) -> Ranges:
    runs: list[tuple[int, int]] = []
    for first, last in sorted((*left, *right)):
        if runs and first <= runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], max(last, runs[-1][1]))
        else:
            runs.append((first, last))
    return tuple(runs)


def rest_of(ranges: Ranges, low: int, high: int) -> Ranges:
    """Give the numbers from `low` to `high` that `ranges` leaves out."""
    gaps = []
    for first, last in ranges:
        gaps.append((low, first - 1))
        low = last + 1
    gaps.append((low, high))
    return tuple((first, last) for first, last in gaps if first <= last)


def where(prop: Property, ranges: Ranges) -> Boxes:
    """Give the states in which a property is present and holds one of these numbers."""
    ranges = _common(ranges, ((prop.low, prop.high),))
    if not ranges:
        return NOWHERE
    if prop.marker is None and ranges == ((prop.low, prop.high),):
        return EVERYWHERE
    return (((prop, ranges),),)


def _is_within(inner: Box, outer: Box) -> bool:
    """Tell whether one box lies within another, all of whose properties it names."""
    limits = dict(inner)
    return all(limits[prop] == ranges or _are_within(limits[prop], ranges) for prop, ranges in outer)


def _are_within(inner: Ranges, outer: Ranges) -> bool:
    return all(any(low <= first and last <= high for low, high in outer) for first, last in inner)


def _properties(box: Box) -> frozenset[Property]:
    return frozenset(prop for prop, _ in box)


def either(*sets: Boxes) -> Boxes:
    """Give the states that are in one of the sets.

    Raises:
        TooWideError: if that needs more than `BREADTH` boxes.
    """
    # Boxes over one and the same property merge exactly; others are only absorbed.
    merged: dict[Property, Ranges] = {}
    distinct = {box for boxes in sets for box in boxes}
    for ((prop, ranges),) in sorted(box for box in distinct if len(box) == 1):
        merged[prop] = _union(merged.get(prop, ()), ranges)
    single = [box for prop, ranges in merged.items() for box in where(prop, ranges)]
    if () in single or () in distinct:
        return EVERYWHERE
    # A box can only be absorbed by one that names no other properties: an earlier one, or a later one with the same.
    kept = [(_properties(box), box) for box in single]
    later: dict[frozenset[Property], deque[Box]] = {}
    wider = sorted((box for box in distinct if len(box) > 1), key=lambda box: (len(box), box))
    for box in wider:
        later.setdefault(_properties(box), deque()).append(box)
    for box in wider:
        properties = _properties(box)
        peers = later[properties]
        peers.popleft()
        earlier = (other for named, other in kept if named <= properties)
        if not any(_is_within(box, other) for other in chain(earlier, peers)):
            kept.append((properties, box))
        if len(kept) > BREADTH:
            raise TooWideError
    return tuple(box for _, box in kept)


def both(*sets: Boxes) -> Boxes:
    """Give the states that are in all of the sets.

    Raises:
        TooWideError: if that needs more than `BREADTH` boxes, or more still on the way.
    """
    result = EVERYWHERE
    for boxes in sets:
        if len(result) * len(boxes) > 4 * BREADTH:
            raise TooWideError
        result = either(tuple(joined for a in result for b in boxes if (joined := _overlap(a, b)) is not None))
    return result


def _overlap(left: Box, right: Box) -> Box | None:
    limits = dict(left)
    for prop, ranges in right:
        limits[prop] = _common(limits[prop], ranges) if prop in limits else ranges
        if not limits[prop]:
            return None
    return tuple(sorted(limits.items()))


def outside(boxes: Boxes) -> Boxes:
    """Give the states that are in none of the boxes, those in which a property is absent included.

    Raises:
        TooWideError: if that needs more than `BREADTH` boxes.
    """
    return both(*(either(*(_beyond(prop, ranges) for prop, ranges in box)) for box in boxes))


def _beyond(prop: Property, ranges: Ranges) -> Boxes:
    beyond = where(prop, rest_of(ranges, prop.low, prop.high))
    return beyond if prop.marker is None else either(beyond, where(prop.marker, ((0, 0),)))


def at_least(n: int, sets: Iterable[Boxes]) -> Boxes:
    """Give the states that are in at least `n` of the sets.

    Raises:
        TooWideError: if that needs more than `BREADTH` boxes.
    """
    reached = [EVERYWHERE] + [NOWHERE] * n
    for boxes in sets:
        for count in range(n, 0, -1):
            reached[count] = either(reached[count], both(reached[count - 1], boxes))
    return reached[-1]


def term_count(boxes: Boxes) -> int:
    """Count the terms that `chainable` would give, without making them."""
    return sum(prod(len(_parts(ranges)) for _, ranges in box) for box in boxes)


def chainable(boxes: Boxes) -> Boxes:
    """Give the same states as boxes that one chain of comparisons each can match.

    Bounds and a few numbers left out are comparisons; runs with a wider gap between them become boxes of their own.
    """
    return tuple(
        tuple(zip((prop for prop, _ in box), runs, strict=True))
        for box in boxes
        for runs in product(*(_parts(ranges) for _, ranges in box))
    )


def _parts(ranges: Ranges) -> tuple[Ranges, ...]:
    left_out = ranges[-1][1] - ranges[0][0] + 1 - sum(last - first + 1 for first, last in ranges)
    return (ranges,) if left_out <= LEFT_OUT else tuple((run,) for run in ranges)
