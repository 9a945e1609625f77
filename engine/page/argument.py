"""The argument of a decision over all options: each criterion once, on its side, with the options it speaks to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from engine.page.render import Case, Entry, Group, Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SIDES = ("for", "against", "deferring", "cautioning", "unresolved", "informing")
_BARRING = frozenset({"contraindicates", "excludes", "advises_against"})


@dataclass(frozen=True)
class Argument:
    """The criteria of a decision in reading order."""

    case: Case

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The criteria that speak, by side, each once with the options it speaks to; those that decide come first."""
        found: dict[str, dict[str, Entry]] = {side: {} for side in _SIDES}
        for option in self.case.options:
            for group in (g for groups in option.ledger.values() for g in groups):
                for entry in group.entries:
                    self._add(found[group.side], entry, option.answer.title)
        headings = {g.side: g.heading for o in self.case.options for groups in o.ledger.values() for g in groups}
        return tuple(
            Group(side, headings[side], tuple(sorted(entries.values(), key=lambda e: not e.is_deciding)))
            for side, entries in found.items()
            if entries
        )

    @cached_property
    def not_met(self) -> tuple[Entry, ...]:
        """What would have spoken for an option, is not met, and decides nothing."""
        listed = {e.finding.id for e in self._entries()}
        found: dict[str, Entry] = {}
        for option in self.case.options:
            for entry in (e for e in option.not_met if e.finding.id not in listed):
                self._add(found, entry, option.answer.title)
        return tuple(found.values())

    @staticmethod
    def _add(found: dict[str, Entry], entry: Entry, title: str) -> None:
        seen = found.get(entry.finding.id, entry)
        is_deciding = seen.is_deciding or entry.is_deciding
        found[entry.finding.id] = replace(seen, is_deciding=is_deciding, options=(*seen.options, title))

    @cached_property
    def anchors(self) -> Mapping[str, str]:
        """Where each criterion stands on this page."""
        placed = [e for g in self.plans.values() for lines in g.values() for line in lines if (e := line.entry)]
        placed += [*self.not_met, *self._entries()]
        return {e.finding.id: e.anchor for e in placed}

    def _entries(self) -> Iterator[Entry]:
        return (e for group in self.groups for e in group.entries)

    def _of_side(self, side: str) -> Iterator[Entry]:
        return (e for group in self.groups if group.side == side for e in group.entries)

    @property
    def barring(self) -> tuple[Entry, ...]:
        """The contraindications, exclusions and hazards that hold."""
        return tuple(e for e in self._of_side("against") if e.finding.effect in _BARRING and e.finding.truth == "met")

    @property
    def deferring(self) -> tuple[Entry, ...]:
        """What an option waits for."""
        return tuple(self._of_side("deferring"))

    @property
    def cautioning(self) -> tuple[Entry, ...]:
        """What else is to be weighed or watched."""
        return tuple(self._of_side("cautioning"))

    @property
    def not_ruled_out(self) -> tuple[Entry, ...]:
        """The same as `barring`, of what is not known."""
        return tuple(e for e in self._of_side("unresolved") if e.finding.effect in _BARRING)

    @property
    def plans(self) -> Mapping[str, Mapping[str, tuple[Line, ...]]]:
        """The lines of the plan, dosing, monitoring and notes: by the options that share them, then by heading."""
        titles: dict[str, list[str]] = {}
        shown = [(o.answer.title, heading, lines) for o in self.case.options for heading, lines in o.shown]
        for title, _, lines in shown:
            for line in lines:
                titles.setdefault(line.item.id, []).append(title)
        found: dict[str, dict[str, dict[str, Line]]] = {}
        for _, heading, lines in shown:
            for line in lines:
                group = found.setdefault(", ".join(titles[line.item.id]), {})
                group.setdefault(heading, {}).setdefault(line.item.id, line)
        return {names: {h: tuple(lines.values()) for h, lines in group.items()} for names, group in found.items()}

    @property
    def citations(self) -> Mapping[str, str]:
        """The title of each source that is cited, by key; for paper, where each criterion names the key alone."""
        entries = (*self.case.triage, *self.case.coverage, *self._entries())
        return dict(sorted({r.source: r.title for e in entries for r in e.finding.references}.items()))
