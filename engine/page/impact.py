"""An impact analysis as one page that stands alone, made of the report as it was logged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.page.charts import MERGED, MERGED_CHANGES, Flow, Segment, bar, flow
from engine.page.environment import Words, environment, words

if TYPE_CHECKING:
    from collections.abc import Mapping

BUCKETS: Words = {
    "unchanged": "would be the same",
    "changed": "would differ",
    "not_evaluable": "the candidate needs a fact that was never asked",
    "error": "the candidate gave no answer",
    "shredded": "erased",
    "unreadable": "cannot be opened or read",
    "logged_error": "had got no decision",
    "not_a_decision": "other entries, no decisions",
}
_COLUMNS = ("then", "now", "lost", "gained")


def render_impact(report: Mapping[str, Any], titles: Mapping[str, str] | None = None) -> str:
    """Render the report of an impact analysis as one self-contained HTML page.

    Args:
        report: what `ImpactReport.to_json` gave.
        titles: words for options and criteria, by id.

    """
    runs = [_Run("stored", "On the facts as they were logged", report["stored"])]
    if report["requests"] is not None:
        runs.append(_Run("requests", "On the requests, read anew by the candidate", report["requests"]))
    template = environment().get_template("impact.html.j2")
    return template.render(report=report, runs=runs, titles=dict(titles or {}), buckets=BUCKETS)


@dataclass(frozen=True, slots=True)
class _Merged:
    """Turns that are not shown apart; whether `none`, `all` or `some` of them are changes."""

    changes: str
    keys: int
    count: int


@dataclass(frozen=True, slots=True)
class _Subject:
    """What became of one option, of triage, of coverage or of a kind of referral.

    `turns` are what is shown, as (was, would be, count), changes first.
    """

    name: str
    turns: tuple[tuple[str, str, int], ...]
    merged: tuple[_Merged, ...]

    @property
    def title(self) -> str:
        return words(self.name)

    @property
    def total(self) -> int:
        return sum(count for _, _, count in self.turns) + sum(merged.count for merged in self.merged)

    @property
    def changed(self) -> int:
        """How many are known to have moved."""
        moved = sum(count for old, new, count in self.turns if old != new)
        return moved + sum(merged.count for merged in self.merged if merged.changes == "all")

    @property
    def has_hidden(self) -> bool:
        """Whether a few moved, of which it is not told how many."""
        return any(merged.changes == "some" for merged in self.merged)

    @property
    def is_still(self) -> bool:
        return not self.changed and not self.has_hidden

    @property
    def flow(self) -> Flow:
        names = [MERGED_CHANGES if merged.changes == "all" else MERGED for merged in self.merged]
        hidden = [(name, name, merged.count) for name, merged in zip(names, self.merged, strict=True)]
        return flow([*self.turns, *hidden])


@dataclass(frozen=True, slots=True)
class _Criterion:
    """A criterion's counts; None where a count was merged with others."""

    name: str
    counts: Mapping[str, int | None]

    @property
    def is_still(self) -> bool:
        """Whether it holds as many as before, and makes no difference that is shown."""
        return self.counts["then"] == self.counts["now"] and not self.counts["lost"] and not self.counts["gained"]


@dataclass(frozen=True, slots=True)
class _Run:
    """One pass over the log in reading order."""

    anchor: str
    heading: str
    data: Mapping[str, Any]

    @property
    def counts(self) -> Mapping[str, int]:
        counts: Mapping[str, int] = self.data["buckets"]
        return counts

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def compared(self) -> int:
        return self.counts["unchanged"] + self.counts["changed"]

    @property
    def bar(self) -> tuple[Segment, ...]:
        return bar(self.counts)

    @property
    def subjects(self) -> tuple[_Subject, ...]:
        """Subjects, those that move first."""
        found = []
        for item in self.data["turns"]:
            turns = [(turn["old"], turn["new"], turn["count"]) for turn in item["shown"]]
            turns.sort(key=lambda turn: turn[0] == turn[1])
            found.append(_Subject(item["subject"], tuple(turns), tuple(_Merged(**m) for m in item["merged"])))
        return tuple(sorted(found, key=lambda s: s.is_still))

    @property
    def criteria(self) -> tuple[_Criterion, ...]:
        """Criteria, those that make the most difference first."""
        columns = {c: {row["criterion"]: row["count"] for row in self.data["criteria"][c]["shown"]} for c in _COLUMNS}
        names = {name for column in columns.values() for name in column}
        rows = [
            _Criterion(
                name, {c: column.get(name, None if self.merged[c]["count"] else 0) for c, column in columns.items()}
            )
            for name in names
        ]
        return tuple(
            sorted(rows, key=lambda r: (*(-(r.counts[c] or 0) for c in ("lost", "gained", "now", "then")), r.name))
        )

    @property
    def merged(self) -> Mapping[str, Mapping[str, int]]:
        return {column: self.data["criteria"][column]["merged"] for column in _COLUMNS}

    @property
    def most(self) -> int:
        """The largest difference that one criterion makes alone; the scale of its bars."""
        return max(
            (count or 0 for row in self.criteria for c in ("lost", "gained") for count in [row.counts[c]]), default=0
        )

    @property
    def reasons(self) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = self.data["reasons"]
        return found
