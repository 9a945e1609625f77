"""`eligibility rules diff`: what two versions of the rules do differently."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - click reads the annotations
from typing import TYPE_CHECKING

import click

from engine.cli.rules.folder import FOLDER
from engine.pack.compare import compare
from engine.pack.load import load_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.pack.compare import Change

_SIGNS = {"added": "+", "removed": "-", "changed": "~", "affected": "*"}


@click.command(
    epilog="""Example: eligibility rules diff ../released/rules rules

Exit codes: 0 compared, whatever came of it; 1 one of them cannot be read; 2 wrong usage."""
)
@click.argument("old", type=FOLDER)
@click.argument("new", type=FOLDER)
def diff(*, old: Path, new: Path) -> None:
    """Compare two folders of rule packs, option by option.

    `+` came, `-` went, `~` changed, `*` is as it was but rests on something that changed. Changed conditions, effects,
    dates and numbers are shown before and after; changed words and sources are only named.
    """
    before, after = (load_rules(folder, is_locked=False) for folder in (old, new))
    changes = compare(before, after)
    for heading, each in sorted(changes.items()):
        click.echo(f"{heading}:")
        for change in each:
            for line in _lines(change):
                click.echo(f"  {line}")
        click.echo()
    versions = {p.id: p.header.version for p in before.packs.values()}
    for pack in after.packs.values():
        if versions.get(pack.id) != pack.header.version:
            click.echo(f"pack {pack.id}: {versions.get(pack.id, 'none')} -> {pack.header.version}")
    ids = {change.name for each in changes.values() for change in each}
    click.echo(f"{len(ids)} items differ")


def _lines(change: Change) -> Iterator[str]:
    parts = ", ".join(change.parts)
    detail = f" (through {parts})" if change.kind == "affected" else f" ({parts})" if parts else ""
    yield f"{_SIGNS[change.kind]} {change.name}  {change.title}{detail}"
    for part, old, new in change.texts:
        yield f"    {part} before: {old}"
        yield f"    {part} after:  {new}"
