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
from engine.cli.rules.form import form_option, place_to_json, print_json
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

The JSON: {passed, failed, results}. A result is {kind, subject, as_of, file, line, expected, found, passed, problem}.

Exit codes: 0 all passed; 1 a case failed or cannot be read; 2 wrong usage."""
)
@form_option
@engines_option
@folder_option
@overlay_option
@click.pass_context
def test(ctx: click.Context, *, folder: Path, overlays: tuple[Path, ...], engines: str, form: str) -> None:
    """Run the cases beside the rules through both engines, and list those that fail.

    The cases of drafts and of retired packs are left out.
    """
    book = load_rules(folder, overlays, is_locked=False)
    cases, faults = read_cases(folder, book, overlays)
    if faults:
        raise RulePackError(faults)
    results: list[Outcome] = []
    with Rehearsal(book, "both" if engines == "both" else "interpret") as rehearsal:
        for case in _watched(cases):
            outcomes = list(rehearsal.run(case))
            results += [o for o in outcomes if o.problem][:1] or outcomes[:1]
    failures = [outcome for outcome in results if outcome.problem]
    passed = len(results) - len(failures)
    if form == "json":
        print_json({"passed": passed, "failed": len(failures), "results": [_as_json(folder, o) for o in results]})
        ctx.exit(FAULT if failures else GOOD)
    if failures:
        width = None if sys.stdout.isatty() else _PLAIN_WIDTH
        Console(highlight=False, width=width).print(_table(folder, failures))
    click.echo(f"{passed} passed, {len(failures)} failed")
    ctx.exit(FAULT if failures else GOOD)


def _as_json(folder: Path, outcome: Outcome) -> dict[str, object]:
    case = outcome.case
    return {
        "kind": case.kind,
        "subject": case.subject,
        "as_of": case.as_of.isoformat(),
        **place_to_json(folder, case.located),
        "expected": case.expected,
        "found": outcome.actual or None,
        "passed": not outcome.problem,
        "problem": outcome.problem,
    }


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
