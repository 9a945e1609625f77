"""`eligibility rules docs`: the documents that are made from the rules."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import BaseModel, ConfigDict

from engine.cli.rules.folder import folder_option
from engine.errors import Diagnostic, RulePackError
from engine.pack.load import load_rules, validated
from engine.pack.schemas import schemas
from engine.pack.source import read_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from engine.pack.book import Pack, RuleBook
    from engine.pack.model import Criterion

ELSEWHERE = "ids-elsewhere.yaml"
"""Ids of the clinical tables that no pack holds, with the reason; beside the packs."""

_HEADING = """# Criteria

Made by `eligibility rules docs` from the rule packs and `rules/ids-elsewhere.yaml`; edit those, not this page. What one
criterion says in full: `eligibility rules show ID`.
"""


class Elsewhere(BaseModel):
    """Ids that no pack holds, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    reason: str
    ids: tuple[str, ...]


@click.command(
    epilog="""Example: eligibility rules docs

Exit codes: 0 written; 1 a page is out of date (--check) or the packs cannot be read; 2 wrong usage."""
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="docs",
    show_default=True,
    help="Folder that receives criteria.md and rule-schemas/.",
)
@click.option("--check", "is_check", is_flag=True, help="Write nothing; say which page is out of date.")
@folder_option
def docs(*, folder: Path, out: Path, is_check: bool) -> None:
    """Write the table of criteria, and JSON Schemas of the rule files for editors."""
    pages = documents(folder)
    stale = [
        name
        for name, text in pages.items()
        if not (out / name).is_file() or (out / name).read_text(encoding="utf-8") != text
    ]
    if is_check:
        if stale:
            message = f"out of date: {', '.join(stale)}; run `eligibility rules docs`"
            raise click.ClickException(message)
        click.echo(f"{len(pages)} pages are up to date")
        return
    for name in stale:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(pages[name], encoding="utf-8")
    click.echo(f"{len(stale)} of {len(pages)} pages written to {out.as_posix()}")


def documents(folder: Path) -> dict[str, str]:
    """Give every page by its path inside docs/.

    Raises:
        RulePackError: the packs or the list of other ids cannot be read, or an id stands in both.

    """
    book = load_rules(folder, is_locked=False)
    pages = {f"rule-schemas/{name}.json": json.dumps(s, indent=2) + "\n" for name, s in schemas().items()}
    return {"criteria.md": "\n".join(_criteria(book, _elsewhere(folder, book))) + "\n", **pages}


def _elsewhere(folder: Path, book: RuleBook) -> dict[str, str]:
    path = folder / ELSEWHERE
    if not path.is_file():
        return {}
    source = read_source(ELSEWHERE, path.read_text(encoding="utf-8"))
    faults: list[Diagnostic] = list(source.faults)
    found: dict[str, str] = {}
    entries = source.data if isinstance(source.data, list) else []
    held = {name for pack in book.packs.values() for name in pack.criteria}
    for position, entry in enumerate(entries):
        group = validated(Elsewhere, source, (position,), entry, faults)
        for name in group.ids if group is not None else ():
            if name in held or name in found:
                faults.append(source.fault((position,), "docs/twice", f"`{name}` is listed here and stands elsewhere"))
            found[name] = group.reason if group is not None else ""
    if faults:
        raise RulePackError(faults)
    return found


def _criteria(book: RuleBook, elsewhere: Mapping[str, str]) -> Iterator[str]:
    rows = {name: (pack, c) for pack in book.packs.values() for name, c in pack.criteria.items()}
    yield _HEADING
    yield f"{len(rows)} criteria in {len(book.packs)} packs."
    yield ""
    yield "| id | title | effect | options | in force | strength | confirmed | file |"
    yield "|---|---|---|---|---|---|---|---|"
    for name in sorted(rows, key=_by_number):
        yield _row(*rows[name])
    yield ""
    yield f"{len(elsewhere)} more ids of the clinical tables are in no pack:"
    yield ""
    yield "| id | why |"
    yield "|---|---|"
    yield from (f"| {name} | {elsewhere[name]} |" for name in sorted(elsewhere, key=_by_number))


def _row(pack: Pack, criterion: Criterion) -> str:
    period = criterion.effective
    days = [f"from {period.from_.isoformat()}"] if period.from_ else []
    days += [f"until {period.until.isoformat()}"] if period.until else []
    file = pack.file_of(criterion.id)
    cells = (
        criterion.id,
        criterion.title,
        criterion.effect,
        ", ".join(criterion.options),
        " ".join(days) or "always",
        criterion.strength,
        criterion.confirmed,
        f"[{file}](../rules/{file})",
    )
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"-", name)]
