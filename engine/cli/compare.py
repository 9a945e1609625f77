"""`eligibility compare`: one patient under the rules of several jurisdictions and days, side by side."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
from rich.console import Console

from engine.cli.case_file import Case, UnreadableCase
from engine.cli.compare_json import comparison_to_json
from engine.cli.compare_sheet import print_comparison
from engine.cli.invocation import (
    EXIT_CODES,
    GOOD,
    PROVISIONAL,
    complain,
    engines_option,
    open_engines,
    open_output,
    overlay_option,
    rules_options,
    worst,
)
from engine.cli.output import as_line
from engine.cli.panel import Undecided, expand, failed, read_files, unreadable, watched
from engine.cli.strict_json import printable
from engine.compare.comparison import Comparison
from engine.compare.stretches import Span, evaluate_cell, join_spans, lanes, plan
from engine.errors import EvaluationError
from engine.names import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.evaluator.agree import Evaluator
    from engine.pack.book import RuleBook

_YEAR = re.compile(r"[0-9]{4}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_JANUARY_1, _DECEMBER_31 = "-01-01", "-12-31"

JSON_SHAPE = """The JSON has one line for each case: {id, as_of, payer_id, base, rules_of, jurisdictions, changes,
differences, engines, disclaimer}. as_of is the patient's own day, rules_of lists the days whose rules were asked.

jurisdictions: {jurisdiction, packs, reviewed_on, stretches: [{from, to, is_own_day, answers: [answer]}]}.

answer: {subject, outcome, criteria, holding}. A subject is an option, triage, coverage or `referral: KIND`; criteria
are those that the answer reports, holding those of them that hold a status down.

changes, where the answer of one jurisdiction turns: {jurisdiction, day, subject, before, after, criteria}.

differences between the base and another one: {base, jurisdiction, from, to, subject, in_base, there, criteria}.

criteria: {id, title, decides, holds_status, because, reason, why, truth_there, because_there, rests_on, indications,
confirmed, references}. decides names where it decides; reason says why it does not in the other place (no_such_rule,
not_in_force, replaced, other_truth or not_deciding), and why says that in words."""


def _read_names(_ctx: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Read names by commas; a repeated one counts once."""
    if value is None:
        return None
    names = tuple(dict.fromkeys(name for part in value.split(",") if (name := part.strip())))
    if not names:
        raise click.BadParameter("name at least one jurisdiction, such as US,EU")
    return names


def _read_days(_ctx: click.Context, _option: click.Parameter, value: str | None) -> tuple[Span, ...] | None:
    """Read days, years and ranges of them, by commas."""
    if value is None:
        return None
    spans = []
    for part in value.split(","):
        first, dots, last = (text.strip() for text in part.partition(".."))
        begins, ends = _day(first, _JANUARY_1), _day(last if dots else first, _DECEMBER_31)
        if begins is None or ends is None:
            example = "write 2025-06-02, 2025 or 2019..2026, several by commas"
            raise click.BadParameter(f"`{printable(part)}` names no days; {example}")
        if ends < begins:
            raise click.BadParameter(f"`{printable(part)}` ends before it begins")
        spans.append(Span(begins, ends))
    return tuple(sorted(set(spans)))


def _day(text: str, rest_of_year: str) -> date | None:
    if _YEAR.fullmatch(text):
        text += rest_of_year
    try:
        return date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        return None


@click.command(
    epilog=f"""Example: eligibility compare examples/patients/01-clear-yes.json --jurisdictions US,EU --as-of 2019..2026

Example: eligibility compare patient.json --as-of 2025-01-20,2025-01-21 --format html --output compared.html

{JSON_SHAPE}

{EXIT_CODES}"""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE|-...")
@click.option(
    "--jurisdictions",
    callback=_read_names,
    metavar="NAMES",
    help="Such as US,EU; the first is the one that the others are compared with.  [default: the case's own, then all "
    "that have rules]",
)
@click.option(
    "--as-of",
    "spans",
    callback=_read_days,
    metavar="DAYS",
    help="Days whose rules are asked: 2019..2026, 2019-03-05..2025-06-02, 2025-06-02, or several by commas.  "
    "[default: the case's own day]",
)
@click.option("--format", "form", type=click.Choice(["text", "html", "json"]), default="text", show_default=True)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write here, not to the terminal.",
)
@engines_option
@overlay_option
@rules_options
@click.pass_context
def compare(  # noqa: PLR0913 - one parameter for each option
    ctx: click.Context,
    *,
    files: tuple[str, ...],
    jurisdictions: tuple[str, ...] | None,
    spans: tuple[Span, ...] | None,
    form: str,
    output: Path | None,
    engines: str,
    rules: Path | None,
    overlays: tuple[Path, ...],
    unlocked: bool,
) -> None:
    """Compare what each patient is answered in several jurisdictions and on several days.

    The patient stays as on the case's own day: facts, ages of observations, trials and windows. --as-of only names
    other days whose rules are asked about that patient: what would the rules of that day have said? Whatever differs
    comes from the rules, and the criteria that make the difference are named.
    """
    paths = expand(files)
    exit_code = GOOD
    compared: list[tuple[Case, Comparison]] = []
    with open_engines(rules, overlays, unlocked=unlocked, engines=engines) as evaluator:
        _check(jurisdictions or (), evaluator.rules)
        for file, case in read_files(paths, evaluator.rules):
            found = _compare(file, case, evaluator, jurisdictions, spans)
            if isinstance(found, Undecided):
                exit_code = worst(exit_code, found.exit_code)
                complain(str(found))
            else:
                exit_code = worst(exit_code, PROVISIONAL if found[1].is_provisional else GOOD)
                compared.append(found)
        with open_output(output) as target:
            _write(compared, form, evaluator.rules, target)
    ctx.exit(exit_code)


def _check(jurisdictions: tuple[str, ...], book: RuleBook) -> None:
    served = [name for name in book.dictionary.allowed("jurisdiction") if name in book.jurisdictions]
    for name in jurisdictions:
        if name not in served:
            hint = nearest(name.upper(), served)
            raise click.UsageError(
                f"--jurisdictions: no pack for `{printable(name)}`; there are packs for {', '.join(served)}{hint}"
            )


def _compare(
    file: str,
    case: Case | UnreadableCase,
    evaluator: Evaluator,
    jurisdictions: tuple[str, ...] | None,
    spans: tuple[Span, ...] | None,
) -> tuple[Case, Comparison] | Undecided:
    if isinstance(case, UnreadableCase):
        return unreadable(file, case)
    own_day = Span(case.as_of, case.as_of)
    asked = spans or (own_day,)
    names = jurisdictions or tuple(_served(evaluator.rules, case.jurisdiction))
    planned = list(plan(evaluator, names, case.payer_id, join_spans((*asked, own_day))))
    try:
        cells = [
            evaluate_cell(evaluator, case.facts, case.payer_id, jurisdiction, span)
            for jurisdiction, span in watched(planned, f"comparing {printable(case.id)}", total=len(planned))
        ]
    except EvaluationError as error:
        return failed(file, case, error)
    return case, Comparison(case.as_of, case.payer_id, asked, lanes(cells))


def _served(book: RuleBook, first: str) -> Iterator[str]:
    """The jurisdictions that have rules, the case's own before the others."""
    served = [name for name in book.dictionary.allowed("jurisdiction") if name in book.jurisdictions]
    yield from sorted(served, key=lambda name: name != first)


def _write(compared: list[tuple[Case, Comparison]], form: str, book: RuleBook, target: TextIO) -> None:
    if form == "html":
        from engine.page.compare import render_comparisons  # noqa: PLC0415 - only this form needs the page

        named = [(f"{case.id}: {case.title}" if case.title else case.id, found) for case, found in compared]
        target.write(render_comparisons(named, dict(_words(book))))
    elif form == "json":
        target.writelines(f"{as_line(comparison_to_json(found, case.id))}\n" for case, found in compared)
    else:
        console = Console(file=target, highlight=False)
        for case, found in compared:
            print_comparison(console, case, found)


def _words(book: RuleBook) -> Iterator[tuple[str, str]]:
    field = next(field for field in book.dictionary.request if field.id == "jurisdiction")
    yield from field.values.items()
