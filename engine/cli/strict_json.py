"""JSON read strictly: what has two readings, or none, is refused with its path, and size is bounded.

Refused are keys that occur twice in one object, NaN and Infinity, half surrogate pairs, numbers of absurd length, deep
nesting, and bytes that are not UTF-8. Numbers with a point are read as `Decimal`, exactly as they were written.
"""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from engine.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 32
MAX_DIGITS = 64
MAX_SHOWN = 80


class JsonError(Exception):
    """The text is not JSON that can be read. The message says why, without the text's content."""


class _Object(dict[str, object]):
    """A JSON object that remembers which of its keys occurred more than once."""

    doubled: tuple[str, ...] = ()


class _NotJson(float):
    """NaN or Infinity: Python's reader knows them, JSON does not."""


def parse(content: bytes) -> tuple[object, tuple[Violation, ...]]:
    """Read one JSON document; give its value and everything in it that is refused, by path.

    Raises:
        JsonError: it cannot be read at all.

    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JsonError(f"is not UTF-8 (byte {error.start}); save the file as UTF-8") from None
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        reason = error.msg[:1].lower() + error.msg[1:]
        raise JsonError(f"is not JSON: {reason} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise JsonError(_TOO_DEEP) from None
    return value, tuple(_refused(value, "", MAX_DEPTH))


_HALF = "holds half of a surrogate pair; write the whole character"
_TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"


def _refused(value: object, path: str, depth: int) -> Iterator[Violation]:
    if isinstance(value, _NotJson):
        yield Violation(path, "json/not-a-number", "NaN and Infinity are not JSON; leave the key out if it is unknown")
    elif isinstance(value, str):
        if _is_broken(value):
            yield Violation(path, "json/broken-text", _HALF)
    elif isinstance(value, dict | list):
        if not depth:
            raise JsonError(_TOO_DEEP)
        if isinstance(value, _Object):
            yield from (
                Violation(_below(path, key), "json/duplicate-key", "occurs more than once here; keep one")
                for key in value.doubled
            )
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(key, str) and _is_broken(key):
                yield Violation(_below(path, key), "json/broken-text", _HALF)
            yield from _refused(item, _below(path, key), depth - 1)


def _below(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    name = printable(key[:MAX_SHOWN])
    return f"{path}.{name}" if path else name


def _is_broken(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def printable(text: str) -> str:
    """Replace what a terminal might obey instead of show."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _object(pairs: list[tuple[str, object]]) -> _Object:
    value = _Object(pairs)
    if len(value) != len(pairs):
        times = Counter(key for key, _ in pairs)
        value.doubled = tuple(key for key in value if times[key] > 1)
    return value


def _integer(digits: str) -> int:
    _check_length(digits)
    return int(digits)


def _decimal(digits: str) -> Decimal:
    _check_length(digits)
    try:
        return Decimal(digits)
    except InvalidOperation:
        raise JsonError("holds a number whose exponent no computer can hold") from None


def _check_length(digits: str) -> None:
    if len(digits) > MAX_DIGITS:
        raise JsonError(f"holds a number written with more than {MAX_DIGITS} characters")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_decimal, parse_constant=_NotJson
)
