"""Logged requests and responses for replay, by the way that they went when they were answered.

Bytes become facts and decisions bytes through `server.evaluation`; only the day and the moment are the logged ones.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError, Message

from engine.facts import MAX_RECORDS
from engine.ledger.replay import Reading, UnreadableRequestError, Wire
from server.convert.ledger import EVALUATE_FHIR, RESPONSES
from server.convert.messages import items_of
from server.evaluation import Circumstances, read_asked, read_asked_fhir, write_answer
from server.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from engine.evaluator.decision import Decision
    from engine.ledger.seal import Context
    from engine.pack.book import RuleBook
    from server.evaluation import Asked


@cache
def wire() -> Wire:
    """Give how logged decisions are read and written again, by method."""
    return Wire(
        readers={method: _Reader(read_asked_fhir if method == EVALUATE_FHIR else read_asked) for method in RESPONSES},
        writers=dict.fromkeys(RESPONSES, _write),
        differences={method: _Comparer(kind) for method, kind in RESPONSES.items()},
    )


class _Reader:
    """Reads a request as on its day. The limit that the server put on trials let it through then."""

    def __init__(self, read: Callable[[bytes, RuleBook, Circumstances, int, date | None], Asked]) -> None:
        self._read = read

    def __call__(self, data: bytes, book: RuleBook, context: Context) -> Reading:
        """Give what was asked."""
        try:
            asked = self._read(data, book, _circumstances(context), MAX_RECORDS, context.as_of)
        except Fault as fault:
            places = ", ".join(violation.code for violation in fault.violations)
            message = f"{fault.reason.lower().replace('_', ' ')}{f': {places}' if places else ''}"
            raise UnreadableRequestError(message) from None
        request = asked.request
        as_of = asked.facts.as_of
        return Reading(asked.facts, request.jurisdiction, request.payer_id, as_of, request.is_full_view, asked)


def _write(decision: Decision, asked: Asked, context: Context) -> bytes:
    return write_answer(decision, asked, _circumstances(context))


def _circumstances(context: Context) -> Circumstances:
    try:
        return Circumstances.of(context)
    except (LookupError, ValueError):
        message = "its context does not tell when it was evaluated"
        raise UnreadableRequestError(message) from None


class _Comparer:
    """Compares two responses of one kind, field by field."""

    def __init__(self, kind: type[Message]) -> None:
        self._kind = kind

    def __call__(self, logged: bytes, now: bytes) -> list[str]:
        """Give the paths of the fields that differ."""
        try:
            one, other = self._kind.FromString(logged), self._kind.FromString(now)
        except DecodeError:
            return [f"the logged bytes are no {self._kind.DESCRIPTOR.name}"]
        return list(_differences(one, other, ""))


def _differences(one: Message, other: Message, path: str) -> Iterator[str]:
    mine, theirs = ({field.name: (field, value) for field, value in m.ListFields()} for m in (one, other))
    found = False
    for name in [*mine, *(n for n in theirs if n not in mine)]:
        place = f"{path}{name}"
        if name not in mine or name not in theirs:
            found = True
            yield place
            continue
        field, value = mine[name]
        if value == theirs[name][1]:
            continue
        found = True
        pairs = list(items_of(place, field, value)), list(items_of(place, field, theirs[name][1]))
        if len(pairs[0]) != len(pairs[1]) or field.message_type is None or field.message_type.GetOptions().map_entry:
            yield place
            continue
        for (inner, left), (_, right) in zip(*pairs, strict=True):
            yield from _differences(left, right, f"{inner}.") if left != right else ()
    if not found and one != other:
        yield f"{path}?"
