"""The payer's side of a decision as text: what its rules are a copy of, and what they rest on as a checklist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from engine.cli.layout import indented
from engine.cli.strict_json import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from rich.console import RenderableType

    from engine.evaluator.decision import CoverageAnswer, CriterionDates, DocumentationItem

_STATES = {
    "documented": ("✓", "documented", "green"),
    "self_reported": ("~", "self-reported", "yellow"),
    "stated": ("~", "stated", "yellow"),
    "missing": ("✗", "missing", "bold red"),
}
_PLAIN = {"✓": "+", "✗": "-"}
"""What stands for a mark where the output has no such letter."""


def standing_lines(coverage: CoverageAnswer) -> Iterator[RenderableType]:
    """Say what the payer's rules are a copy of, and when each criterion listed is in force."""
    yield indented(Text(coverage.standing, "bold"))
    if coverage.dates:
        yield indented(Text(f"In force: {'; '.join(map(_period, coverage.dates))}."))


def checklist(
    items: Iterable[DocumentationItem], awaited: AbstractSet[str], *, is_ascii: bool = False
) -> Iterator[RenderableType]:
    """Give the checklist as a table; nothing at all without items.

    Args:
        items: what the payer's criteria rest on.
        awaited: the facts that the payer's answer waits for.
        is_ascii: leave out letters that not every output has.

    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("State", no_wrap=True)
    table.add_column("What the criteria rest on", ratio=2)
    table.add_column("As recorded", ratio=3)
    table.add_column("For", no_wrap=True, style="dim")
    for item in items:
        mark, words, style = _STATES[item.state]
        said = Text("\n").join(_said(item, is_awaited=item.fact in awaited))
        state = f"{_PLAIN.get(mark, mark) if is_ascii else mark} {words}"
        table.add_row(Text(state, style), Text(item.label), said, Text("\n".join(item.criteria)))
    if table.row_count:
        yield indented(Text("Documentation", "bold"))
        yield indented(table)


def _period(dates: CriterionDates) -> str:
    ends = [f"{word} {day}" for word, day in (("from", dates.effective_from), ("until", dates.effective_until)) if day]
    return " ".join([dates.criterion, *(ends or ["undated"])])


def _said(item: DocumentationItem, *, is_awaited: bool) -> Iterator[Text]:
    if item.value is not None:
        yield Text(printable(item.value))
    if origin := ", ".join(filter(None, (item.date, printable(item.source)))):
        yield Text(origin, "dim")
    if item.lacking:
        yield Text(f"Not recorded: {', '.join(item.lacking)}.", "yellow")
    if item.reason:
        yield Text(f"Cannot be used: {item.reason}.", "yellow")
    if item.question:
        yield Text(item.question)
    if item.question and is_awaited:
        yield Text("The payer's answer waits for it.", "bold")
