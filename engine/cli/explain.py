"""`eligibility explain`: the whole argument for each answer, with the facts that were read and the sources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
from rich.console import Console

from engine.cli.invocation import (
    EXIT_CODES,
    GOOD,
    complain,
    engines_option,
    open_engines,
    open_output,
    overlay_option,
    rules_options,
    worst,
)
from engine.cli.output import as_line, decision_to_json
from engine.cli.panel import Decided, Undecided, decide, expand, watched
from engine.cli.sheet import print_sheet

if TYPE_CHECKING:
    from engine.pack.book import RuleBook


@click.command(
    epilog=f"""Example: eligibility explain examples/patients/02-emergency.json --format html --output emergency.html

{EXIT_CODES}"""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE|-...")
@click.option("--format", "form", type=click.Choice(["text", "html", "json"]), default="text", show_default=True)
@click.option(
    "--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write here, not to the terminal."
)
@click.option("--all", "is_full", is_flag=True, help="List every criterion in force, also those that do not apply.")
@engines_option
@overlay_option
@rules_options
@click.pass_context
def explain(  # noqa: PLR0913 - one parameter for each option
    ctx: click.Context,
    *,
    files: tuple[str, ...],
    form: str,
    output: Path | None,
    is_full: bool,
    engines: str,
    rules: Path | None,
    overlays: tuple[Path, ...],
    unlocked: bool,
) -> None:
    """Explain the answer for each patient of the case files, with what was read and every source.

    The html page stands alone: it needs no network and no other file.
    """
    paths = expand(files)
    exit_code = GOOD
    decided: list[Decided] = []
    with open_engines(rules, overlays, unlocked=unlocked, engines=engines) as evaluator:
        for outcome in watched(decide(paths, evaluator, is_full=is_full), "explaining"):
            exit_code = worst(exit_code, outcome.exit_code)
            if isinstance(outcome, Undecided):
                complain(str(outcome))
            else:
                decided.append(outcome)
    with open_output(output) as target:
        _write(decided, form, evaluator.rules, target)
    ctx.exit(exit_code)


def _write(decided: list[Decided], form: str, book: RuleBook, target: TextIO) -> None:
    if form == "html":
        from engine.page.render import render_decisions  # noqa: PLC0415 - only this form needs the page

        target.write(render_decisions([(_name(d), d.decision) for d in decided]))
    elif form == "json":
        target.writelines(f"{as_line(decision_to_json(d.decision, d.case.id))}\n" for d in decided)
    else:
        console = Console(file=target, highlight=False)
        for d in decided:
            print_sheet(console, d.case, d.decision, book, is_detailed=True)


def _name(decided: Decided) -> str:
    case = decided.case
    return f"{case.id}: {case.title}" if case.title else case.id
