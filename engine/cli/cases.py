"""`eligibility cases`: whether the answers are those that the case files expect."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - click reads the annotation's meaning from the option
from typing import TYPE_CHECKING

import click
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.cli.invocation import (
    FAULT,
    GOOD,
    complain,
    engines_option,
    open_engines,
    overlay_option,
    rules_options,
    worst,
)
from engine.cli.output import JsonObject, as_line
from engine.cli.panel import Outcome, Undecided, decide, expand, watched
from engine.cli.sheet import PLAIN_WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from engine.evaluator.decision import CriterionFinding, Decision


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExpectedAnswer(_Strict):
    """A status, and criteria that must be among those reported with it."""

    status: str
    criteria: tuple[str, ...] = ()


class ExpectedReferral(_Strict):
    """A referral that must be required."""

    kind: str
    urgency: str


class Expected(BaseModel):
    """What a case expects. What it leaves out is not compared; other keys are options.

    `missing_includes` names facts that must be asked for; `referrals` lists exactly those that must be required.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, ExpectedAnswer]
    triage: str | None = None
    referrals: tuple[ExpectedReferral, ...] | None = None
    missing_includes: tuple[str, ...] = ()
    coverage: ExpectedAnswer | None = None


@click.command(
    epilog="""Example: eligibility cases examples/patients

Exit codes: 0 all passed; 1 a case failed or cannot be read; 2 wrong usage; 3 the engines disagree."""
)
@click.argument("files", nargs=-1, required=True, metavar="FILE|-...")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@engines_option
@overlay_option
@rules_options
@click.pass_context
def cases(  # noqa: PLR0913 - one parameter for each option
    ctx: click.Context,
    *,
    files: tuple[str, ...],
    form: str,
    engines: str,
    rules: Path | None,
    overlays: tuple[Path, ...],
    unlocked: bool,
) -> None:
    """Compare the answers for the patients of the case files with what each case expects.

    A case has the key `expected`: {"OPTION": {"status", "criteria"}, "triage", "referrals", "missing_includes",
    "coverage"}. Criteria must be among those reported with the status. A case of a jurisdiction without a rule pack
    neither passes nor fails; one that expects nothing, or cannot be read, fails.
    """
    paths = expand(files)
    table: list[tuple[str, str, str, str]] = []
    failed = passed = without_pack = 0
    exit_code = GOOD
    with open_engines(rules, overlays, unlocked=unlocked, engines=engines) as evaluator:
        for outcome in watched(decide(paths, evaluator), "comparing"):
            if isinstance(outcome, Undecided) and outcome.is_without_pack:
                without_pack += 1
                continue
            if isinstance(outcome, Undecided):
                complain(str(outcome))
                exit_code = worst(exit_code, outcome.exit_code)
            found = list(_compare(outcome))
            failed += bool(found)
            passed += not found
            table += found
    if form == "json":
        click.echo(as_line(_as_json(table, passed, failed, without_pack)))
    else:
        _print(table)
        rest = f", {without_pack} without a pack" if without_pack else ""
        click.echo(f"{passed} passed, {failed} failed{rest}")
    ctx.exit(worst(exit_code, FAULT if failed else GOOD))


def _compare(outcome: Outcome) -> Iterator[tuple[str, str, str, str]]:
    if isinstance(outcome, Undecided):
        yield outcome.id, "case", "a decision", "none; standard error says why"
        return
    case = outcome.case
    try:
        expected = Expected.model_validate(case.written.get("expected"))
    except ValidationError as error:
        for detail in error.errors():
            yield case.id, ".".join(("expected", *map(str, detail["loc"]))), "an expectation", detail["msg"]
        return
    if not expected.model_fields_set:
        yield case.id, "expected", "an expectation", "none"
    for about, wanted, answered in disagreements(expected, outcome.decision):
        yield case.id, about, wanted, answered


def disagreements(expected: Expected, decision: Decision) -> Iterator[tuple[str, str, str]]:
    """Give what a decision does not answer as expected: about what, what was expected, what was answered."""
    options = {option.option: option for option in decision.options}
    for name, wanted in expected.__pydantic_extra__.items():
        if name not in options:
            yield name, wanted.status, f"no such option; there are {', '.join(options)}"
        else:
            reported = [f for f in options[name].criteria if f.is_reported]
            yield from _answer(name, wanted, options[name].status, reported)
    if expected.triage not in {None, decision.triage.level}:
        yield "triage", str(expected.triage), decision.triage.level
    if expected.referrals is not None:
        owed = sorted(f"{r.kind} {r.urgency}" for r in expected.referrals)
        required = sorted(f"{r.kind} {r.urgency}" for r in decision.referrals if r.state == "required")
        if owed != required:
            yield "referrals", ", ".join(owed) or "none", ", ".join(required) or "none"
    asked = {question.fact for question in (*decision.missing, *decision.also_ask)}
    unasked = [fact for fact in expected.missing_includes if fact not in asked]
    if unasked:
        yield "missing", ", ".join(unasked), ", ".join(sorted(asked)) or "nothing"
    if expected.coverage is not None:
        coverage = decision.coverage
        if coverage is None:
            yield "coverage", expected.coverage.status, "none; the case names no payer"
        else:
            yield from _answer("coverage", expected.coverage, coverage.status, coverage.criteria)


def _answer(
    name: str, wanted: ExpectedAnswer, status: str, reported: Iterable[CriterionFinding]
) -> Iterator[tuple[str, str, str]]:
    if wanted.status != status:
        yield name, wanted.status, status
    ids = [finding.id for finding in reported]
    lacking = [criterion for criterion in wanted.criteria if criterion not in ids]
    if lacking:
        yield f"{name} criteria", ", ".join(lacking), ", ".join(ids) or "none"


def _as_json(table: list[tuple[str, str, str, str]], passed: int, failed: int, without_pack: int) -> JsonObject:
    keys = ("id", "about", "expected", "answered")
    return {
        "passed": passed,
        "failed": failed,
        "without_pack": without_pack,
        "disagreements": [dict(zip(keys, row, strict=True)) for row in table],
    }


def _print(table: list[tuple[str, str, str, str]]) -> None:
    if not table:
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    shown = Table("case", "about", "expected", "answered")
    for row in table:
        shown.add_row(*map(Text, row))
    console.print(shown)
