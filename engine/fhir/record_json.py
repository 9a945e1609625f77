"""The JSON of records: bytes to a value, read where it has one reading.

Numbers with a point become `Decimal`, exactly as they were written.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import Any

from engine.errors import FactError, Violation

MAX_DEPTH = 100
MAX_DIGITS = 64
"""A number with a point that is longer is read as NaN, which is no usable value; a longer whole number is refused."""


def parse(data: bytes) -> object:
    """Read JSON strictly: one document, or one on each line (NDJSON), which gives a list.

    Only a line feed ends a line; what else Unicode takes for one may stand inside a text.

    Raises:
        FactError: it is not JSON, or has two readings (a key twice in one object, NaN), or is nested too deeply.

    """
    text = _decoded(data)
    documents = text.split("\n") if _is_by_line(text) else [text]
    values = [_document(line, number) for number, line in enumerate(documents, 1) if line.strip()]
    if not values:
        raise _refused("is empty; send a FHIR resource, a Bundle or NDJSON")
    return values[0] if len(documents) == 1 else values


def parse_members(data: bytes, depth: int) -> tuple[dict[str, object], dict[str, bytes]]:
    """Read a JSON object as strictly; give it, and the bytes of each member, of which `parse` makes the same value.

    Raises:
        FactError: as `parse`, or the document is no object, or has more than `depth` levels.

    """
    text = _decoded(data)
    try:
        value, members, end = _members(text)
    except json.JSONDecodeError as error:
        raise _syntax(error, 1) from None
    except RecursionError:
        raise _too_deep(depth) from None
    if _after_space(text, end) != len(text):
        raise _refused("holds more than one document")
    _check_depth(value, depth)
    return value, members


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(f"is not UTF-8 (byte {error.start}); save it as UTF-8") from None


def _is_by_line(text: str) -> bool:
    """Say whether the text is NDJSON: its first line is whole, and more follow."""
    first, _, rest = text.lstrip().partition("\n")
    if not rest.lstrip().startswith("{"):
        return False
    try:
        json.JSONDecoder().decode(first.strip())
    except (ValueError, RecursionError):
        return False
    return True


def _document(text: str, line: int) -> object:
    try:
        value: object = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise _syntax(error, line) from None
    except RecursionError:
        raise _too_deep(MAX_DEPTH) from None
    _check_depth(value, MAX_DEPTH)
    return value


def _members(text: str) -> tuple[dict[str, object], dict[str, bytes], int]:
    """Read the object with which a text begins, its members' texts, and where it ends."""
    whole: dict[str, object] = {}
    members: dict[str, bytes] = {}
    place = _after(text, 0, "{")
    while text[place : place + 1] != "}":
        place = _after(text, place, ",") if members else place
        if text[place : place + 1] != '"':
            message = "Expecting property name enclosed in double quotes"
            raise json.JSONDecodeError(message, text, place)
        key, place = _DECODER.raw_decode(text, place)
        begins = _after(text, place, ":")
        value, end = _DECODER.raw_decode(text, begins)
        if key in whole:
            raise _refused(_DOUBLED)
        whole[key], members[key] = value, text[begins:end].encode()
        place = _after_space(text, end)
    return whole, members, place + 1


def _after(text: str, place: int, mark: str) -> int:
    """Give the place of what follows a mark, past white space on both sides."""
    found = _after_space(text, place)
    if text[found : found + 1] != mark:
        message = f"Expecting '{mark}'"
        raise json.JSONDecodeError(message, text, found)
    return _after_space(text, found + 1)


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _check_depth(value: object, depth: int) -> None:
    level: list[Any] = [[value]]
    for _ in range(depth + 1):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if type(inner) in _HOLDERS
        ]
        if not level:
            return
    raise _too_deep(depth)


_SPACE = re.compile(r"[ \t\n\r]*")
_HOLDERS = frozenset({dict, list})
_DOUBLED = "holds a key twice in one object; keep one"


def _syntax(error: json.JSONDecodeError, line: int) -> FactError:
    reason = error.msg[:1].lower() + error.msg[1:]
    return _refused(f"is not JSON: {reason} at line {line + error.lineno - 1}, column {error.colno}")


def _too_deep(depth: int) -> FactError:
    return _refused(f"is nested deeper than {depth} levels")


def _refused(reason: str) -> FactError:
    return FactError([Violation("fhir", "fhir/not-json", reason)])


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _refused(_DOUBLED)
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _refused(f"holds a number written with more than {MAX_DIGITS} characters")
    return int(digits)


def _decimal(digits: str) -> Decimal:
    try:
        return Decimal(digits) if len(digits) <= MAX_DIGITS else Decimal("nan")
    except InvalidOperation:
        return Decimal("nan")


def _constant(name: str) -> object:
    raise _refused(f"holds {name}, which is not JSON; leave the key out if the value is unknown")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_decimal, parse_constant=_constant
)
