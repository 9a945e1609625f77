"""`eligibility log verify`: whether the log is what was logged and signed; of an export, of a store, or of a server."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.invocation import FAULT, GOOD, INTEGRITY, complain
from engine.errors import LedgerError
from engine.ledger import fsck, offline
from engine.ledger.checkpoint import parse_vkey
from engine.ledger.findings import Fault
from server.command.log.memory import recall
from server.command.log.pages import read_pages
from server.command.log.place import Place, open_keys, placed, usage
from server.command.log.showing import format_option, progress, say
from server.command.log.vkey import check_vkey, own_key, pinned
from server.opening import SQLITE, name_patient
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2

if TYPE_CHECKING:
    from engine.ledger.findings import Findings
    from engine.ledger.keys import KeyStore
    from engine.ledger.store import LogStore
    from server.command.log.memory import Memory
    from server.config import LogSettings

SETTLE_SECONDS = 2.0
"""How long a server at work gets to keep the checkpoint over its last entries; it needs a fifth of a second."""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@placed
@click.command(
    epilog="""Example: eligibility log verify --export audit-2026 --vkey cds.example.org/decisions/prod-1+1a2b3c4d+AQ...

Exit codes: 0 good; 1 incomplete, or it cannot be read, or derived tables were mended; 2 wrong usage; 3 tampered.

Incomplete: entries that no checkpoint covers (a server signs them at its next start), or keys that are not there."""
)
@click.option("--export", "export", type=_FOLDER, help="Verify this export, with the verifier that stands alone.")
@click.option("--receipt", "receipts", type=_FILE, multiple=True, help="Verify this receipt too. Repeatable.")
@click.option("--vkey", callback=check_vkey, help="The log's verifier key, from somewhere else than the log.")
@click.option("--witness-vkey", "witnesses", multiple=True, help="Verifier key of a witness of an export. Repeatable.")
@click.option("--since", type=_FILE, help="An older signed checkpoint that the log has to extend.")
@click.option("--rebuild", is_flag=True, help="Make derived tables again if only they are at fault; stop the server.")
@click.option("--without-keys", is_flag=True, help="Do not open what is sealed; its bytes are compared all the same.")
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
    without_keys: bool,
    form: str,
) -> None:
    """Compute everything again from the entries and compare it with what was signed.

    Without --export the store of the log is verified where it lies: sealed bodies, keys and derived tables, and what
    the signer remembers. Of an older copy of the log, give --signer none. With --server, the headers that a server
    shows.
    """
    note = since.read_bytes() if since else None
    if note is not None and not note.strip():
        raise click.UsageError(f"--since: `{since}` is empty, and holds no signed checkpoint")
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
    with place.store(is_writer=rebuild) as store, ExitStack() as opened:
        if not key:
            with store.reading() as snapshot:
                key = own_key(snapshot)
        memory = recall(place.settings, key)
        snapshot = opened.enter_context(store.reading())
        keys, lack = (None, "") if without_keys else _keys(place.settings, opened)
        told = opened.enter_context(progress("verifying"))
        findings = fsck.verify(
            snapshot,
            key,
            keys=keys,
            subject_of=name_patient,
            since=note,
            remembered=memory.latest,
            progress=told,
        )
        opened.close()
        if rebuild and findings.is_mendable:
            fsck.rebuild(store, key)
        _await_checkpoint(store, key, findings)
    if lack:
        findings.lack("keys", "key store", lack)
    if memory.latest and memory.latest[0] < findings.signed_size:
        memory = recall(place.settings, key)  # a server at work has had more signed since
    _add_memory(memory, findings)
    ctx.exit(_report(findings, form, is_mended=rebuild))


def _await_checkpoint(store: LogStore, key: str, findings: Findings) -> None:
    """Give a server at work the time to keep the checkpoint over its last entries."""
    end = time.monotonic() + SETTLE_SECONDS
    while findings.is_whole and findings.signed_size < findings.tree_size:
        with store.reading() as snapshot:
            fsck.cover(snapshot, key, findings)
        if time.monotonic() > end:
            return
        time.sleep(SETTLE_SECONDS / 20)


def _add_memory(memory: Memory, findings: Findings) -> None:
    """Add what came of holding the log against its signer."""
    if memory.fault is not None:
        findings.faults.append(memory.fault)
    elif memory.latest and memory.latest[0] < findings.signed_size:
        message = (
            f"remembers {memory.latest[0]} entries, but has signed {findings.signed_size}: its state is an older one"
        )
        findings.faults.append(Fault("signer", "signer", message))
    elif memory.is_lost and findings.tree_size > 1:
        message = memory.why_not or "remembers nothing of the log"
        findings.lack("signer", "signer", f"{message}, so it does not tell whether the log was rolled back")
    elif memory.why_not:
        complain(f"the log was not held against what was signed last: {memory.why_not}")


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
        verdict, code = ("good", GOOD) if findings.is_complete else ("incomplete", FAULT)
    elif findings.is_mendable:
        verdict, code = ("mended", FAULT) if is_mended else ("derived tables are damaged", INTEGRITY)
    if form == "json":
        for fault in findings.faults:
            say({"code": fault.code, "place": fault.place, "message": fault.message, "is_derived": fault.is_derived})
        for gap in findings.gaps:
            say({"code": gap.code, "place": gap.place, "message": gap.message, "is_gap": True})
        say(
            {
                "verdict": verdict,
                "tree_size": findings.tree_size,
                "signed_size": findings.signed_size,
                "root_hash": findings.root_hash.hex(),
                "checkpoints": findings.checkpoints,
                "sealed": findings.sealed,
                "erased": findings.erased,
                "faults": len(findings.faults),
                "gaps": len(findings.gaps),
            }
        )
        return code
    for fault in (*findings.faults, *findings.gaps):
        click.echo(str(fault))
    if code == INTEGRITY and findings.is_mendable:
        complain("all that is wrong is derived: stop the server and give --rebuild")
    click.echo(
        f"{verdict}: {findings.tree_size} entries, {findings.checkpoints} checkpoints, {findings.sealed} sealed parts, "
        f"{findings.erased} erased, {len(findings.faults)} faults, {len(findings.gaps)} gaps"
    )
    return code


def _keys(settings: LogSettings, opened: ExitStack) -> tuple[KeyStore | None, str]:
    """Open the keys, or say why what is sealed cannot be opened with them; the log is verified all the same."""
    needed = {"--wrapping-key": settings.wrapping_key}
    if settings.keys.startswith(SQLITE):
        needed["--keys"] = settings.keys.removeprefix(SQLITE)
    for flag, file in needed.items():
        if not Path(file).is_file():
            return None, f"is not here, so nothing sealed was opened ({flag}: there is no file `{file}`)"
    try:
        with usage():
            keys = open_keys(settings)
        opened.callback(keys.close)
        if keys.is_fresh():
            return None, "is empty, so nothing sealed was opened: --keys is another log's, or was lost"
        keys.prove()
    except LedgerError as error:
        return None, f"cannot be used, so nothing sealed was opened: {error}"
    return keys, ""
