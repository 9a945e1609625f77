"""The answers about one option as bands on a line of time, a lane for each jurisdiction, in percent and pixels.

A band has its outcome as a word where there is room, else as a letter, and a pattern: color is never alone. A table
beside the chart says the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from engine.compare.stretches import Span, answer_of, outcome_words
from engine.page.environment import TONES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.compare.comparison import Comparison
    from engine.compare.stretches import Lane
    from engine.page.environment import Words

LETTERS: Words = {
    "eligible": "E",
    "eligible_with_precautions": "P",
    "deferred": "D",
    "insufficient_data": "?",
    "not_indicated": "N",
    "not_recommended": "R",
    "contraindicated": "X",
}
"""A letter for each status, best first; the legend names them."""

AXIS = 36
LANE = 56
NAME = 20
BAND = 32
STRIP = 8
"""Height of the strip with the pattern at the foot of a band; the other heights make every strip begin on a tile."""
_WIDE, _NARROW = 1100.0, 300.0
"""Pixels that the chart has on a desktop, and on a phone."""
_CHARACTER = 7.6
_PADDING = 10.0
_MOST_TICKS = 8
_STEPS = (1, 2, 5, 10, 20, 50, 100, 500, 1000)
_LAST_TICK = 94.0


@dataclass(frozen=True, slots=True)
class Band:
    """The days of one answer; x and width are percent of the chart. A label is empty where it has no room."""

    x: float
    width: float
    outcome: str
    tone: str
    criteria: tuple[str, ...]
    span: Span
    wide_label: str
    narrow_label: str

    @property
    def middle(self) -> float:
        """Where its label stands."""
        return round(self.x + self.width / 2, 2)


@dataclass(frozen=True, slots=True)
class Track:
    """The bands of one jurisdiction; y is in pixels."""

    jurisdiction: str
    y: int
    bands: tuple[Band, ...]


@dataclass(frozen=True, slots=True)
class BandChart:
    """The answers about one option over time. `own_x` is the patient's own day; None where it lies outside."""

    tracks: tuple[Track, ...]
    ticks: tuple[tuple[float, str], ...]
    own_x: float | None
    height: int

    @property
    def is_own_right(self) -> bool:
        """Whether the patient's own day lies so far right that its label stands left of it."""
        return self.own_x is not None and self.own_x > 50.0  # noqa: PLR2004 - half of it


def draw_bands(comparison: Comparison, option: str) -> BandChart:
    """Lay out what the rules of the days that were asked say about one option."""
    whole = Span(min(s.first for s in comparison.spans), max(s.last for s in comparison.spans))
    scale = _Scale(whole)
    own = comparison.own_day
    return BandChart(
        tracks=tuple(
            Track(lane.jurisdiction, AXIS + LANE * place, tuple(_bands(lane, option, scale)))
            for place, lane in enumerate(comparison.lanes)
        ),
        ticks=tuple(scale.ticks()),
        own_x=scale.x(own) if whole.holds(own) else None,
        height=AXIS + LANE * len(comparison.lanes),
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    whole: Span

    def x(self, day: date) -> float:
        days = (self.whole.last - self.whole.first).days + 1
        return round(100 * (day - self.whole.first).days / days, 3)

    def end(self, day: date) -> float:
        """Where a day ends."""
        return 100.0 if day >= self.whole.last else self.x(day + timedelta(days=1))

    def ticks(self) -> Iterator[tuple[float, str]]:
        first, last = self.whole.first, self.whole.last
        years = last.year - first.year + 1
        step = next((s for s in _STEPS if years / s <= _MOST_TICKS), _STEPS[-1])
        named = [date(year, 1, 1) for year in range(-(-first.year // step) * step, last.year + 1, step)]
        shown = [day for day in named if first <= day and self.x(day) <= _LAST_TICK]
        if not shown:
            yield 0.0, first.isoformat()
        for day in shown:
            yield self.x(day), f"{day:%Y}"


def _bands(lane: Lane, option: str, scale: _Scale) -> Iterator[Band]:
    for stretch in lane.stretches(option):
        span = stretch.span.within(scale.whole)
        if span is None:
            continue
        answer = answer_of(stretch.cells[0], option)
        x = scale.x(span.first)
        width = round(scale.end(span.last) - x, 3)
        yield Band(
            x=x,
            width=width,
            outcome=answer.outcome,
            tone=TONES.get(answer.outcome, "unmet"),
            criteria=answer.criteria,
            span=span,
            wide_label=_label(answer.outcome, width * _WIDE / 100),
            narrow_label=_label(answer.outcome, width * _NARROW / 100),
        )


def _label(outcome: str, pixels: float) -> str:
    """The longest text that fits: the word, the letter, or nothing."""
    texts = (outcome_words(outcome), LETTERS.get(outcome, ""))
    return next((text for text in texts if len(text) * _CHARACTER + _PADDING <= pixels), "")
