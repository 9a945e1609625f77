"""Charts as plain SVG geometry: where bars and ribbons lie. Each chart stands beside a table that says the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.page.environment import TONES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MERGED, MERGED_CHANGES = "merged", "merged changes"
"""Names of what was merged because it was too little to be shown apart."""

_ORDER = (
    *("eligible", "eligible_with_precautions", "deferred", "insufficient_data"),
    *("not_indicated", "not_recommended", "contraindicated"),
    *("covered", "prior_approval", "not_met", "not_covered"),
    *("none", "low", "moderate", "high", "emergency"),
    *("absent", "unresolved", "required"),
)
_RANK = {name: rank for rank, name in enumerate(_ORDER)}

BAR_WIDTH = 720.0
_FLOW_HEIGHT = 190.0
_SMALLEST = 17.0
_GAP = 5.0
LEFT, RIGHT, NODE_WIDTH = 210.0, 500.0, 10.0


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar. `is_wide` where its count fits into it."""

    name: str
    count: int
    x: float
    width: float
    is_wide: bool


def bar(counts: Mapping[str, int]) -> tuple[Segment, ...]:
    """Lay out one bar of counts, side by side; a count that is not zero can be seen, however small."""
    total = sum(counts.values())
    if not total:
        return ()
    widths = {name: max(3.0, BAR_WIDTH * count / total) for name, count in counts.items() if count}
    scale = BAR_WIDTH / sum(widths.values())
    segments, x = [], 0.0
    for name, width in widths.items():
        segments.append(Segment(name, counts[name], round(x, 1), round(width * scale, 1), width * scale > _WIDE))
        x += width * scale
    return tuple(segments)


_WIDE = 44.0


@dataclass(frozen=True, slots=True)
class Node:
    """One thing that was, on the left, or would be, on the right."""

    name: str
    tone: str
    count: int
    x: float
    y: float
    height: float

    @property
    def middle(self) -> float:
        """Where its label stands."""
        return round(self.y + self.height / 2, 1)


@dataclass(frozen=True, slots=True)
class Ribbon:
    """How many went from one node to another: a path, and whether that is a change."""

    path: str
    tone: str
    old: str
    new: str
    count: int
    is_change: bool


@dataclass(frozen=True, slots=True)
class Flow:
    """What became of what: nodes on both sides, and the ribbons between them."""

    nodes: tuple[Node, ...]
    ribbons: tuple[Ribbon, ...]
    height: float


def flow(turns: Sequence[tuple[str, str, int]]) -> Flow:
    """Lay out how counts move, from (old, new, count)."""
    sides = [
        _stack(((old, count) for old, _, count in turns), LEFT),
        _stack(((new, count) for _, new, count in turns), RIGHT),
    ]
    left, right = ({node.name: node for node in side} for side in sides)
    used = {id(node): 0.0 for side in sides for node in side}
    ribbons = []
    for old, new, count in sorted(turns, key=lambda turn: (_rank(turn[0]), _rank(turn[1]))):
        ends = []
        for node in (left[old], right[new]):
            start = node.y + used[id(node)]
            thickness = node.height * count / node.count
            used[id(node)] += thickness
            ends.append((start, start + thickness))
        is_change = old != new or old == MERGED_CHANGES
        ribbons.append(Ribbon(_path(*ends), right[new].tone, old, new, count, is_change))
    height = max((node.y + node.height for side in sides for node in side), default=0.0)
    # What changes is drawn last, above what stays.
    return Flow((*sides[0], *sides[1]), tuple(sorted(ribbons, key=lambda r: r.is_change)), round(height + 2, 1))


def _stack(counts: Iterable[tuple[str, int]], x: float) -> list[Node]:
    totals: dict[str, int] = {}
    for name, count in counts:
        totals[name] = totals.get(name, 0) + count
    total = sum(totals.values())
    nodes, y = [], 1.0
    for name in sorted(totals, key=_rank):
        height = max(_SMALLEST, _FLOW_HEIGHT * totals[name] / total)
        nodes.append(Node(name, TONES.get(name, "unmet"), totals[name], x, round(y, 1), round(height, 1)))
        y += height + _GAP
    return nodes


def _path(left: tuple[float, float], right: tuple[float, float]) -> str:
    start, end = LEFT + NODE_WIDTH, RIGHT
    bend = (start + end) / 2
    (a, b), (c, d) = left, right
    return (
        f"M{start:g} {a:.1f}C{bend:g} {a:.1f} {bend:g} {c:.1f} {end:g} {c:.1f}"
        f"V{d:.1f}C{bend:g} {d:.1f} {bend:g} {b:.1f} {start:g} {b:.1f}Z"
    )


def _rank(name: str) -> tuple[int, str]:
    word = name.partition(",")[0]
    return (len(_RANK) + 1 if name in {MERGED, MERGED_CHANGES} else _RANK.get(word, len(_RANK)), name)
