"""`eligibility fhir`: what is read of a FHIR record, before any rule sees it."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - click reads the annotations
from pathlib import Path  # noqa: TC003

import click
from rich.console import Console

from engine.cli.fhir_sheet import print_reading
from engine.cli.invocation import FAULT, GOOD, complain, open_rules, rules_options
from engine.cli.output import as_line
from engine.cli.records import RecordRefused, read_records, terminology_of


@click.command(
    epilog="""Example: eligibility fhir record.json --as-of 2025-06-02

Exit codes: 0 good; 1 a file cannot be read, or does not name the patient; 2 wrong usage."""
)
@click.argument("file", metavar="FILE|FOLDER|-")
@click.option("--patient", metavar="ID", help="The patient to read.  [default: each that the record names]")
@click.option("--as-of", required=True, type=click.DateTime(["%Y-%m-%d"]), help="The day of the evaluation.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@rules_options
@click.pass_context
def fhir(  # noqa: PLR0913 - one parameter for each option
    ctx: click.Context,
    *,
    file: str,
    patient: str | None,
    as_of: datetime,
    form: str,
    rules: Path | None,
    unlocked: bool,
) -> None:
    """Read a FHIR R4 record: the facts that it settles, what a clinician has to confirm, and what was not read.

    FILE is a Bundle, a resource, a list of them, a CDS Hooks prefetch, or NDJSON; a folder of NDJSON files is one bulk
    export. Nothing is evaluated.
    """
    book = open_rules(rules, unlocked=unlocked)
    terminology = terminology_of(book)
    console = Console(highlight=False)
    exit_code = GOOD
    for outcome in read_records([file], book, as_of.date(), patient):
        if isinstance(outcome, RecordRefused):
            exit_code = FAULT
            for violation in outcome.violations:
                complain(f"{outcome.file}: {violation.message}")
        elif form == "json":
            click.echo(as_line(outcome.reading.to_plain()))
        else:
            print_reading(console, outcome.reading, book, terminology)
    ctx.exit(exit_code)
