"""Finding out who calls: bearer tokens and client certificates.

A token that came is judged and nothing else is; without one the client certificate speaks. Only asymmetric signatures
are taken. Source: RFC 8725 (JSON Web Token Best Current Practices), OpenID Connect Core 1.0 §3.1.3.7.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import jwt

from server.faults import Code, Fault
from server.interceptors.callers import ROLES, ROLES_BY_METHOD, Caller, may_call
from server.interceptors.layers import notes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import grpc

    from server.config import Settings

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY = 30
KEYS_LIVE = 300.0
KEYS_REST = 10.0
FETCH_TIMEOUT = 5.0
MAX_NAME = 200

_NOTHING_CAME = "send a bearer token in the `authorization` metadata"
_NO_NAME = "the client certificate names nobody"
_NOT_TAKEN = "this server takes no bearer tokens"
_NOT_ONE = "the `authorization` metadata is not one bearer token"
_EXPIRED = "the bearer token has expired"
_NOT_VALID = "the bearer token is not valid here"


class KeySet:
    """The issuer's public keys, from a file or an address, read again when they are old or a key is not among them.

    Keys that cannot be read again stay in use: an issuer that is down for a while locks nobody out.
    """

    def __init__(self, source: str, monotonic: Callable[[], float]) -> None:
        self._source = source
        self._monotonic = monotonic
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._read_at = float("-inf")
        self._lock = threading.Lock()

    def find(self, key_id: str | None) -> jwt.PyJWK | None:
        """Give the key with this id; without an id, the only key there is. None if there is no such key.

        Raises:
            Fault: UNAVAILABLE while no key was ever read.

        """
        with self._lock:
            age = self._monotonic() - self._read_at
            key = self._pick(key_id)
            if age > KEYS_LIVE or (key is None and age > KEYS_REST):
                self._read()
                key = self._pick(key_id)
            if not self._keys:
                message = "the keys of the token issuer cannot be read; try again"
                raise Fault(Code.UNAVAILABLE, "KEYS_UNAVAILABLE", message, retry_after=KEYS_REST)
            return key

    def _pick(self, key_id: str | None) -> jwt.PyJWK | None:
        if key_id is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id)

    def _read(self) -> None:
        self._read_at = self._monotonic()
        try:
            self._keys = _parse_keys(self._fetch())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, httpx.HTTPError, jwt.PyJWTError):
            notes().add(keys="unreadable")

    def _fetch(self) -> bytes:
        if not self._source.startswith(("https://", "http://")):
            return Path(self._source).read_bytes()
        response = httpx.get(self._source, timeout=FETCH_TIMEOUT, follow_redirects=False)
        return response.raise_for_status().content


def _parse_keys(content: bytes) -> dict[str, jwt.PyJWK]:
    keys = {}
    for position, entry in enumerate(json.loads(content)["keys"]):
        is_ours = entry.get("kty") in {"RSA", "EC", "OKP"} and entry.get("use", "sig") == "sig"
        if is_ours and entry.get("alg", ALGORITHMS[0]) in ALGORITHMS:
            keys[str(entry.get("kid", f"#{position}"))] = jwt.PyJWK(entry)
    if not keys:
        message = "the key set holds no usable key"
        raise ValueError(message)
    return keys


class Authenticator:
    """Finds the caller of a call, and refuses callers without a role for the method."""

    def __init__(self, settings: Settings, monotonic: Callable[[], float]) -> None:
        self._settings = settings
        self._keys = KeySet(settings.jwks, monotonic) if settings.jwks else None

    @contextmanager
    def around(self, method: str, context: grpc.ServicerContext) -> Iterator[None]:
        """Let the call through if its caller may make it.

        Raises:
            Fault: UNAUTHENTICATED or PERMISSION_DENIED.

        """
        caller = self._caller(context)
        notes().caller = caller
        if not may_call(caller, method):
            needed = " or ".join(sorted(ROLES_BY_METHOD.get(method, ()))) or "none that exists"
            message = f"the caller lacks the role for this method: {needed}"
            raise Fault(Code.PERMISSION_DENIED, "ROLE_MISSING", message)
        yield

    def _caller(self, context: grpc.ServicerContext) -> Caller:
        if self._settings.insecure:
            return Caller("loopback", ROLES, "none")
        tokens = [str(value) for key, value in context.invocation_metadata() if key == "authorization"]
        if tokens:
            return self._from_token(tokens)
        if self._settings.client_ca:
            properties: Mapping[str, Any] = context.auth_context()
            return self._from_certificate(properties)
        raise _unauthenticated(_NOTHING_CAME)

    def _from_certificate(self, properties: Mapping[str, Iterable[bytes]]) -> Caller:
        names = [
            name.decode(errors="replace")
            for key in ("x509_subject_alternative_name", "x509_common_name")
            for name in properties.get(key) or ()
        ]
        if not names:
            raise _unauthenticated(_NO_NAME)
        known = [name for name in names if name in self._settings.certificate_roles]
        roles = frozenset().union(*(self._settings.certificate_roles[name] for name in known))
        return Caller((known or names)[0][:MAX_NAME], roles, "certificate")

    def _from_token(self, tokens: list[str]) -> Caller:
        scheme, _, token = tokens[0].partition(" ")
        if self._keys is None:
            raise _unauthenticated(_NOT_TAKEN)
        if len(tokens) > 1 or scheme.lower() != "bearer" or not token:
            raise _unauthenticated(_NOT_ONE)
        try:
            claims = self._claims(token.strip(), self._keys)
        except jwt.ExpiredSignatureError:
            raise _unauthenticated(_EXPIRED) from None
        except jwt.PyJWTError:
            raise _unauthenticated(_NOT_VALID) from None
        return Caller(str(claims["sub"])[:MAX_NAME], self._roles(claims), "token")

    def _claims(self, token: str, keys: KeySet) -> Mapping[str, object]:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in ALGORITHMS:
            message = "the signature is of a kind that is not taken"
            raise jwt.InvalidAlgorithmError(message)
        key = keys.find(header.get("kid"))
        if key is None:
            message = "the key is not the issuer's"
            raise jwt.InvalidKeyError(message)
        return jwt.decode(
            token,
            key,
            algorithms=list(ALGORITHMS),
            audience=self._settings.jwt_audience,
            issuer=self._settings.jwt_issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )

    def _roles(self, claims: Mapping[str, object]) -> frozenset[str]:
        listed = claims.get(self._settings.jwt_roles_claim, ())
        names = listed.split() if isinstance(listed, str) else listed if isinstance(listed, list) else ()
        return ROLES & frozenset(name for name in names if isinstance(name, str))


def _unauthenticated(message: str) -> Fault:
    return Fault(Code.UNAUTHENTICATED, "NOT_AUTHENTICATED", message)
