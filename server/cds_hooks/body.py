"""Bodies of requests: taken in with a limit on size and time, and read as JSON that has one reading."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from engine.errors import FactError
from engine.fhir import record_json
from server.cds_hooks.outcome import Refusal, malformed

if TYPE_CHECKING:
    from starlette.requests import Request

BODY_SECONDS = 10.0
MAX_DEPTH = record_json.MAX_DEPTH - 1
"""INVARIANT: a resource that is read goes into an object of resources, which is no deeper than a record may be."""

_JSON_TYPES = frozenset({"application/json", "application/fhir+json", "application/json+fhir"})
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
    """Read a JSON object. Raises: as `read_members`."""
    return read_members(data)[0]


def read_members(data: bytes) -> tuple[dict[str, object], dict[str, bytes]]:
    """Read a JSON object; give it, and the bytes of each member as they came.

    Raises:
        Refusal: 400 for anything else, also for a key that occurs twice in an object, NaN, endless digits, and absurd
            depth.

    """
    try:
        return record_json.parse_members(data, MAX_DEPTH)
    except FactError as error:
        raise malformed("; ".join(f"the body {violation.message}" for violation in error.violations)) from None


def is_whole(text: str) -> bool:
    """Say whether a text can be written: JSON can escape half of a character, as where an emoji was cut off."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "too-large", f"the body is larger than {limit} bytes; send fewer resources")
