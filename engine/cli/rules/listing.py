"""`eligibility rules list`: the criteria, one line each."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - click reads the annotations
from typing import TYPE_CHECKING, get_args

import click
from rich.console import Console
from rich.table import Table

from engine.cli.invocation import overlay_option
from engine.cli.rules.folder import folder_option
from engine.cli.rules.form import form_option, print_json
from engine.cli.strict_json import printable
from engine.names import nearest
from engine.pack.load import load_rules
from engine.pack.model import Effect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.pack.book import Pack, RuleBook
    from engine.pack.model import Criterion

_PLAIN_WIDTH = 160
EFFECTS = get_args(Effect)


@click.command(
    name="list",
    epilog="""Example: eligibility rules list --option esketamine --effect contraindicates

Exit codes: 0 good; 1 the packs cannot be read; 2 wrong usage.""",
)
@click.option("--option", help="Only criteria of this option, such as ketamine_iv.")
@click.option("--effect", type=click.Choice(EFFECTS), metavar="EFFECT", help="Only criteria with this effect.")
@click.option("--jurisdiction", help="Only criteria that are evaluated there, payers included.")
@form_option
@folder_option
@overlay_option
def listing(
    *,
    folder: Path,
    overlays: tuple[Path, ...],
    option: str | None,
    effect: str | None,
    jurisdiction: str | None,
    form: str,
) -> None:
    """List the criteria with effect, options, dates and title; as JSON also with strength, pack and file."""
    book = load_rules(folder, overlays, is_locked=False)
    options = {name for pack in book.packs.values() for each in pack.criteria.values() for name in each.options}
    if option is not None and option not in options:
        known = f"there are {', '.join(sorted(options))}"
        raise click.UsageError(f"--option: there is no option `{printable(option)}`; {known}{nearest(option, options)}")
    rows = [
        (pack, criterion)
        for pack, criterion in _criteria(book, jurisdiction)
        if (option is None or option in criterion.options) and (effect is None or criterion.effect == effect)
    ]
    if form == "json":
        print_json([_as_json(*row) for row in rows])
        return
    table = Table("id", "effect", "options", "from", "until", "title", box=None, pad_edge=False)
    for _, criterion in rows:
        period = criterion.effective
        dates = (day.isoformat() if day else "" for day in (period.from_, period.until))
        table.add_row(criterion.id, criterion.effect, " ".join(criterion.options), *dates, criterion.title)
    Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)
    click.echo(f"{len(rows)} criteria")


def _criteria(book: RuleBook, jurisdiction: str | None) -> Iterator[tuple[Pack, Criterion]]:
    packs = list(book.packs.values())
    if jurisdiction is not None:
        sets = [book.packs_for(jurisdiction, payer) for payer in (None, *sorted(book.payers))]
        packs = list({p.id: p for each in sets for p in each}.values())
    for pack in packs:
        for criterion in pack.criteria.values():
            if jurisdiction is None or not criterion.jurisdictions or jurisdiction in criterion.jurisdictions:
                yield pack, criterion


def _as_json(pack: Pack, criterion: Criterion) -> dict[str, object]:
    period = criterion.effective
    return {
        "id": criterion.id,
        "title": criterion.title,
        "effect": criterion.effect,
        "options": list(criterion.options),
        "from": period.from_.isoformat() if period.from_ else None,
        "until": period.until.isoformat() if period.until else None,
        "strength": criterion.strength,
        "confirmed": criterion.confirmed,
        "pack": pack.id,
        "file": pack.file_of(criterion.id),
    }
