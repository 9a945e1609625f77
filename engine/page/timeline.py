"""The antidepressant trials against the current episode: what each came to, and where it lies on a line of time.

What is not recorded is drawn as not recorded: no date is guessed, no bar is longer than the dates say.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from engine.compiler import form
from engine.evaluator.inputs import prepare
from engine.evaluator.records import lacking
from engine.trials import EPISODE_START

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from engine.compiler.packset import PackSet
    from engine.dictionary import Typed
    from engine.evaluator.agree import Evaluation
    from engine.evaluator.decision import Truth
    from engine.facts import TrialRecord
    from engine.pack.book import RuleBook

TRIALS = "trials"

LANE = 52
AXIS = 24
_STUB = 5.0
_LEAST = 0.8
_MONTHS = (1, 3, 6, 12, 24, 60, 120)
_MOST_TICKS = 4
_LAST_TICK = 85.0
_MIDDLE = 50.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial in words; a text is empty and a date None where nothing is recorded.

    `counts` says whether it counts as an adequate trial that failed in this episode; `because` why it does not, or what
    keeps that from being known.
    """

    drug: str
    dose: str
    weeks: str
    adherence: str
    outcome: str
    improvement: str
    role: str
    evidence: str
    began: date | None
    ended: date | None
    is_ongoing: bool | None
    counts: Truth
    because: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class History:
    """The trials as they were recorded. `episode_start` is None while it is not known, `is_complete` likewise."""

    as_of: date
    episode_start: date | None
    is_complete: bool | None
    trials: tuple[Trial, ...]


def read_history(book: RuleBook, packs: PackSet, evaluation: Evaluation) -> History | None:
    """Put the trials of an evaluation into words; None where the list of trials is missing.

    Args:
        book: the rules that were evaluated.
        packs: the compiled packs that answered (`Evaluator.pack_set`).
        evaluation: what was read and what the engines concluded about each trial.

    """
    given = evaluation.read.records.get(TRIALS)
    if given is None:
        return None
    known = evaluation.read.known
    start, complete = known.get(EPISODE_START), known.get(packs.compiled.completeness.get(TRIALS, ""))
    reader = _Reader(book, packs, evaluation)
    return History(
        as_of=evaluation.read.as_of,
        episode_start=start.value if start and isinstance(start.value, date) else None,
        is_complete=complete.value if complete and isinstance(complete.value, bool) else None,
        trials=tuple(reader.trial(position, record) for position, record in enumerate(given)),
    )


class _Reader:
    def __init__(self, book: RuleBook, packs: PackSet, evaluation: Evaluation) -> None:
        self.book = book
        self.fields = book.fields[TRIALS]
        self.inputs = prepare(book, packs, evaluation.read).records[TRIALS] or ()
        self.concluded = evaluation.values.records.get(TRIALS, ())
        self.graph = {node.name: node for node in packs.compiled.records[TRIALS].nodes}
        self.where = next(_counting(packs), "")
        self.discounts = {n: c for n, c in packs.criteria.items() if c.effect == "discounts" and c.of == TRIALS}

    def trial(self, position: int, record: TrialRecord) -> Trial:
        values = record.values
        truth = self.concluded[position].get(self.where) if self.concluded else None
        repeated = self._repeated(position) if truth is True else ()
        counts: Truth = "unknown" if truth is None else "met" if truth and not repeated else "not_met"
        began, ended, ongoing = (values.get(name) for name in ("start_date", "end_date", "ongoing"))
        return Trial(
            drug=self._drug(values),
            dose=self._words(values, "max_dose_mg"),
            weeks=self._words(values, "weeks_at_adequate_dose"),
            adherence=self._words(values, "adherence"),
            outcome=self._words(values, "outcome"),
            improvement=self._words(values, "improvement_pct"),
            role=self._words(values, "role"),
            evidence=self._words(values, "documentation"),
            began=began if isinstance(began, date) else None,
            ended=ended if isinstance(ended, date) else None,
            is_ongoing=ongoing if isinstance(ongoing, bool) else None,
            counts=counts,
            because=repeated or tuple(self._because(position, counts)),
        )

    def _drug(self, values: Mapping[str, Typed]) -> str:
        key = values.get("drug")
        drug = self.book.drugs.get(key) if isinstance(key, str) else None
        return drug.display if drug else str(key or "")

    def _words(self, values: Mapping[str, Typed], field: str) -> str:
        return self.fields[field].in_words(values[field]) if field in values else ""

    def _because(self, position: int, counts: Truth) -> Iterator[str]:
        if counts == "met":
            return
        concluded = self.concluded[position] if self.concluded else {}
        for name, criterion in self.discounts.items():
            if concluded.get(name) is True and (criterion.gives == "unknown") is (counts == "unknown"):
                yield criterion.title
        if counts == "unknown":
            absent = dict.fromkeys(self._absent(position))
            if absent:
                yield f"not recorded: {', '.join(absent)}"

    def _repeated(self, position: int) -> tuple[str, ...]:
        """Why a trial that failed adds nothing: an earlier one failed with the same drug."""
        return tuple(
            criterion.title
            for criterion in self.discounts.values()
            if criterion.repeats
            and any(self._is_like(earlier, position, criterion.repeats) for earlier in range(position))
        )

    def _is_like(self, earlier: int, position: int, field: str) -> bool:
        value = self.inputs[position].get(field)
        return (
            value is not None
            and self.inputs[earlier].get(field) == value
            and self.concluded[earlier].get(self.where) is True
        )

    def _absent(self, position: int) -> Iterator[str]:
        """Give the labels of what is not recorded and keeps a trial from being judged."""
        for name in lacking(self.graph, self.where, self.inputs[position], self.concluded[position]):
            yield self.fields[name].label if name in self.fields else self.book.facts[name].label


def _counting(packs: PackSet) -> Iterator[str]:
    """The node of a trial that says whether it counts for the indication of an option."""
    queue = [o.indication.trials for o in packs.options if o.indication and o.indication.trials]
    while queue:
        node = packs.nodes.get(queue.pop(0))
        if isinstance(node, form.CountNode) and node.records == TRIALS:
            yield node.where
        elif node is not None:
            queue += packs.reads[node.name]


@dataclass(frozen=True, slots=True)
class Lane:
    """One trial on the chart; x and width are percent of its width, y pixels.

    `is_open_left` and `is_open_right`: that end is not recorded, and the bar is only a stub. `note` says what cannot be
    drawn.
    """

    trial: Trial
    y: int
    x: float = 0.0
    width: float = 0.0
    is_open_left: bool = False
    is_open_right: bool = False
    note: str = ""

    @property
    def is_note_left(self) -> bool:
        """Whether the note stands left of the stub, where there is room."""
        return self.x > _MIDDLE


@dataclass(frozen=True, slots=True)
class Chart:
    """Lanes on one line of time. `episode_x` is where the current episode began; None while that is not known."""

    lanes: tuple[Lane, ...]
    ticks: tuple[tuple[float, str], ...]
    episode_x: float | None
    height: int


def draw(history: History) -> Chart | None:
    """Lay out the trials in time; None where no trial has a date, so that there is nothing to draw."""
    days = [d for t in history.trials for d in (t.began, t.ended) if d]
    if not days:
        return None
    first = min([*days, *([history.episode_start] if history.episode_start else [])])
    scale = _Scale(first, max(history.as_of, *days))
    return Chart(
        lanes=tuple(_lane(trial, AXIS + LANE * place, history, scale) for place, trial in enumerate(history.trials)),
        ticks=tuple(scale.ticks()),
        episode_x=scale.x(history.episode_start) if history.episode_start else None,
        height=AXIS + LANE * len(history.trials),
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    first: date
    last: date

    def x(self, day: date) -> float:
        return round(100 * (day - self.first).days / max((self.last - self.first).days, 1), 2)

    def ticks(self) -> Iterator[tuple[float, str]]:
        months = (self.last.year - self.first.year) * 12 + self.last.month - self.first.month
        step = next((m for m in _MONTHS if months // m <= _MOST_TICKS), months)
        since = self.first.year * 12 + self.first.month - 1
        for month in range(-(-since // step) * step, since + months + 1, step):
            day = date(month // 12, month % 12 + 1, 1)
            if self.first <= day and self.x(day) <= _LAST_TICK:
                yield self.x(day), f"{day:%Y-%m}" if step % 12 else f"{day:%Y}"


def _lane(trial: Trial, y: int, history: History, scale: _Scale) -> Lane:
    end = history.as_of if trial.is_ongoing else trial.ended
    if trial.began and end:
        if end < trial.began:
            return Lane(trial, y, note="its end lies before its beginning")
        x = scale.x(trial.began)
        return Lane(trial, y, x, max(_LEAST, round(scale.x(end) - x, 2)))
    if trial.began:
        return Lane(trial, y, scale.x(trial.began), _STUB, is_open_right=True, note="end not recorded")
    if end:
        x = scale.x(end)
        return Lane(trial, y, max(0.0, x - _STUB), _STUB, is_open_left=True, note="beginning not recorded")
    return Lane(trial, y, note="dates not recorded")
