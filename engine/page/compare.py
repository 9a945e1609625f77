"""A comparison of jurisdictions and days as one page of HTML that stands alone: no script, no network.

Nothing is concluded here: the page puts what a comparison says into reading order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from engine.compare.stretches import ABSENT, answer_of, outcome_words
from engine.page.bands import BAND, LETTERS, NAME, STRIP, BandChart, draw_bands
from engine.page.environment import environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date

    from engine.compare.comparison import Comparison
    from engine.compare.contrast import Contrast, Difference
    from engine.compare.stretches import Answer, Lane, Stretch
    from engine.page.environment import Words


def render_comparisons(items: Sequence[tuple[str, Comparison]], jurisdictions: Words) -> str:
    """Render comparisons, each with its case's name, as one self-contained HTML page.

    Args:
        items: pairs of name and comparison; the name is all the page says about who the patient is.
        jurisdictions: words for them, by id.

    """
    cases = [Compared(f"c{number}", name, comparison) for number, (name, comparison) in enumerate(items, 1)]
    template = environment().get_template("compare.html.j2")
    return template.render(
        cases=cases,
        places=dict(jurisdictions),
        letters=LETTERS,
        band_height=BAND,
        name_height=NAME,
        strip_height=STRIP,
        outcome_words=outcome_words,
    )


@dataclass(frozen=True)
class Row:
    """What every jurisdiction answers about one subject on one day."""

    title: str
    answers: tuple[tuple[Lane, Answer], ...]

    def is_other(self, answer: Answer) -> bool:
        """Whether an answer is another one than that of the base."""
        return answer.outcome != self.answers[0][1].outcome


@dataclass(frozen=True)
class Line:
    """A criterion that decides one of two answers; `places` names where, and `why` why not in the other place."""

    difference: Difference
    places: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Turn:
    """Two answers that differ."""

    title: str
    contrast: Contrast

    @property
    def lines(self) -> tuple[Line, ...]:
        """The criteria that make the difference."""
        contrast = self.contrast
        return tuple(
            Line(d, tuple(contrast.places[place] for place in d.decides), contrast.why(d)) for d in contrast.differences
        )


@dataclass(frozen=True)
class Group:
    """Turns under one heading: those where the answer differs, and those where only what decides it does."""

    heading: str
    turns: tuple[Turn, ...]

    @property
    def other(self) -> tuple[Turn, ...]:
        """Those with another answer."""
        return tuple(turn for turn in self.turns if turn.contrast.has_other_outcome)

    @property
    def same(self) -> tuple[Turn, ...]:
        """Those with the same answer by other criteria."""
        return tuple(turn for turn in self.turns if not turn.contrast.has_other_outcome)


@dataclass(frozen=True)
class Compared:
    """One case in reading order. `anchor` begins every anchor of it: nothing that a caller wrote becomes one."""

    anchor: str
    name: str
    comparison: Comparison

    @property
    def base(self) -> str:
        """The jurisdiction with which the others are compared."""
        return self.comparison.lanes[0].jurisdiction

    @cached_property
    def days(self) -> tuple[tuple[date, tuple[Row, ...]], ...]:
        """The patient's own day and the single days that were asked, each with what every jurisdiction answers."""
        return tuple((day, tuple(self._rows(day))) for day in self.comparison.days)

    def _rows(self, day: date) -> Iterator[Row]:
        for subject in self.comparison.subjects:
            answers = tuple((lane, answer_of(lane.on(day), subject)) for lane in self.comparison.lanes)
            if any(answer.outcome != ABSENT for _, answer in answers):
                yield Row(self.comparison.title(subject), answers)

    @cached_property
    def charts(self) -> tuple[tuple[str, str, BandChart], ...]:
        """For each option its id, title and chart; none where only single days were asked."""
        if not self.comparison.has_range:
            return ()
        return tuple((o, self.comparison.title(o), draw_bands(self.comparison, o)) for o in self.comparison.options)

    def stretches(self, option: str) -> Iterator[tuple[Lane, Stretch, Answer]]:
        """Give what each jurisdiction answers about an option, by days."""
        for lane in self.comparison.lanes:
            for stretch in lane.stretches(option):
                yield lane, stretch, answer_of(stretch.cells[0], option)

    @cached_property
    def in_time(self) -> tuple[Group, ...]:
        """What changes with the day, by jurisdiction."""
        return tuple(
            Group(lane.jurisdiction, self._turns(self.comparison.turns, place=0, jurisdiction=lane.jurisdiction))
            for lane in self.comparison.lanes
        )

    @cached_property
    def between(self) -> tuple[tuple[Group, tuple[Turn, ...]], ...]:
        """For each other jurisdiction what differs from the base: on the days shown above, and on other days only."""
        found = []
        for lane in self.comparison.lanes[1:]:
            mine = self._turns(self.comparison.contrasts, place=1, jurisdiction=lane.jurisdiction)
            shown = tuple(turn for turn in mine if turn.contrast.is_on(self.comparison.days))
            others = tuple(turn for turn in mine if not turn.contrast.is_on(self.comparison.days))
            found.append((Group(lane.jurisdiction, shown), others))
        return tuple(found)

    def _turns(self, contrasts: Iterable[Contrast], *, place: int, jurisdiction: str) -> tuple[Turn, ...]:
        return tuple(
            Turn(self.comparison.title(c.subject), c) for c in contrasts if c.cells[place].jurisdiction == jurisdiction
        )

    @cached_property
    def titles(self) -> Words:
        """Titles of the criteria, by id."""
        return {
            name: criterion.title
            for lane in self.comparison.lanes
            for cell in lane.cells
            for name, criterion in cell.packs.criteria.items()
        }
