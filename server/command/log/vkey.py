"""`eligibility log vkey`: the key that verifies the log, for whoever is to pin it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.invocation import complain
from engine.errors import IntegrityError
from engine.ledger.checkpoint import parse_vkey
from server.command.log.place import Place, placed, usage
from server.signing_key import read_signing_key

if TYPE_CHECKING:
    from engine.ledger.store import Snapshot
    from server.config import LogSettings


@placed
@click.command(
    epilog="""Example: eligibility log vkey

Exit codes: 0 good; 1 it cannot be read; 2 wrong usage."""
)
def vkey(*, place: Place) -> None:
    """Print the log's verifier key: publish it, and let auditors keep it somewhere else than the log."""
    key = pinned(place.settings)
    if not key:
        with place.store() as store, store.reading() as snapshot:
            key = own_key(snapshot)
    click.echo(key)


def pinned(settings: LogSettings) -> str:
    """Give the key of a signer in the server's own process, which lies apart from the log; empty if there is none.

    Raises: UsageError: it cannot be used, or others than its owner may read it.
    """
    path = Path(settings.signing_key)
    with usage():
        return read_signing_key(path).vkey if path.exists() else ""


def own_key(snapshot: Snapshot) -> str:
    """Give the key that the log itself names, and say on standard error that this is no proof."""
    complain("the key is the log's own word; give --vkey to check it against what you were told")
    return snapshot.meta()["vkey"].decode()


def check_vkey(_ctx: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Refuse what was mistyped, so that it is not taken for a log that was tampered with. Raises: BadParameter."""
    if value is not None:
        try:
            parse_vkey(value)
        except IntegrityError as error:
            raise click.BadParameter(f"{error}; copy the whole line that `eligibility log vkey` prints") from None
    return value
