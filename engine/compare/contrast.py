"""Two answers about one patient side by side: which criteria decide one of them only, and why not the other.

Two answers lie on two days of one jurisdiction, or in two jurisdictions on the same days. The patient is the same in
both, so whatever differs comes from the rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby, pairwise, product
from typing import TYPE_CHECKING, Literal, TypeAlias

from engine.compare.standing import Standing, rests_on
from engine.compare.stretches import (
    Span,
    answer_of,
    are_neighbors,
    subjects_of,
)
from engine.truth import word

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from engine.compare.stretches import Answer, Cell, Lane
    from engine.evaluator.decision import Citation, Truth
    from engine.pack.model import Period

Reason: TypeAlias = Literal["no_such_rule", "not_in_force", "replaced", "other_truth", "not_deciding"]
"""Why a criterion does not decide on one side.

It does not exist there; it is not in force on that day; another criterion takes its place; its truth is another one; or
it stands as it does on the other side, but what decides is something else.
"""


@dataclass(frozen=True, slots=True)
class Indication:
    """An indication that stands behind a conclusion, and what it says of the patient."""

    id: str
    title: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A criterion that decides one of two answers only.

    Attributes:
        id: its id.
        effect: what it does where it decides.
        title: what it is about.
        sentence: what it says of the patient where it decides.
        references: its sources.
        confirmed: how far these were read.
        decides: the place where it decides: 0 for the one, 1 for the other; both where it decides with another truth.
        is_holding: whether it holds an option's status down there.
        reason: why it does not decide in the other place, or decides otherwise.
        truth: its truth in the other place; None where it has none.
        sentence_there: what it says of the patient in the other place; empty where it says nothing.
        period: in the other place, the days on which it is in force, if it has dates.
        instead: the criterion that stands in its place there.
        through: in words, what it rests on that is not the same in both places.
        indications: of a conclusion that no indication is met, or that this is unknown: those where it decides.

    """

    id: str
    effect: str
    title: str
    sentence: str
    references: tuple[Citation, ...]
    confirmed: str
    decides: tuple[int, ...]
    is_holding: bool
    reason: Reason
    truth: Truth | None = None
    sentence_there: str = ""
    period: Period | None = None
    instead: str = ""
    through: tuple[str, ...] = ()
    indications: tuple[Indication, ...] = ()

    def why(self, there: str) -> str:
        """Say why it does not decide in the other place, or decides otherwise; `there` is such as `in EU`."""
        match self.reason:
            case "no_such_rule":
                place = f", where {self.instead} stands in its place" if self.instead else ""
                return f"There is no such rule {there}{place}."
            case "not_in_force":
                return f"Not in force {there}{_period_words(self.period)}."
            case "replaced":
                return f"{self.instead} takes its place {there}."
            case "not_deciding":
                return f"The same {there}, but something else decides."
            case "other_truth":
                through = f" It rests on: {'; '.join(self.through)}." if self.through else ""
                return f"{self._truth_words(there)}{through}"

    def _truth_words(self, there: str) -> str:
        if self.effect == "requires":
            return f"Nothing that it asks for is lacking {there}."
        if self.truth is None:
            return f"This does not follow {there}."
        said = f" {self.sentence_there}" if self.sentence_there else ""
        return f"{'Not known' if self.truth == 'unknown' else self.truth.replace('_', ' ').capitalize()} {there}.{said}"


def _period_words(period: Period | None) -> str:
    if period is None:
        return ""
    begins = f" from {period.from_.isoformat()}" if period.from_ else ""
    if period.until is None:
        return f": it is in force{begins} on" if begins else ""
    return f": it is in force{begins} up to {(period.until - timedelta(days=1)).isoformat()}"


@dataclass(frozen=True)
class Contrast:
    """Two answers to one subject that differ.

    Attributes:
        subject: an option's id, `triage`, `coverage` or `referral: KIND`.
        cells: where each was given.
        span: the days for which it is so; of two stretches of one jurisdiction, the first day of the later one.
        differences: the criteria that make the difference, those that hold a status down first.

    """

    subject: str
    cells: tuple[Cell, Cell]
    span: Span
    differences: tuple[Difference, ...]

    @property
    def answers(self) -> tuple[Answer, Answer]:
        """The two answers."""
        one, other = self.cells
        return answer_of(one, self.subject), answer_of(other, self.subject)

    @property
    def is_in_time(self) -> bool:
        """Whether it lies between two days of one jurisdiction."""
        return self.cells[0].jurisdiction == self.cells[1].jurisdiction

    @property
    def places(self) -> tuple[str, str]:
        """Name the two places, as in `decides until 2025-01-20` or `decides in EU`."""
        one, other = self.cells
        if not self.is_in_time:
            return f"in {one.jurisdiction}", f"in {other.jurisdiction}"
        last, first = one.span.last.isoformat(), other.span.first.isoformat()
        # The rules of the days that lie between were not asked.
        return (f"until {last}", f"from {first} on") if are_neighbors(one, other) else (f"on {last}", f"on {first}")

    def why(self, difference: Difference) -> str:
        """Say why a criterion does not decide in the other place."""
        return difference.why(self.places[1 - difference.decides[0]])

    def is_on(self, days: Iterable[date]) -> bool:
        """Whether it holds on one of these days."""
        return any(self.span.holds(day) for day in days)

    @property
    def has_other_outcome(self) -> bool:
        """Whether the answers themselves differ, and not only what decides them."""
        return self.answers[0].outcome != self.answers[1].outcome


def turns(lane: Lane) -> Iterator[Contrast]:
    """Give what changes in one jurisdiction from one stretch to the next that was asked, by day."""
    for one, other in pairwise(lane.cells):
        for subject in subjects_of((one, other)):
            contrast = _contrast(subject, one, other, Span(other.span.first, other.span.first))
            if contrast is not None:
                yield contrast


def between(base: Lane, other: Lane) -> Iterator[Contrast]:
    """Give what differs between two jurisdictions on the same days, subject by subject."""
    pairs = [
        (one, two, shared)
        for one, two in product(base.cells, other.cells)
        if (shared := one.span.within(two.span)) is not None
    ]
    pairs.sort(key=lambda pair: pair[2])
    for subject in subjects_of((*base.cells, *other.cells)):
        found = [_contrast(subject, *pair) for pair in pairs]
        for _, alike in groupby(found, key=_what_differs):
            yield from _joined([c for c in alike if c is not None])


def _what_differs(contrast: Contrast | None) -> object:
    if contrast is None:
        return None
    return contrast.answers, [(d.id, d.decides, d.reason, d.truth, d.through) for d in contrast.differences]


def _joined(alike: list[Contrast]) -> Iterator[Contrast]:
    """Join contrasts that say the same on days that follow each other."""
    start = 0
    for place, contrast in enumerate(alike):
        following = alike[place + 1] if place + 1 < len(alike) else None
        if following is None or (following.span.first - contrast.span.last).days > 1:
            first = alike[start]
            yield Contrast(first.subject, first.cells, Span(first.span.first, contrast.span.last), first.differences)
            start = place + 1


def _contrast(subject: str, one: Cell, other: Cell, span: Span) -> Contrast | None:
    """Compare two answers; None where they are the same."""
    answers = answer_of(one, subject), answer_of(other, subject)
    if answers[0] == answers[1]:
        return None
    sides = Standing(one, subject), Standing(other, subject)
    found = [d for d in (_difference(name, sides, answers) for name in _named(answers)) if d is not None]
    found.sort(key=lambda d: not d.is_holding)
    return Contrast(subject, (one, other), span, tuple(found))


def _named(answers: tuple[Answer, Answer]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*answers[0].criteria, *answers[1].criteria)))


def _difference(name: str, sides: tuple[Standing, Standing], answers: tuple[Answer, Answer]) -> Difference | None:
    decides = tuple(place for place in (0, 1) if name in answers[place].criteria)
    if len(decides) > 1 and sides[0].truth(name) is sides[1].truth(name):
        return None
    here, there = sides[decides[0]], sides[1 - decides[0]]
    reason = _reason(name, here, there)
    exists = reason != "no_such_rule"
    return Difference(
        id=name,
        effect=here.effect(name),
        title=here.title(name),
        sentence=here.sentence(name),
        references=here.citations(name),
        confirmed=here.confirmed(name),
        decides=decides,
        is_holding=name in answers[decides[0]].holding,
        reason=reason,
        truth=word(there.truth(name)) if exists and there.has_truth(name) else None,
        sentence_there=there.sentence(name) if exists else "",
        period=there.period(name) if exists else None,
        instead=there.taken_by(name) if exists else here.takes_place_of(name, there),
        through=rests_on(name, here, there) if reason == "other_truth" else (),
        indications=tuple(Indication(n, here.title(n), here.sentence(n)) for n in here.indications_behind(name)),
    )


def _reason(name: str, here: Standing, there: Standing) -> Reason:
    if not there.exists(name):
        return "no_such_rule"
    if not there.is_in_force(name):
        return "not_in_force"
    if there.taken_by(name):
        return "replaced"
    return "not_deciding" if there.is_like(here, name) else "other_truth"
