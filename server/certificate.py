"""The certificate that the server shows: read again once its files have changed, so a renewed one needs no restart."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from server.config import SettingsError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
    from structlog.typing import FilteringBoundLogger


@dataclass(frozen=True, slots=True)
class _Pair:
    key: bytes
    chain: bytes
    not_after: datetime


class Certificate:
    """A certificate chain and its private key in two PEM files. Safe to use from many threads.

    INVARIANT: what is shown is a chain with its own key; a chain whose key has not been written yet is not taken.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        """Read the files. Raises: SettingsError."""
        self._chain = chain
        self._key = key
        self._lock = threading.Lock()
        self._contexts: list[ssl.SSLContext] = []
        self._seen = self._state()
        self._pair = _read(chain, key)

    @property
    def not_after(self) -> datetime:
        """Until when the certificate that is shown is valid."""
        return self._pair.not_after

    def credentials(self, client_ca: bytes | None, *, is_client_asked: bool) -> grpc.ServerCredentials:
        """Give what a gRPC server shows: to each new connection, the newest.

        `client_ca` are the roots (PEM) of clients' certificates; `is_client_asked` makes every client show one.
        """
        shown = self._pair

        def configuration(pair: _Pair) -> grpc.ServerCertificateConfiguration:
            return grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)], client_ca)

        def newer() -> grpc.ServerCertificateConfiguration | None:
            nonlocal shown
            with self._lock:
                if shown is self._pair:
                    return None
                shown = self._pair
                return configuration(shown)

        # None says that nothing has changed, and lets clients resume their sessions; the stubs do not know of it.
        return grpc.dynamic_ssl_server_credentials(configuration(shown), newer, is_client_asked)  # type: ignore[arg-type]

    def keep(self, context: ssl.SSLContext) -> None:
        """Let a context show the newest to each new connection."""
        with self._lock:
            self._contexts.append(context)

    def renew(self) -> bool:
        """Read the files again if they have changed; say whether another certificate is shown now.

        Raises:
            SettingsError: the changed files cannot be used; those before stay in use. Told once for each change.

        """
        with self._lock:
            state = self._state()
            if state == self._seen:
                return False
            self._seen = state
            pair = _read(self._chain, self._key)
            if (pair.key, pair.chain) == (self._pair.key, self._pair.chain):
                return False
            try:
                for context in self._contexts:
                    context.load_cert_chain(self._chain, self._key)
            except (OSError, ssl.SSLError):
                raise _unusable("--tls-cert: the files changed again while they were read") from None
            self._pair = pair
            return True

    def _state(self) -> tuple[object, ...]:
        return tuple(_stamp(file) for file in (self._chain, self._key))


def keep_renewed(certificate: Certificate, log: FilteringBoundLogger) -> None:
    """Renew the certificate if its files have changed, and log what came of it."""
    try:
        is_new = certificate.renew()
    except SettingsError as error:
        log.error(  # noqa: TRY400 - the message is all there is to say
            "certificate refused", meaning="the one before stays in use", fault=str(error)
        )
        return
    if is_new:
        log.info("certificate read again", not_after=certificate.not_after.isoformat())


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(chain: Path, key: Path) -> _Pair:
    try:
        chain_pem, key_pem = chain.read_bytes(), key.read_bytes()
    except OSError as error:
        raise _unusable(f"--tls-cert: the TLS files cannot be read: {error.strerror}") from None
    try:
        own = x509.load_pem_x509_certificates(chain_pem)[0]
    except ValueError:
        raise _unusable("--tls-cert: the file holds no certificate in PEM") from None
    try:
        private = load_pem_private_key(key_pem, None)
    except (ValueError, TypeError):
        raise _unusable("--tls-key: the file holds no private key in PEM that opens without a password") from None
    if _encoded(own.public_key()) != _encoded(private.public_key()):
        raise _unusable("--tls-key: the key is not the one of the certificate")
    return _Pair(key_pem, chain_pem, own.not_valid_after_utc)


def _encoded(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _unusable(message: str) -> SettingsError:
    return SettingsError(message)
