"""`eligibility log report`: one entry as an auditor reads it, on the terminal, as a page, or as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from engine.cli.output import as_line
from engine.cli.strict_json import printable
from engine.ledger.checkpoint import parse_vkey
from server.command.log.audit import Audited, as_data, gather
from server.command.log.place import Place, placed
from server.command.log.showing import WIDTH, name_entry, written
from server.command.log.vkey import check_vkey
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.cli.output import JsonObject

_HEAD = ("index", "id", "kind", "logged_at", "clock", "body", "digests", "state")
_PROVEN = ("origin", "tree_size", "is_signed", "is_verified")


@placed
@click.command(
    epilog="""Example: eligibility log report 17 --purpose "complaint of March" --ticket QA-42 --format html
--output 17.html

Exit codes: 0 good; 1 there is no such entry, or the log cannot be read; 2 wrong usage; 3 it is not what was logged."""
)
@click.argument("name", metavar="INDEX|ID")
@click.option("--purpose", required=True, help="Why it is opened; logged. Never patient data.")
@click.option("--ticket", required=True, help="Number of the matter it is opened for; logged.")
@click.option("--vkey", callback=check_vkey, help="The log's verifier key, to check the proof too.")
@click.option("--replay", "is_replayed", is_flag=True, help="Replay it too; needs the role `replayer`.")
@click.option("--format", "form", type=click.Choice(["text", "html", "json"]), default="text", show_default=True)
@click.option(
    "--output", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write here, not to the terminal."
)
def report(  # noqa: PLR0913 - one parameter for each option
    *,
    place: Place,
    name: str,
    purpose: str,
    ticket: str,
    vkey: str | None,
    is_replayed: bool,
    form: str,
    output: Path | None,
) -> None:
    """Open one entry and show all of it: who asked, what was known, what was decided, proof, and what came after.

    That it was opened, by whom and why, is logged. The html page stands alone and needs no network.
    """
    request = name_entry(log_pb2.GetDecisionRequest(access_purpose=purpose, ticket=ticket), name)
    with place.asking() as asking:
        audited = gather(asking, request, parse_vkey(vkey) if vkey else None, is_replayed=is_replayed)
    with written(output) as target:
        _write(audited, form, target)


def _write(audited: Audited, form: str, target: TextIO) -> None:
    if form == "html":
        from server.command.log.audit_page import write_page  # noqa: PLC0415 - only this form needs the page

        target.write(write_page(audited))
    elif form == "json":
        target.write(f"{as_line(as_data(audited))}\n")
    else:
        console = Console(file=target, highlight=False)
        if not console.is_terminal:
            console.width = WIDTH
        for table in _tables(as_data(audited)):
            if table.row_count:
                console.print(table)


def _tables(gathered: JsonObject) -> Iterator[Table]:
    proof = gathered["proof"]
    assert isinstance(proof, dict)  # noqa: S101 - `gather` puts it there
    yield _table("entry", {key: gathered[key] for key in _HEAD} | {key: proof[key] for key in _PROVEN})
    for name in ("caller", "request", "facts", "context", "parameters"):
        yield _table(name, gathered.get(name))
    yield _table("answers", _answers(gathered.get("decision")))
    yield _table("engines", gathered.get("engines"))
    yield _table("replay", gathered.get("replay"))
    later = gathered["later"]
    assert isinstance(later, list)  # noqa: S101 - as above
    yield _table("later", {str(item["index"]): [item["logged_at"], item["kind"], item["body"]] for item in later})


def _answers(decision: object) -> JsonObject:
    """Give the answers of a decision in short; the page and the data have all of it."""
    if not isinstance(decision, dict):
        return {}
    options = {option["title"]: option["summary"] for option in decision.get("options", ())}
    return options | {name: decision.get(name) for name in ("triage", "coverage", "changes_on", "packs")}


def _table(title: str, values: object) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in values.items() if isinstance(values, dict) else ():
        if value not in ({}, [], "", None):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            table.add_row(Text(printable(name.replace("_", " "))), Text(printable(text)))
    return table
