"""Bodies of requests: taken in with a limit on size and time, and read as JSON that has one reading."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn

from starlette.requests import ClientDisconnect

from engine.fhir import bundle
from server.cds_hooks.outcome import Refusal, malformed

if TYPE_CHECKING:
    from starlette.requests import Request

BODY_SECONDS = 10.0
MAX_DEPTH = bundle.MAX_DEPTH - 1
"""INVARIANT: a resource that is read goes into an object of resources, which is no deeper than a record may be."""

_JSON_TYPES = frozenset({"application/json", "application/fhir+json", "application/json+fhir"})
_HOLDERS = frozenset({dict, list})
FORM_TYPE = "application/x-www-form-urlencoded"


async def take_in(request: Request, limit: int, kinds: frozenset[str] = _JSON_TYPES) -> bytes:
    """Give the body of a request.

    Raises:
        Refusal: 415 for another content type, 413 above `limit` bytes, 408 where the client takes too long or leaves.

    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        raise Refusal(415, "content-type", f"send the body as {min(kinds)}")
    told = request.headers.get("content-length", "0")
    if len(told) > len(str(limit)) or (told.isdecimal() and int(told) > limit):
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
    except TimeoutError:
        raise Refusal(408, "slow", "the body took too long") from None
    except ClientDisconnect:
        raise Refusal(408, "gone", "the client went away") from None
    return b"".join(parts)


def read_object(data: bytes) -> dict[str, object]:
    """Read a JSON object. Numbers with a point are the `Decimal` of the nearest float, as they are written and logged.

    Raises:
        Refusal: 400 for anything else, also for a key that occurs twice in an object, NaN, endless digits, and absurd
            depth.

    """
    try:
        value = _DECODER.decode(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise malformed("the body is not JSON that has one reading") from None
    if not isinstance(value, dict):
        raise malformed("the body is not a JSON object")
    if _is_deep(value):
        raise malformed(f"the body is nested deeper than {MAX_DEPTH} levels")
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        message = "a key occurs twice"
        raise ValueError(message)
    return value


def _integer(digits: str) -> int:
    if len(digits) > bundle.MAX_DIGITS:
        message = "a number has too many digits"
        raise ValueError(message)
    return int(digits)


def _decimal(digits: str) -> Decimal:
    return Decimal(repr(float(digits)))


def _no_number(_text: str) -> NoReturn:
    message = "NaN and Infinity are not JSON"
    raise ValueError(message)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_decimal, parse_constant=_no_number
)


def _is_deep(value: dict[str, object]) -> bool:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if type(inner) in _HOLDERS
        ]
        if not level:
            return False
    return True


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "too-large", f"the body is larger than {limit} bytes; send fewer resources")
