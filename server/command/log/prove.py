"""`eligibility log prove`: that an entry is in the log, or that the log only grew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.ledger.checkpoint import parse_receipt, parse_vkey, verify_receipt
from engine.ledger.merkle import verify_consistency
from server.command.log.pages import open_checkpoint
from server.command.log.place import Place, placed
from server.command.log.showing import format_option, name_entry, say
from server.command.log.vkey import check_vkey
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2

if TYPE_CHECKING:
    from server.command.log.asking import Asking


@placed
@click.command(
    epilog="""Example: eligibility log prove --index 17 --output 17.receipt

Exit codes: 0 proven; 1 there is no such entry or checkpoint; 2 wrong usage; 3 the proof does not hold."""
)
@click.option("--index", "name", metavar="INDEX|ID", help="Prove that this entry is in the log.")
@click.option("--from", "old_size", type=click.IntRange(1), help="Prove that the tree of this size is extended ...")
@click.option("--to", "new_size", type=click.IntRange(1), help="... by the tree of this size.  [default: newest]")
@click.option("--tree-size", type=click.IntRange(1), help="Prove an entry in the tree of this size.")
@click.option("--vkey", callback=check_vkey, help="The log's verifier key, to check signatures too.")
@click.option(
    "--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write the proof to this file."
)
@format_option
def prove(  # noqa: PLR0913 - one parameter for each option
    *,
    place: Place,
    name: str | None,
    old_size: int | None,
    new_size: int | None,
    tree_size: int | None,
    vkey: str | None,
    output: Path | None,
    form: str,
) -> None:
    """Give a receipt of an entry (--index), or a proof that the log only grew (--from, --to), and check it.

    A receipt is a C2SP tlog-proof file, which `eligibility log verify --receipt` and other tools read. A proof of
    growth is written as one hash a line, in hex, and then the signed checkpoint.
    """
    if (name is None) is (old_size is None):
        raise click.UsageError("give --index, or --from and --to")
    with place.reading() as asking:
        if name is not None:
            _prove_entry(asking, name, tree_size or 0, vkey, output, form)
        else:
            _prove_growth(asking, old_size or 0, new_size or 0, vkey, output, form)


def _prove_entry(asking: Asking, name: str, tree_size: int, vkey: str | None, output: Path | None, form: str) -> None:
    request = name_entry(log_pb2.GetInclusionProofRequest(tree_size=tree_size), name)
    answer = asking.ask("GetInclusionProof", request, log_pb2.GetInclusionProofResponse)
    receipt = answer.receipt
    if vkey:
        verify_receipt(parse_receipt(receipt.proof), parse_vkey(vkey))
    _write(receipt.proof, output)
    if form == "json":
        say(answer)
    elif output is None:
        click.echo(receipt.proof, nl=False)
    else:
        click.echo(f"entry {receipt.index} is in the tree of {receipt.tree_size} entries of `{receipt.origin}`")


def _prove_growth(
    asking: Asking, old_size: int, new_size: int, vkey: str | None, output: Path | None, form: str
) -> None:
    key = parse_vkey(vkey) if vkey else None
    old = asking.ask("GetCheckpoint", log_pb2.GetCheckpointRequest(tree_size=old_size), log_pb2.GetCheckpointResponse)
    request = log_pb2.GetConsistencyProofRequest(old_size=old.tree_size, new_size=new_size)
    answer = asking.ask("GetConsistencyProof", request, log_pb2.GetConsistencyProofResponse)
    one, other = open_checkpoint(old.checkpoint, key), open_checkpoint(answer.checkpoint, key)
    verify_consistency(one.tree_size, other.tree_size, list(answer.proof), one.root_hash, other.root_hash)
    text = b"".join(f"{each.hex()}\n".encode() for each in answer.proof) + b"\n" + answer.checkpoint
    _write(text, output)
    if form == "json":
        say(answer)
    elif output is None:
        click.echo(text, nl=False)
    else:
        click.echo(f"the tree of {other.tree_size} entries extends the tree of {one.tree_size}")


def _write(content: bytes, output: Path | None) -> None:
    if output is not None:
        output.write_bytes(content)
