"""A comparison as text for a person at a terminal: the days that were asked, what turned when, and what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from engine.cli.layout import bullets, indented, listed, stack
from engine.cli.sheet import PLAIN_WIDTH, STYLES
from engine.cli.strict_json import printable
from engine.compare.stretches import ABSENT, answer_of, outcome_words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from rich.console import Console, RenderableType

    from engine.cli.case_file import Case
    from engine.compare.comparison import Comparison
    from engine.compare.contrast import Contrast, Difference
    from engine.compare.stretches import Answer, Span

_LONGEST_WORD = 12
_READ = {"read", "engine", ""}


def print_comparison(console: Console, case: Case, comparison: Comparison) -> None:
    """Print a comparison; the console has colors only if it is a terminal."""
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    with console.capture() as written:
        for part in _parts(case, comparison):
            console.print(part)
    console.file.writelines(f"{line.rstrip()}\n" for line in written.get().splitlines())


def _parts(case: Case, comparison: Comparison) -> Iterator[RenderableType]:
    base, *others = (lane.jurisdiction for lane in comparison.lanes)
    payer = f", payer {comparison.payer_id}" if comparison.payer_id else ""
    against = f"; compared with {base}: {', '.join(others)}" if others else ""
    name = f"{case.id}  {printable(case.title)}".rstrip()
    if comparison.is_urgent:
        yield Panel(stack(_first(comparison)), title=Text(f"FIRST, FOR {case.id}"), border_style="bold red")
    yield Text.assemble((name, "bold"), f"\nThe patient as of {comparison.own_day}{payer}. Rules of {base}{against}.")
    yield Text()
    for day in comparison.days:
        yield _on_day(comparison, day)
        yield Text()
    if comparison.has_range:
        yield from _over_time(comparison)
    yield from _turns(comparison)
    for place in range(1, len(comparison.lanes)):
        yield from _against_base(comparison, comparison.lanes[place].jurisdiction)
    decision = comparison.lanes[0].cells[0].decision
    ran = "both engines, which agree" if decision.engines.mode == "both" else "one engine; nothing was compared"
    late = [lane for lane in comparison.lanes if lane.cells[-1].span.last > lane.reviewed_on]
    if late:
        said = ", ".join(f"{lane.jurisdiction} {lane.reviewed_on}" for lane in late)
        yield Text(f"Rules were last reviewed on: {said}. What changes later is not known.", "dim")
    yield Text(f"Each answer was computed by {ran}. `eligibility rules show ID` has the sources of a criterion.", "dim")
    yield Text(decision.disclaimer, "dim italic")
    yield Text()


def _first(comparison: Comparison) -> Iterator[RenderableType]:
    """What cannot wait for a comparison of rules."""
    triage = comparison.triage
    provisional = " (provisional)" if triage.provisional else ""
    style = "bold" if comparison.is_open_only else "bold red"
    yield Text.assemble("Suicide risk: ", (triage.level.upper(), style), provisional)
    for state, heading in (("required", "Refer"), ("unresolved", "Rule out now")):
        due = [r for r in comparison.emergencies if r.state == state]
        rows = (Text(f"{r.title}: {printable(r.because)} [{', '.join(r.criteria)}]") for r in due)
        yield from listed(heading, rows, "bold red")


# The days that were asked


def _on_day(comparison: Comparison, day: date) -> Table:
    heading = f"By the rules of {day}" + (", the patient's own day" if day == comparison.own_day else "")
    table = Table(title=Text(heading, "bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, expand=True)
    table.add_column("", min_width=_LONGEST_WORD, ratio=1)
    for lane in comparison.lanes:
        table.add_column(lane.jurisdiction, ratio=1, overflow="fold")
    cells = [lane.on(day) for lane in comparison.lanes]
    for subject in comparison.subjects:
        answers = [answer_of(cell, subject) for cell in cells]
        if any(answer.outcome != ABSENT for answer in answers):
            table.add_row(comparison.title(subject), *(_cell(a, answers[0]) for a in answers))
    return table


def _cell(answer: Answer, base: Answer) -> Text:
    mark = "* " if answer.outcome != base.outcome else ""
    return Text.assemble(mark, _outcome(answer), ("\n" + " ".join(answer.criteria)).rstrip("\n"), style="")


# What turned when


def _over_time(comparison: Comparison) -> Iterator[RenderableType]:
    for subject in comparison.options:
        grid = Table.grid(padding=(0, 2))
        for lane in comparison.lanes:
            for place, stretch in enumerate(lane.stretches(subject)):
                answer = answer_of(stretch.cells[0], subject)
                name = "" if place else lane.jurisdiction
                grid.add_row(name, _days(stretch.span), _outcome(answer), Text(" ".join(answer.criteria), "dim"))
        yield Text(f"{comparison.title(subject)}, by the day of the rules", "bold")
        yield indented(grid)
        yield Text()


def _turns(comparison: Comparison) -> Iterator[RenderableType]:
    if comparison.turns:
        yield Text("What changes with the day, and why", "bold")
        for contrast in comparison.turns:
            heading = f"{contrast.cells[0].jurisdiction}, {contrast.span.first}, {comparison.title(contrast.subject)}: "
            yield from _contrast(contrast, heading, is_detailed=contrast.has_other_outcome)
        yield Text()
    elif comparison.has_range:
        yield Text("Nothing changes with the day.")
        yield Text()


# What differs from the base


def _against_base(comparison: Comparison, jurisdiction: str) -> Iterator[RenderableType]:
    base = comparison.lanes[0].jurisdiction
    found = [c for c in comparison.contrasts if c.cells[1].jurisdiction == jurisdiction]
    yield Text(f"What differs in {jurisdiction} from {base}, and why", "bold")
    if not found:
        yield indented(Text("Nothing: the same answers by the same criteria."))
    for contrast in found:
        is_detailed = contrast.has_other_outcome and contrast.is_on(comparison.days)
        heading = f"{comparison.title(contrast.subject)}, {_days(contrast.span)}: "
        yield from _contrast(contrast, heading, is_detailed=is_detailed)
    yield Text()


def _contrast(contrast: Contrast, heading: str, *, is_detailed: bool) -> Iterator[RenderableType]:
    one, other = contrast.answers
    between = " → " if contrast.is_in_time else f" in {contrast.cells[0].jurisdiction}, "
    end = "" if contrast.is_in_time else f" in {contrast.cells[1].jurisdiction}"
    if one.outcome == other.outcome:
        said = Text.assemble(heading, "still " if contrast.is_in_time else "", _outcome(one), ", by other criteria")
    else:
        said = Text.assemble(heading, _outcome(one), between, _outcome(other), end)
    yield indented(said)
    if is_detailed:
        yield bullets((_difference(contrast, d) for d in contrast.differences), indent=4)
    else:
        yield indented(indented(Text(_in_short(contrast), "dim")))


def _in_short(contrast: Contrast) -> str:
    sides = []
    for place, words in enumerate(contrast.places):
        ids = [d.id for d in contrast.differences if d.decides == (place,)]
        sides += [f"{words}: {' '.join(ids)}"] if ids else []
    return "; ".join(sides) or "No criterion decides one of them only."


def _difference(contrast: Contrast, difference: Difference) -> RenderableType:
    where = " and ".join(contrast.places[place] for place in difference.decides)
    held = "holds the status" if difference.is_holding else "decides"
    head = Text.assemble((difference.title, "bold"), (f" [{difference.id}]", "dim"), f", {held} {where}.")
    lines: list[RenderableType] = [head, *([Text(printable(difference.sentence))] if difference.sentence else [])]
    lines += [indented(Text(f"{i.title} [{i.id}]: {printable(i.sentence)}", "dim")) for i in difference.indications]
    lines.append(Text(printable(contrast.why(difference))))
    if difference.confirmed not in _READ:
        lines.append(Text(f"The source is {difference.confirmed}.", "dim"))
    return stack(lines)


def _outcome(answer: Answer) -> Text:
    return Text(outcome_words(answer.outcome), STYLES.get(answer.outcome, "bold"))


def _days(span: Span) -> str:
    return str(span.first) if span.is_one_day else f"{span.first} to {span.last}"
