"""`eligibility rules check`: everything that is wrong with the rule packs, at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import date  # noqa: TC003 - click reads the annotations
from pathlib import Path  # noqa: TC003
from typing import TYPE_CHECKING

import click

from engine.cli.invocation import FAULT, GOOD, overlay_option
from engine.cli.rules.folder import folder_option, today_option
from engine.cli.rules.form import diagnostic_to_json, form_option, print_json
from engine.evaluator.audit import INDICATION
from engine.evaluator.inspection import Inspection, inspect_rules
from engine.fhir.terminology import faults_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from engine.errors import Diagnostic


@click.command(
    epilog="""Example: eligibility rules check --unlocked

The JSON: {packs, criteria, cases, faults, warnings, assumptions, blocking, plans}. A fault or a warning is {file, line,
column, code, message, hint}; an assumption {concept, otherwise, file, line}; what is blocking {jurisdiction, option,
criterion, covered_by, unasked}; a plan {jurisdiction, payer_id, productions, terms, levels, rulesets, widest_table}.

Exit codes: 0 nothing is wrong; 1 the packs are refused; 2 wrong usage."""
)
@click.option("--unlocked", is_flag=True, help="Take packs that differ from packs.lock, while they are being written.")
@form_option
@today_option
@folder_option
@overlay_option
@click.pass_context
def check(
    ctx: click.Context, *, folder: Path, overlays: tuple[Path, ...], today: date, unlocked: bool, form: str
) -> None:
    """Check the rule packs: shapes, names, conditions, cases, reviews, lock, engines' limits and the tables for FHIR.

    Every fault is told with file, line, column, code and what to write instead. Then follows what a reviewer has to
    know: what is assumed while it is unknown, and which hazards may stay unknown behind an answer.
    """
    found = inspect_rules(folder, today, overlays, is_locked=not unlocked)
    if found.book is not None:
        found.faults = sorted({*found.faults, *faults_of(found.book.reference_files, found.book.facts)})
    if form == "json":
        print_json(_as_json(folder, found))
    else:
        _print(folder, found)
    ctx.exit(FAULT if found.faults else GOOD)


def _print(folder: Path, found: Inspection) -> None:
    for line in [*_faults(folder, "faults", found.faults), *_faults(folder, "warnings", found.warnings)]:
        click.echo(line)
    if not found.faults:
        for line in [*_assumptions(folder, found), *_blocking(found), *_plans(found)]:
            click.echo(line)
    click.echo(_summary(found))


def _faults(folder: Path, heading: str, faults: Sequence[Diagnostic]) -> Iterator[str]:
    if faults:
        yield f"{heading}:"
        yield from (f"  {replace(fault, file=(folder / fault.file).as_posix())}" for fault in faults)
        yield ""


def _assumptions(folder: Path, found: Inspection) -> Iterator[str]:
    if not found.assumptions:
        return
    yield "what holds while no source speaks (`otherwise`):"
    for each in found.assumptions:
        yield f"  {each.concept}: {each.default}  ({(folder / each.file).as_posix()}:{each.line})"
    yield ""


def _blocking(found: Inspection) -> Iterator[str]:
    for jurisdiction, rows in found.blocking.items():
        yield f"{jurisdiction}: criteria that rule an option out and that no `requires` covers:"
        for row in rows:
            if not row.covered_by:
                facts = ", ".join(row.unasked)
                yield f"  {row.option} {row.criterion}: not asked on purpose; an answer is given without {facts}"
        yield f"{jurisdiction}: those that are covered while they are unknown:"
        for row in rows:
            if row.covered_by:
                names = ("the indications" if n == INDICATION else n for n in row.covered_by)
                yield f"  {row.option} {row.criterion}: by {', '.join(names)}"
        yield ""


def _plans(found: Inspection) -> Iterator[str]:
    yield "what the forward-chaining engine makes of them (within its limits):"
    for (jurisdiction, payer), plan in found.plans.items():
        name = f"{jurisdiction} {payer}".strip()
        yield (
            f"  {name}: {plan.productions} productions, {plan.terms} terms, {plan.levels} levels, "
            f"{plan.rulesets} rulesets, widest table {plan.widest_table}"
        )
    yield ""


def _summary(found: Inspection) -> str:
    packs, criteria = _counts(found)
    counts = f"{packs} packs, {criteria} criteria, {found.cases} cases"
    return f"{counts}; faults: {len(found.faults)}, warnings: {len(found.warnings)}"


def _counts(found: Inspection) -> tuple[int, int]:
    packs = found.book.packs.values() if found.book else ()
    return len(packs), sum(len(p.criteria) for p in packs)


def _as_json(folder: Path, found: Inspection) -> dict[str, object]:
    packs, criteria = _counts(found)
    return {
        "packs": packs,
        "criteria": criteria,
        "cases": found.cases,
        "faults": [diagnostic_to_json(folder, each) for each in found.faults],
        "warnings": [diagnostic_to_json(folder, each) for each in found.warnings],
        "assumptions": [
            {"concept": a.concept, "otherwise": a.default, "file": (folder / a.file).as_posix(), "line": a.line}
            for a in found.assumptions
        ],
        "blocking": [
            {
                "jurisdiction": jurisdiction,
                "option": row.option,
                "criterion": row.criterion,
                "covered_by": list(row.covered_by),
                "unasked": list(row.unasked),
            }
            for jurisdiction, rows in found.blocking.items()
            for row in rows
        ],
        "plans": [
            {
                "jurisdiction": jurisdiction,
                "payer_id": payer or None,
                "productions": plan.productions,
                "terms": plan.terms,
                "levels": plan.levels,
                "rulesets": plan.rulesets,
                "widest_table": plan.widest_table,
            }
            for (jurisdiction, payer), plan in found.plans.items()
        ],
    }
