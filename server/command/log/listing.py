"""`eligibility log list`: headers of entries, each page checked against the checkpoint it is under."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from engine.cli.invocation import complain
from engine.ledger.checkpoint import parse_vkey
from server.command.log.pages import read_pages
from server.command.log.place import Place, placed
from server.command.log.showing import entry_table, format_option, say
from server.command.log.vkey import check_vkey
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

_KINDS = [name.removeprefix("ENTRY_KIND_").lower().replace("_", "-") for name in log_pb2.EntryKind.keys()[1:]]


@placed
@click.command(
    "list",
    epilog="""Example: eligibility log list --first 100 --count 20 --kind decision

Exit codes: 0 good; 1 the log cannot be read; 2 wrong usage; 3 the list is not what was signed.""",
)
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="Index of the first entry.")
@click.option("--count", type=click.IntRange(1), default=100, show_default=True, help="How many entries at most.")
@click.option("--tree-size", type=click.IntRange(1), help="List the tree of this size.  [default: the newest signed]")
@click.option("--kind", "kinds", type=click.Choice(_KINDS), multiple=True, help="Only this kind. Repeatable.")
@click.option("--since", type=click.DateTime(), help="Only entries written at this time (UTC) or later.")
@click.option("--until", type=click.DateTime(), help="Only entries written before this time (UTC).")
@click.option("--vkey", callback=check_vkey, help="The log's verifier key, to check the checkpoint's signature too.")
@format_option
def listing(  # noqa: PLR0913 - one parameter for each option
    *,
    place: Place,
    first: int,
    count: int,
    tree_size: int | None,
    kinds: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    vkey: str | None,
    form: str,
) -> None:
    """List the headers of entries: what, when, and under which rules; nothing of patients.

    Without a filter, a list is checked to lack no entry. A filter (--kind, --since, --until) reads an index that no
    signature covers, so a filtered list may lack some.
    """
    request = log_pb2.ListDecisionsRequest(
        first_index=first, page_size=count, tree_size=tree_size or 0, kinds=_numbers(kinds)
    )
    if since is not None:
        request.since.FromDatetime(since.replace(tzinfo=UTC))
    if until is not None:
        request.until.FromDatetime(until.replace(tzinfo=UTC))
    key = parse_vkey(vkey) if vkey else None
    shown: list[log_pb2.LogEntry] = []
    with place.reading() as asking:
        for page in read_pages(asking, request, key):
            if form == "json":
                for item in page.entries:
                    say(item)
            shown += page.entries if form == "text" else ()
    if form == "text":
        entry_table(shown)
    signed = "signed" if key else "whose signature was not checked (give --vkey)"
    whole = "complete" if page.is_complete else "filtered, so perhaps not complete"
    complain(f"{whole}, under the checkpoint of {page.checkpoint.tree_size} entries, {signed}")


def _numbers(kinds: Sequence[str]) -> list[log_pb2.EntryKind.ValueType]:
    return [log_pb2.EntryKind.Value(f"ENTRY_KIND_{kind.upper().replace('-', '_')}") for kind in kinds]
