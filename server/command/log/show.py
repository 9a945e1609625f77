"""`eligibility log show`: one entry, its header or opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from server.command.log.place import Place, placed
from server.command.log.showing import (
    format_option,
    kind_text,
    name_entry,
    print_table,
    say,
    shown_body,
    time_text,
)
from server.pb.eligibility.v1 import decision_log_service_pb2 as log_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIGESTS = ("pack_digest", "engine_digest", "schema_digest", "reference_digest")
_STATES = {
    log_pb2.PATIENT_PART_STATE_NONE: "nothing is sealed of a patient",
    log_pb2.PATIENT_PART_STATE_OPENED: "opened",
    log_pb2.PATIENT_PART_STATE_ERASED: "erased",
}


@placed
@click.command(
    epilog="""Example: eligibility log show 17 --open --purpose "complaint of March" --ticket QA-42

Exit codes: 0 good; 1 there is no such entry, or the log cannot be read; 2 wrong usage; 3 it is not what was logged."""
)
@click.argument("name", metavar="INDEX|ID")
@click.option("--open", "is_opened", is_flag=True, help="Open what is sealed. It is logged who did, and why.")
@click.option("--purpose", default="", help="Why it is opened; never patient data.")
@click.option("--ticket", default="", help="Number of the matter it is opened for.")
@format_option
def show(*, place: Place, name: str, is_opened: bool, purpose: str, ticket: str, form: str) -> None:
    """Show one entry: its header, or with --open what it seals of patient and caller."""
    request = name_entry(log_pb2.GetDecisionRequest(access_purpose=purpose, ticket=ticket), name)
    request.view = log_pb2.ENTRY_VIEW_OPEN if is_opened else log_pb2.ENTRY_VIEW_HEADER
    with place.asking() if is_opened else place.reading() as asking:
        answer = asking.ask("GetDecision", request, log_pb2.GetDecisionResponse)
    if form == "json":
        say(answer)
        return
    print_table(("field", "value"), _header(answer))
    if is_opened:
        print_table(("sealed", "value"), _opened(answer.opened))


def _header(answer: log_pb2.GetDecisionResponse) -> Iterator[tuple[str, object]]:
    item, receipt = answer.entry, answer.receipt
    yield "index", item.index
    yield "kind", kind_text(item.kind)
    yield "logged at (UTC)", time_text(item.logged_at)
    if item.clock_flags:
        flags = (log_pb2.ClockFlag.Name(flag).removeprefix("CLOCK_FLAG_").lower() for flag in item.clock_flags)
        yield "clock", ", ".join(flags)
    yield "id", item.entry_id
    for name in _DIGESTS:
        if getattr(item, name):
            yield name.replace("_", " "), getattr(item, name)
    for name, part in (("patient part", item.patient_part), ("caller part", item.caller_part)):
        if part.length:
            yield name, f"{part.length} bytes under key {part.key_id}"
    for name, value in shown_body(item).items():
        yield name.replace("_", " "), value
    yield "proof", f"in the signed tree of {receipt.tree_size} entries" if receipt.proof else "no checkpoint yet"


def _opened(opened: log_pb2.OpenedEntry) -> Iterator[tuple[str, object]]:
    yield "patient part", _STATES[opened.state]
    if opened.HasField("caller"):
        caller = opened.caller
        yield "caller", f"{caller.name} ({', '.join(caller.roles)}) from {caller.peer}"
        yield "called", f"{caller.method} {caller.status}".rstrip()
        for name in ("purpose", "request_id"):
            if getattr(caller, name):
                yield name.replace("_", " "), getattr(caller, name)
    kind = opened.WhichOneof("content")
    if kind is not None:
        content = getattr(opened, kind)
        for field, value in content.ListFields():
            yield field.name.replace("_", " "), _text(field.name, value)


def _text(name: str, value: str | bytes) -> str:
    if isinstance(value, str):
        return value
    if name.endswith("_digest"):
        return value.hex()
    return f"{len(value)} bytes; see --format json, or `eligibility log report`"
