"""Who calls: signed tokens of listed clients, or their client certificates.

Every refusal is the same plain 401; the reason is for the operators' access log. Source: CDS Hooks 2.0, trusting CDS
clients; RFC 8725 (JSON Web Token Best Current Practices).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import jwt

from server.cds_hooks.keys import ClientKeys
from server.cds_hooks.outcome import busy, unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from server.cds_hooks.clients import Client
    from server.cds_hooks.fetch import Outside

LEEWAY = 10
"""Seconds: a widespread client rounds `iat` up."""

MAX_LIFETIME = 20 * 60
MAX_TOKEN = 8192
MAX_NAME = 256
MAX_REMEMBERED = 50_000
_REQUIRED = ["exp", "iss", "aud", "iat", "jti"]
_REASONS: Mapping[type[Exception], str] = {
    jwt.ExpiredSignatureError: "expired",
    jwt.ImmatureSignatureError: "not-yet",
    jwt.InvalidAudienceError: "audience",
    jwt.InvalidIssuerError: "issuer",
    jwt.InvalidSignatureError: "signature",
    jwt.InvalidAlgorithmError: "algorithm",
    jwt.MissingRequiredClaimError: "claim-missing",
}


class _Claims(TypedDict):
    """The claims that outlive the check of a token."""

    jti: str
    exp: float


class Replays:
    """The tokens of one client that were taken already, remembered until they expire."""

    def __init__(self, now: Callable[[], float], limit: int = MAX_REMEMBERED) -> None:
        self._now = now
        self._limit = limit
        self._until: dict[str, float] = {}

    def take(self, token_id: str, until: float) -> None:
        """Take a token once.

        Raises:
            Refusal: 401 for one that was taken before; 503 while no more can be remembered.

        """
        now = self._now()
        if self._until.get(token_id, now - 1) >= now:
            raise unauthenticated("replayed")
        if len(self._until) >= self._limit:
            self._until = {name: end for name, end in self._until.items() if end >= now}
            if len(self._until) >= self._limit:
                raise busy()
        self._until[token_id] = until


@dataclass(frozen=True, slots=True)
class _Known:
    """The clients that are trusted, by what shows who calls."""

    by_issuer: Mapping[str, Client]
    by_certificate: Mapping[str, Client]
    keys: Mapping[str, ClientKeys]


class Trust:
    """Finds the client of a call. `now` gives seconds since 1970, `algorithms` are the signatures that are taken."""

    def __init__(
        self,
        clients: Sequence[Client],
        algorithms: Sequence[str],
        outside: Outside,
        monotonic: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._outside = outside
        self._monotonic = monotonic
        self._now = now
        self._algorithms = list(algorithms)
        self._replays: dict[str, Replays] = {}
        self.trust(clients)

    def trust(self, clients: Sequence[Client]) -> None:
        """Trust these clients and no others from now on, by their keys as they are now; taken tokens stay taken."""
        by_issuer = {client.issuer: client for client in clients if client.issuer}
        for issuer in by_issuer:
            self._replays.setdefault(issuer, Replays(self._now))
        self._known = _Known(
            by_issuer,
            {client.certificate: client for client in clients if client.certificate},
            {issuer: ClientKeys(client, self._outside, self._monotonic) for issuer, client in by_issuer.items()},
        )

    async def client_of(self, headers: Sequence[str], certificate_names: Sequence[str], url: str) -> tuple[Client, str]:
        """Give the client of a call and how that was shown, `token` or `certificate`.

        A token that came is judged and nothing else is.

        Args:
            headers: the values of all `Authorization` headers.
            certificate_names: subject names of the verified client certificate; empty without one.
            url: the public address that was called, which `aud` has to name.

        Raises:
            Refusal: 401, or 503 where nothing more can be remembered.

        """
        if headers:
            return await self._from_token(headers, url), "token"
        known = self._known.by_certificate
        for name in certificate_names:
            if name in known:
                return known[name], "certificate"
        raise unauthenticated("nothing-came")

    async def _from_token(self, headers: Sequence[str], url: str) -> Client:
        scheme, _, token = headers[0].partition(" ")
        token = token.strip()
        if len(headers) != 1 or scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN:
            raise unauthenticated("not-one-bearer-token")
        try:
            header = jwt.get_unverified_header(token)
            issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise unauthenticated("malformed") from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in self._algorithms:
            raise unauthenticated("algorithm")
        known = self._known
        client = known.by_issuer.get(issuer) if isinstance(issuer, str) else None
        if client is None:
            raise unauthenticated("issuer")
        if header.get("jku", client.jku) != client.jku:
            raise unauthenticated("key-address")
        keys = known.keys[client.issuer]
        key = await keys.find(key_id, algorithm) if isinstance(key_id, str) else None
        if key is None:
            raise unauthenticated("key")
        claims = self._claims(token, key, client, url)
        self._replays[client.issuer].take(claims["jti"], claims["exp"] + LEEWAY)
        return client

    def _claims(self, token: str, key: jwt.PyJWK, client: Client, url: str) -> _Claims:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                audience=url,
                issuer=client.issuer,
                leeway=LEEWAY,
                options={"require": _REQUIRED},
            )
        except jwt.PyJWTError as error:
            raise unauthenticated(_REASONS.get(type(error), "invalid")) from None
        except (ValueError, TypeError, OverflowError, RecursionError):
            raise unauthenticated("malformed") from None
        return _checked(claims)


def _checked(claims: Mapping[str, object]) -> _Claims:
    """Check what the library leaves to us: the token's id and how long it lives."""
    token_id, issued, expires = claims["jti"], claims["iat"], claims["exp"]
    if not isinstance(token_id, str) or not 0 < len(token_id) <= MAX_NAME:
        raise unauthenticated("token-id")
    if not isinstance(issued, int | float) or not isinstance(expires, int | float):
        raise unauthenticated("malformed")
    lifetime = expires - issued
    if not math.isfinite(lifetime) or not 0 <= lifetime <= MAX_LIFETIME:
        raise unauthenticated("lifetime")
    return _Claims(jti=token_id, exp=float(expires))
