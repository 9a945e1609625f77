"""Messages read strictly: what this version of the contract does not know is refused with its path, never dropped."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from engine.errors import Violation
from server.faults import malformed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

M = TypeVar("M", bound=Message)

MAX_KEY = 64
"""A longer key of a map is not repeated in a path."""


def parse(kind: type[M], data: bytes) -> M:
    """Parse a message. Raises: Fault (INVALID_ARGUMENT) for bytes that are none."""
    try:
        return kind.FromString(data)
    except DecodeError:
        raise malformed() from None


def refuse_unknown(message: Message, path: str = "") -> list[Violation]:
    """Find the fields and enum numbers that this version of the contract does not know, with their paths."""
    violations = [
        Violation(
            f"{path}{unknown.field_number}",
            "request/unknown-field",
            f"this version of the contract has no field {unknown.field_number} here; leave it out",
        )
        for unknown in UnknownFieldSet(message)  # type: ignore[attr-defined]
    ]
    for field, value in message.ListFields():
        place = f"{path}{field.name}"
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key, item in value.items():
                if isinstance(item, Message):
                    shown = key if key.isidentifier() and len(key) <= MAX_KEY else "?"
                    violations += refuse_unknown(item, f"{place}[{shown}].")
        elif field.message_type is not None:
            for inner_place, inner in items_of(place, field, value):
                violations += refuse_unknown(inner, f"{inner_place}.")
        elif field.enum_type is not None:
            violations += [
                Violation(item_place, "request/unknown-value", f"is no value of {field.enum_type.name}")
                for item_place, number in items_of(place, field, value)
                if number not in field.enum_type.values_by_number
            ]
    return violations


def enum_number(descriptor: EnumDescriptor, text: str) -> int:
    """Give the number of an enum's value from its word, such as `not_met`. Raises: KeyError."""
    return descriptor.values_by_name[_prefix(descriptor) + text.upper()].number


@cache
def enum_text(descriptor: EnumDescriptor, number: int) -> str | None:
    """Give an enum value's word; None for `_UNSPECIFIED` and for unknown numbers. A single letter keeps its case."""
    value = descriptor.values_by_number.get(number)
    if value is None or number == 0:
        return None
    text = str(value.name.removeprefix(_prefix(descriptor)))
    return text if len(text) == 1 else text.lower()


def items_of(place: str, field: FieldDescriptor, value: Any) -> Iterable[tuple[str, Any]]:  # noqa: ANN401 - any field's value
    """Give a field's values, each with its place: itself, or one for each of its items."""
    if not field.is_repeated:
        return [(place, value)]
    return ((f"{place}[{position}]", item) for position, item in enumerate(value))


@cache
def _prefix(descriptor: EnumDescriptor) -> str:
    return str(descriptor.values_by_number[0].name.removesuffix("UNSPECIFIED"))
