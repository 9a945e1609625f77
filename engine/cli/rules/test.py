"""`eligibility rules test`: runs the cases beside the rules."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - click reads the annotations
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from engine.cli.invocation import FAULT, GOOD, engines_option, overlay_option
from engine.cli.rules.folder import folder_option
from engine.errors import RulePackError
from engine.evaluator.rehearse import Outcome, Rehearsal
from engine.pack.cases import read_cases
from engine.pack.load import load_rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.pack.cases import Case

_PLAIN_WIDTH = 160


@click.command(
    epilog="""Example: eligibility rules test

Exit codes: 0 all passed; 1 a case failed or cannot be read; 2 wrong usage."""
)
@engines_option
@folder_option
@overlay_option
@click.pass_context
def test(ctx: click.Context, *, folder: Path, overlays: tuple[Path, ...], engines: str) -> None:
    """Run the cases beside the rules through both engines, and list those that fail.

    The cases of drafts and of retired packs are left out.
    """
    book = load_rules(folder, overlays, is_locked=False)
    cases, faults = read_cases(folder, book, overlays)
    if faults:
        raise RulePackError(faults)
    passed, failures = 0, []
    with Rehearsal(book, "both" if engines == "both" else "interpret") as rehearsal:
        for case in _watched(cases):
            outcomes = list(rehearsal.run(case))
            bad = [o for o in outcomes if o.problem]
            passed += bool(outcomes) and not bad
            failures += bad[:1]
    if failures:
        width = None if sys.stdout.isatty() else _PLAIN_WIDTH
        Console(highlight=False, width=width).print(_table(folder, failures))
    click.echo(f"{passed} passed, {len(failures)} failed")
    ctx.exit(FAULT if failures else GOOD)


def _watched(cases: Sequence[Case]) -> Iterator[Case]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield from cases
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(cases, description="cases")


def _table(folder: Path, failures: Sequence[Outcome]) -> Table:
    table = Table("place", "subject", "problem", box=None, pad_edge=False)
    for outcome in failures:
        located = outcome.case.located
        line, _ = located.source.place(located.path)
        place = f"{(folder / located.source.file).as_posix()}:{line}"
        table.add_row(place, outcome.case.subject, outcome.problem)
    return table
