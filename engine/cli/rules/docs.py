"""`eligibility rules docs`: the documents that are made from the rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.invocation import FAULT, GOOD, overlay_option
from engine.cli.rules.folder import folder_option
from engine.cli.rules.form import form_option, print_json
from engine.names import by_number
from engine.pack.load import load_rules
from engine.pack.schemas import schemas
from engine.site.build import build_site, write_site
from engine.site.page import START
from engine.site.words import period_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.pack.book import Pack, RuleBook
    from engine.pack.model import Criterion

_HEADING = """# Criteria

Made by `eligibility rules docs` from the rule packs; edit those, not this page. What one criterion
says in full: `eligibility rules show ID`.
"""


@click.command(
    epilog="""Example: eligibility rules docs

The JSON: {output, pages, written, folder, files}, the last two of the site; with --check {output, pages, stale}.

Exit codes: 0 written; 1 a page of --output is out of date (--check) or the packs cannot be read; 2 wrong usage."""
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default="docs",
    show_default=True,
    help="Folder that receives criteria.md and rule-schemas/.",
)
@click.option(
    "--site",
    type=click.Path(file_okay=False, path_type=Path),
    default="build/rules",
    show_default=True,
    help="Folder that receives the site: a page for each criterion, for reading in a browser.",
)
@click.option("--check", "is_check", is_flag=True, help="Write nothing; say which page of --output is out of date.")
@form_option
@overlay_option
@folder_option
@click.pass_context
def docs(  # noqa: PLR0913 - one parameter for each option
    ctx: click.Context,
    *,
    folder: Path,
    overlays: tuple[Path, ...],
    output: Path,
    site: Path,
    is_check: bool,
    form: str,
) -> None:
    """Write the table of criteria, JSON Schemas of the rule files for editors, and a site of all packs to read.

    The site stands alone, without a script or a server; the same rules give the same bytes. Local packs are shown there
    only.
    """
    pages = documents(folder)
    stale = [
        name
        for name, text in pages.items()
        if not (output / name).is_file() or (output / name).read_text(encoding="utf-8") != text
    ]
    told: dict[str, object] = {"output": output.as_posix(), "pages": len(pages)}
    if is_check:
        if form == "json":
            print_json({**told, "stale": stale})
            ctx.exit(FAULT if stale else GOOD)
        if stale:
            message = f"out of date: {', '.join(stale)}; run `eligibility rules docs`"
            raise click.ClickException(message)
        click.echo(f"{len(pages)} pages are up to date")
        return
    for name in stale:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text(pages[name], encoding="utf-8")
    if form == "text":
        click.echo(f"{len(stale)} of {len(pages)} pages written to {output.as_posix()}")
    files = build_site(folder, overlays)
    write_site(files, site)
    if form == "json":
        print_json({**told, "written": len(stale), "folder": site.as_posix(), "files": len(files)})
        return
    click.echo(f"site of {len(files)} files: {(site / START).as_posix()}")


def documents(folder: Path) -> dict[str, str]:
    """Give every page by its path inside docs/.

    Raises:
        RulePackError: the packs cannot be read.

    """
    book = load_rules(folder, is_locked=False)
    pages = {f"rule-schemas/{name}.json": json.dumps(s, indent=2) + "\n" for name, s in schemas().items()}
    return {"criteria.md": "\n".join(_criteria(book)) + "\n", **pages}


def _criteria(book: RuleBook) -> Iterator[str]:
    rows = {name: (pack, c) for pack in book.packs.values() for name, c in pack.criteria.items()}
    yield _HEADING
    yield f"{len(rows)} criteria in {len(book.packs)} packs."
    yield ""
    yield "| id | title | effect | options | in force | strength | confirmed | file |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in sorted(rows, key=by_number):
        yield _row(*rows[name])


def _row(pack: Pack, criterion: Criterion) -> str:
    dates = [period_in_words(criterion.effective)]
    dates += [f"in {place} {period_in_words(period)}" for place, period in criterion.effective_in.items()]
    file = pack.file_of(criterion.id)
    cells = (
        criterion.id,
        criterion.title,
        criterion.effect,
        ", ".join(criterion.options),
        "; ".join(dates),
        criterion.strength,
        criterion.confirmed,
        f"[{file}](../rules/{file})",
    )
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
