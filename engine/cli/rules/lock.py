"""`eligibility rules lock`: pins each released version of a pack to its content."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - click reads the annotations

import click

from engine.cli.rules.folder import folder_option
from engine.cli.rules.form import form_option, print_json
from engine.errors import RulePackError
from engine.pack.digest import LOCK_FILE, read_lock, write_lock
from engine.pack.load import load_rules


@click.command(
    epilog="""Example: eligibility rules lock

The JSON: {file, pinned}, each {pack, version, digest} of an active pack.

Exit codes: 0 written; 1 a released version would change; 2 wrong usage."""
)
@click.option(
    "--replace",
    is_flag=True,
    help="Give versions that were never released their new content. What was released must stay as it was.",
)
@form_option
@folder_option
def lock(*, folder: Path, replace: bool, form: str) -> None:
    """Write packs.lock: for each active pack its version and the SHA-256 of its content.

    A version that is pinned already stays as it is: a changed pack needs a new version, because old decisions are
    replayed from the old one. Pins of earlier versions are kept.
    """
    book = load_rules(folder, is_locked=False)
    locked = read_lock(folder)
    faults = []
    for pack in book.packs.values():
        if not pack.is_active:
            continue
        key = (pack.id, pack.header.version)
        if locked.get(key, pack.digest) != pack.digest and not replace:
            message = f"`{pack.id}` {pack.header.version} is pinned to other content"
            hint = "raise the version; `--replace` is for a version that was never released"
            faults.append(pack.place.fault("pack/not-locked", message, hint, ("version",)))
        locked[key] = pack.digest
    if faults:
        raise RulePackError(faults)
    write_lock(folder, locked)
    file = f"{folder.as_posix()}/{LOCK_FILE}"
    active = [p for p in book.packs.values() if p.is_active]
    if form == "json":
        pinned = [{"pack": p.id, "version": p.header.version, "digest": p.digest} for p in active]
        print_json({"file": file, "pinned": pinned})
    else:
        click.echo(f"{file}: {len(active)} active packs pinned")
