"""How answers are shown: tables for people, a JSON object a line for programs, a bar on a terminal meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO, TypeVar

import click
from google.protobuf.json_format import MessageToDict
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from engine.cli.invocation import open_output
from engine.cli.output import JsonObject, as_line
from engine.cli.strict_json import printable
from engine.errors import EntryNotFoundError, LedgerError
from engine.ledger.entry import entry_id_of
from server.convert.ledger import body_fields
from server.convert.messages import enum_text
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2
from server.rpc.log_reading import NO_ENTRY

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

F = TypeVar("F", bound=Callable[..., object])
Entry = TypeVar("Entry", log_pb2.GetDecisionRequest, log_pb2.ReplayDecisionRequest, log_pb2.GetInclusionProofRequest)

LAST_INDEX = 2**63 - 1
WIDTH = 160
"""Of a table where there is no terminal."""

MAX_WORD = 32
INDEX = "index"


def format_option(command: F) -> F:
    """Add the choice between text and JSON."""
    return click.option(
        "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form."
    )(command)


def as_json(message: Message) -> JsonObject:
    """Give a message as plain data, by the field names of the contract; bytes are base64."""
    plain: JsonObject = MessageToDict(message, preserving_proto_field_name=True, unquote_int64_if_possible=True)
    if INDEX in message.DESCRIPTOR.fields_by_name and not message.DESCRIPTOR.fields_by_name[INDEX].has_presence:
        plain = {INDEX: 0} | plain  # the index of entry 0 is left out elsewhere, as every zero is
    return plain


def say(value: JsonObject | Message) -> None:
    """Print one JSON object on one line."""
    click.echo(as_line(value if isinstance(value, dict) else as_json(value)))


def print_table(columns: Iterable[str], rows: Iterable[Iterable[object]], target: TextIO | None = None) -> None:
    """Print rows of text; the last column is broken where a row is too long."""
    console = Console(file=target, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    *fixed, last = columns
    table = Table()
    for name in fixed:
        table.add_column(name, no_wrap=True)
    table.add_column(last, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    console.print(table)


@contextmanager
def written(output: Path | None) -> Iterator[TextIO]:
    """Give the file to write to, or standard output. Raises: LedgerError naming the file where it cannot be written."""
    try:
        with open_output(output) as target:
            yield target
    except OSError as error:
        if output is None:
            raise
        message = f"--output: `{output}` cannot be written: {os.strerror(error.errno or 0).lower()}"
        raise LedgerError(message) from None


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int, int], None]]:
    """Give what is told how many of how many are done; on a terminal it moves a bar on standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _done, _all: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, all_of_them: bar.update(task, completed=done, total=all_of_them)


def time_text(time: Timestamp) -> str:
    """Write a time in UTC, to the second."""
    return datetime.fromtimestamp(time.seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def kind_text(kind: int) -> str:
    """Give the words for a kind of entry."""
    return (enum_text(log_pb2.EntryKind.DESCRIPTOR, kind) or f"kind {kind}").replace("_", " ")


def entry_table(entries: Iterable[log_pb2.LogEntry]) -> None:
    """Print entries, one a row."""
    rows = (
        (item.index, time_text(item.logged_at), kind_text(item.kind), item.entry_id, body_text(item))
        for item in entries
    )
    print_table(("index", "logged at (UTC)", "kind", "id", "says"), rows)


def body_text(item: log_pb2.LogEntry) -> str:
    """Give the public fields of an entry, long ones cut."""
    return " ".join(f"{name}={_short(value)}" for name, value in shown_body(item).items())


def shown_body(item: log_pb2.LogEntry) -> dict[str, str]:
    """Give the public fields of an entry in their order; an index that names no entry is `none`."""
    fields = body_fields(item.leaf_data)
    return {name: "none" if value == str(NO_ENTRY) else value for name, value in fields.items()}


def name_entry(request: Entry, name: str) -> Entry:
    """Put an entry, given as an index or an id, into a request. Raises: UsageError."""
    if name.isascii() and name.isdecimal() and int(name) <= LAST_INDEX:
        request.index = int(name)
        return request
    try:
        entry_id_of(name)
    except EntryNotFoundError as error:
        raise click.UsageError(f"`{name}` is no index, and {error}") from None
    request.decision_id = name
    return request


def _short(text: str) -> str:
    return text if len(text) <= MAX_WORD else f"{text[: MAX_WORD - 3]}..."
