"""`eligibility evaluate`: cases in, decisions out."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - click reads the annotation's meaning from the option

import click
from rich.console import Console

from engine.cli.invocation import EXIT_CODES, GOOD, complain, engines_option, open_engines, rules_options, worst
from engine.cli.output import as_line, decision_to_json
from engine.cli.panel import Undecided, decide, expand, watched
from engine.cli.sheet import print_sheet


@click.command(
    epilog=f"""Example: eligibility evaluate examples/patients/01-clear-yes.json

Example: eligibility evaluate - --format json < patients.jsonl > decisions.jsonl

{EXIT_CODES}"""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE|-...")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--all", "is_full", is_flag=True, help="List every criterion in force, also those that do not apply.")
@engines_option
@rules_options
@click.pass_context
def evaluate(  # noqa: PLR0913 - one parameter for each option
    ctx: click.Context,
    *,
    files: tuple[str, ...],
    form: str,
    is_full: bool,
    engines: str,
    rules: Path | None,
    unlocked: bool,
) -> None:
    """Decide what each patient of the case files may be offered.

    A case file holds one JSON object, one on each line, or a list of them:
    {"id", "jurisdiction", "as_of", "payer_id", "facts": {name: value}}. A folder stands for its .json and .jsonl files,
    `-` for standard input. A case that cannot be read is told on standard error and never stops the others.
    """
    paths = expand(files)
    console = Console(highlight=False)
    exit_code = GOOD
    with open_engines(rules, unlocked=unlocked, engines=engines) as evaluator:
        for outcome in watched(decide(paths, evaluator, is_full=is_full), "evaluating", is_printed=True):
            exit_code = worst(exit_code, outcome.exit_code)
            if isinstance(outcome, Undecided):
                complain(str(outcome))
            elif form == "json":
                click.echo(as_line(decision_to_json(outcome.decision, outcome.case.id)))
            else:
                print_sheet(console, outcome.case, outcome.decision, evaluator.rules)
    ctx.exit(exit_code)
