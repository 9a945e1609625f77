"""The public keys of one client: from a file, or from its listed address with a cache, a limit and a time limit."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import jwt

from server.cds_hooks.fetch import FetchError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from server.cds_hooks.clients import Client
    from server.cds_hooks.fetch import Outside

KEYS_LIVE = 3600.0
KEYS_REST = 60.0
"""Seconds between two readings, whatever is asked for: an unknown key id costs one reading a minute."""

FETCH_SECONDS = 2.0
MAX_BYTES = 256 * 1024
_TYPES = frozenset({"RSA", "EC", "OKP"})


class ClientKeys:
    """Keys by id. Those that cannot be read again stay in use: a site whose key server is down is not locked out."""

    def __init__(self, client: Client, outside: Outside, monotonic: Callable[[], float]) -> None:
        self._client = client
        self._outside = outside
        self._monotonic = monotonic
        self._entries: Mapping[str, Mapping[str, object]] = {}
        self._made: dict[tuple[str, str], jwt.PyJWK | None] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Lock | None = None

    async def find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """Give the key of an id for an algorithm; None if there is none.

        The keys are read again where they are old, or where the id is unknown.
        """
        if key_id not in self._entries or self._age() > KEYS_LIVE:
            self._reading = self._reading or asyncio.Lock()
            async with self._reading:
                if self._age() > (KEYS_LIVE if key_id in self._entries else KEYS_REST):
                    await self._read()
        if key_id not in self._entries:
            return None
        if (key_id, algorithm) not in self._made:
            self._made[key_id, algorithm] = _key(self._entries[key_id], algorithm)
        return self._made[key_id, algorithm]

    def _age(self) -> float:
        return self._monotonic() - self._read_at

    async def _read(self) -> None:
        self._read_at = self._monotonic()
        try:
            self._entries, self._made = parse_keys(await self._content()), {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, FetchError):
            return

    async def _content(self) -> bytes:
        if self._client.jwks:
            return await asyncio.to_thread(Path(self._client.jwks).read_bytes)
        async with asyncio.timeout(FETCH_SECONDS):
            return await self._outside.get(self._client.jku, {"accept": "application/json"}, MAX_BYTES)


def parse_keys(content: bytes) -> dict[str, Mapping[str, object]]:
    """Read a JWK Set; a key that is not for asymmetric signatures, or has no id, is passed over.

    Raises:
        ValueError: it holds no usable key.

    """
    keys = {}
    for entry in json.loads(content)["keys"]:
        if entry.get("kty") in _TYPES and entry.get("use", "sig") == "sig" and isinstance(entry.get("kid"), str):
            keys[entry["kid"]] = entry
    if not keys:
        message = "the key set holds no usable key"
        raise ValueError(message)
    return keys


def _key(entry: Mapping[str, object], algorithm: str) -> jwt.PyJWK | None:
    """Make the key for one algorithm; a key that names its own is for no other."""
    if entry.get("alg", algorithm) != algorithm:
        return None
    try:
        return jwt.PyJWK(dict(entry), algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
