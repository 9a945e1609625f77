"""`eligibility evaluate`: cases in, decisions out."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - click reads the annotations
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING

import click
from rich.console import Console

from engine.cli.case_file import UnreadableCase
from engine.cli.invocation import (
    EXIT_CODES,
    GOOD,
    complain,
    engines_option,
    open_engines,
    overlay_option,
    rules_options,
    worst,
)
from engine.cli.output import as_line, decision_to_json
from engine.cli.panel import Undecided, decide, decide_case, expand, watched
from engine.cli.sheet import print_sheet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from engine.cli.panel import Outcome
    from engine.evaluator.agree import Evaluator

    Asked = tuple[str | None, date | None, str | None, str | None]


@click.command(
    epilog=f"""Example: eligibility evaluate examples/patients/01-clear-yes.json

Example: eligibility evaluate - --format json < patients.jsonl > decisions.jsonl

Example: eligibility evaluate --fhir record.json --jurisdiction US --as-of 2025-06-02

{EXIT_CODES}"""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE|-...")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--all", "is_full", is_flag=True, help="List every criterion in force, also those that do not apply.")
@click.option("--fhir", "is_fhir", is_flag=True, help="The files are FHIR R4 records: Bundles, resources or NDJSON.")
@click.option("--jurisdiction", metavar="NAME", help="With --fhir: the jurisdiction whose rules apply.")
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="With --fhir: the day of the evaluation.")
@click.option("--payer", "payer_id", metavar="NAME", help="With --fhir: the payer whose coverage rules apply.")
@click.option("--patient", metavar="ID", help="With --fhir: the only patient to evaluate.")
@engines_option
@overlay_option
@rules_options
@click.pass_context
def evaluate(  # noqa: PLR0913 - one parameter for each option
    ctx: click.Context,
    *,
    files: tuple[str, ...],
    form: str,
    is_full: bool,
    is_fhir: bool,
    jurisdiction: str | None,
    as_of: datetime | None,
    payer_id: str | None,
    patient: str | None,
    engines: str,
    rules: Path | None,
    overlays: tuple[Path, ...],
    unlocked: bool,
) -> None:
    """Decide what each patient of the case files may be offered.

    A case file holds one JSON object, one on each line, or a list of them:
    {"id", "jurisdiction", "as_of", "payer_id", "facts": {name: value}}. A folder stands for its .json and .jsonl files,
    `-` for standard input. A case that cannot be read is told on standard error and never stops the others.

    With --fhir the files are records instead, every patient in them is a case, and the text begins with what was read.
    """
    console = Console(highlight=False)
    exit_code = GOOD
    asked = (jurisdiction, as_of.date() if as_of else None, payer_id, patient)
    if is_fhir and None in asked[:2]:
        raise click.UsageError("--fhir needs --jurisdiction and --as-of")
    if not is_fhir and asked != (None,) * len(asked):
        raise click.UsageError("--jurisdiction, --as-of, --payer and --patient belong to --fhir; a case states them")
    with open_engines(rules, overlays, unlocked=unlocked, engines=engines) as evaluator:
        if is_fhir:
            printed = console if form == "text" else None
            outcomes = _decide_records(files, evaluator, asked, printed, is_full=is_full)
        else:
            outcomes = decide(expand(files), evaluator, is_full=is_full)
        for outcome in watched(outcomes, "evaluating", is_printed=True):
            exit_code = worst(exit_code, outcome.exit_code)
            if isinstance(outcome, Undecided):
                complain(str(outcome))
            elif form == "json":
                click.echo(as_line(decision_to_json(outcome.decision, outcome.case.id)))
            else:
                print_sheet(console, outcome.case, outcome.decision, evaluator.rules)
    ctx.exit(exit_code)


def _decide_records(
    files: tuple[str, ...], evaluator: Evaluator, asked: Asked, printed: Console | None, *, is_full: bool
) -> Iterator[Outcome]:
    """Decide each patient of FHIR records, and print what was read of each, if a console is given."""
    from engine.cli.fhir_sheet import print_reading  # noqa: PLC0415 - only this form needs FHIR
    from engine.cli.records import RecordRefused, as_case, read_records, terminology_of  # noqa: PLC0415 - as above

    jurisdiction, as_of, payer_id, patient = asked
    assert jurisdiction is not None and as_of is not None  # noqa: S101, PT018 - checked where they are asked for
    book = evaluator.rules
    allowed = book.dictionary.allowed("jurisdiction")
    if jurisdiction not in allowed:
        raise click.UsageError(f"--jurisdiction must be one of {', '.join(allowed)}")
    fault = next(iter(book.check_payer(payer_id)), None)
    if fault is not None:
        raise click.UsageError(f"--payer {fault.message}")
    for record in read_records(files, book, as_of, patient):
        if isinstance(record, RecordRefused):
            yield decide_case(record.file, UnreadableCase(record.id, record.violations), evaluator, is_full=is_full)
            continue
        if printed is not None:
            print_reading(printed, record.reading, book, terminology_of(book))
        case = as_case(record, book, jurisdiction, payer_id)
        yield decide_case(record.file, case, evaluator, is_full=is_full)
