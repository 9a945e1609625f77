"""`eligibility log export`: the log as files that outlive its store."""

from __future__ import annotations

from pathlib import Path

import click

from engine.ledger.export import write_export, write_fhir
from server.command.log.place import Place, placed
from server.command.log.showing import progress, say


@placed
@click.command(
    epilog="""Example: eligibility log export audit-2026

Exit codes: 0 good; 1 it cannot be written, or no checkpoint is so small; 2 wrong usage; 3 the log is damaged."""
)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--tree-size", type=click.IntRange(1), help="The largest signed tree of at most so many entries.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "fhir-auditevent"]),
    default="text",
    show_default=True,
    help="What is said; or FHIR R4 AuditEvent and Provenance in place of the export, as NDJSON.",
)
def export(*, place: Place, folder: Path, tree_size: int | None, form: str) -> None:
    """Write the log to an empty folder: headers, tiles, checkpoints, rule packs, and sealed parts as ciphertext.

    `eligibility log verify --export DIR --vkey KEY` verifies it, and so does the file engine/ledger/offline.py alone.

    As FHIR, what the headers say is told; who acted stays sealed, and `eligibility log report` opens it.
    """
    with place.store() as store, store.reading() as snapshot, progress("exporting") as told:
        write = write_fhir if form == "fhir-auditevent" else write_export
        size = write(snapshot, folder, tree_size, told)
    if form == "json":
        say({"folder": str(folder), "tree_size": size})
    else:
        click.echo(f"{size} entries are in `{folder}`")
