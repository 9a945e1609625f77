"""`eligibility log verify`: whether the log is what was logged and signed; of an export, of a store, or of a server."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.invocation import FAULT, GOOD, INTEGRITY, complain
from engine.errors import LedgerError
from engine.ledger import fsck, offline
from engine.ledger.checkpoint import parse_vkey
from server.command.log.pages import read_pages
from server.command.log.place import Place, open_keys, placed
from server.command.log.showing import format_option, progress, say
from server.command.log.vkey import check_vkey, own_key, pinned
from server.opening import SQLITE
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2

if TYPE_CHECKING:
    from engine.ledger.findings import Findings
    from engine.ledger.keys import KeyStore
    from server.config import LogSettings

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@placed
@click.command(
    epilog="""Example: eligibility log verify --export audit-2026 --vkey cds.example.org/decisions/prod-1+1a2b3c4d+AQ...

Exit codes: 0 good; 1 incomplete, or it cannot be read, or derived tables were mended; 2 wrong usage; 3 tampered."""
)
@click.option("--export", "export", type=_FOLDER, help="Verify this export, with the verifier that stands alone.")
@click.option("--receipt", "receipts", type=_FILE, multiple=True, help="Verify this receipt too. Repeatable.")
@click.option("--vkey", callback=check_vkey, help="The log's verifier key, from somewhere else than the log.")
@click.option("--witness-vkey", "witnesses", multiple=True, help="Verifier key of a witness of an export. Repeatable.")
@click.option("--since", type=_FILE, help="An older signed checkpoint that the log has to extend.")
@click.option("--rebuild", is_flag=True, help="Make derived tables again if only they are at fault; stop the server.")
@format_option
@click.pass_context
def verify(  # noqa: PLR0913 - one parameter for each option
    ctx: click.Context,
    *,
    place: Place,
    export: Path | None,
    receipts: tuple[Path, ...],
    vkey: str | None,
    witnesses: tuple[str, ...],
    since: Path | None,
    rebuild: bool,
    form: str,
) -> None:
    """Compute everything again from the entries and compare it with what was signed.

    Without --export the store of the log is verified where it lies, sealed bodies, keys and derived tables included;
    with --server, the headers that a server shows.
    """
    if export or receipts:
        if vkey is None:
            raise click.UsageError("--vkey: needed; an export cannot vouch for itself")
        arguments = [*([str(export)] if export else []), "--vkey", vkey, "--format", form]
        arguments += [word for key in witnesses for word in ("--witness-vkey", key)]
        arguments += ["--since", str(since)] if since else []
        arguments += [word for file in receipts for word in ("--receipt", str(file))]
        ctx.exit(offline.main(arguments))
    if place.server:
        if since or rebuild:
            raise click.UsageError("--since, --rebuild: for a log that lies here, not with --server")
        _verify_server(place, vkey, form)
        return
    key = vkey or pinned(place.settings)
    note = since.read_bytes() if since else b""
    with place.store(is_writer=rebuild) as store, ExitStack() as opened:
        snapshot = opened.enter_context(store.reading())
        key = key or own_key(snapshot)
        keys = _keys(place.settings, opened)
        told = opened.enter_context(progress("verifying"))
        findings = fsck.verify(snapshot, key, keys=keys, since=note, progress=told)
        opened.close()
        if rebuild and findings.is_mendable:
            fsck.rebuild(store, key)
    ctx.exit(_report(findings, form, is_mended=rebuild))


def _verify_server(place: Place, vkey: str | None, form: str) -> None:
    if vkey is None:
        raise click.UsageError("--vkey: needed; a server cannot vouch for itself")
    done = 0
    with place.reading() as asking, progress("verifying") as told:
        for page in read_pages(asking, log_pb2.ListDecisionsRequest(), parse_vkey(vkey)):
            done += len(page.entries)
            told(done, page.checkpoint.tree_size)
    size, root = page.checkpoint.tree_size, page.checkpoint.root_hash.hex()
    if form == "json":
        say({"verdict": "good", "tree_size": size, "root_hash": root})
    else:
        click.echo(f"good: the headers of {size} entries are those that were signed, root hash {root}")


def _report(findings: Findings, form: str, *, is_mended: bool) -> int:
    verdict, code = "tampered", INTEGRITY
    if findings.is_whole:
        verdict, code = "good", GOOD
    elif findings.is_mendable:
        verdict, code = ("mended", FAULT) if is_mended else ("derived tables are damaged", INTEGRITY)
    if form == "json":
        for fault in findings.faults:
            say({"code": fault.code, "place": fault.place, "message": fault.message, "is_derived": fault.is_derived})
        say(
            {
                "verdict": verdict,
                "tree_size": findings.tree_size,
                "root_hash": findings.root_hash.hex(),
                "checkpoints": findings.checkpoints,
                "sealed": findings.sealed,
                "erased": findings.erased,
                "faults": len(findings.faults),
            }
        )
        return code
    for fault in findings.faults:
        click.echo(str(fault))
    if code == INTEGRITY and findings.is_mendable:
        complain("all that is wrong is derived: stop the server and give --rebuild")
    click.echo(
        f"{verdict}: {findings.tree_size} entries, {findings.checkpoints} checkpoints, {findings.sealed} sealed parts, "
        f"{findings.erased} erased, {len(findings.faults)} faults"
    )
    return code


def _keys(settings: LogSettings, opened: ExitStack) -> KeyStore | None:
    """Open the keys, to hold them against tombstones; a log is verified without them too."""
    wrapping = Path(settings.wrapping_key)
    path = Path(settings.keys.removeprefix(SQLITE))
    if not wrapping.exists() or (settings.keys.startswith(SQLITE) and not path.exists()):
        complain("the keys are not here, so they were not held against the tombstones")
        return None
    try:
        keys = open_keys(settings)
    except LedgerError as error:
        complain(f"the keys were not held against the tombstones: {error}")
        return None
    opened.callback(keys.close)
    return keys
