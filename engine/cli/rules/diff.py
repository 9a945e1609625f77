"""`eligibility rules diff`: what two versions of the rules do differently."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - click reads the annotations
from typing import TYPE_CHECKING

import click

from engine.cli.rules.folder import FOLDER
from engine.cli.rules.form import form_option, print_json
from engine.pack.compare import compare
from engine.pack.load import load_rules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.pack.compare import Change

_SIGNS = {"added": "+", "removed": "-", "changed": "~", "affected": "*"}


@click.command(
    epilog="""Example: eligibility rules diff ../released/rules rules

The JSON: {items, changes, packs}. A change is {under, kind, name, title, parts, texts}, where kind is added, removed,
changed or affected, and a text {part, before, after}; a pack is {id, before, after}, with its versions.

Exit codes: 0 compared, whatever came of it; 1 one of them cannot be read; 2 wrong usage."""
)
@click.argument("old", type=FOLDER)
@click.argument("new", type=FOLDER)
@form_option
def diff(*, old: Path, new: Path, form: str) -> None:
    """Compare two folders of rule packs, option by option.

    `+` came, `-` went, `~` changed, `*` is as it was but rests on something that changed. Changed conditions, effects,
    dates and numbers are shown before and after; changed words and sources are only named.
    """
    before, after = (load_rules(folder, is_locked=False) for folder in (old, new))
    changes = compare(before, after)
    versions = {p.id: p.header.version for p in before.packs.values()}
    ids = {change.name for each in changes.values() for change in each}
    raised = [(p.id, versions.get(p.id), p.header.version) for p in after.packs.values()]
    raised = [row for row in raised if row[1] != row[2]]
    if form == "json":
        rows = [_as_json(heading, change) for heading, each in sorted(changes.items()) for change in each]
        packs = [{"id": name, "before": old_version, "after": version} for name, old_version, version in raised]
        print_json({"items": len(ids), "changes": rows, "packs": packs})
        return
    for heading, each in sorted(changes.items()):
        click.echo(f"{heading}:")
        for change in each:
            for line in _lines(change):
                click.echo(f"  {line}")
        click.echo()
    for name, old_version, version in raised:
        click.echo(f"pack {name}: {old_version or 'none'} -> {version}")
    click.echo(f"{len(ids)} items differ")


def _as_json(heading: str, change: Change) -> dict[str, object]:
    return {
        "under": heading,
        "kind": change.kind,
        "name": change.name,
        "title": change.title,
        "parts": list(change.parts),
        "texts": [{"part": part, "before": old, "after": new} for part, old, new in change.texts],
    }


def _lines(change: Change) -> Iterator[str]:
    parts = ", ".join(change.parts)
    detail = f" (through {parts})" if change.kind == "affected" else f" ({parts})" if parts else ""
    yield f"{_SIGNS[change.kind]} {change.name}  {change.title}{detail}"
    for part, old, new in change.texts:
        yield f"    {part} before: {old}"
        yield f"    {part} after:  {new}"
