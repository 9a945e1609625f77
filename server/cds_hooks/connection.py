"""Connections that do not wait for ever: uvicorn's, with a limit on their number and on the time for a request head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Mapping

HEAD_SECONDS = 5.0
MAX_CONNECTIONS = 512
CERTIFICATE = "client_certificate"
"""Name in the scope's `state` of the subject names of the client certificate that TLS has verified."""


class Connection(H11Protocol):
    """One connection. A client that sends no whole request head in time, or one connection too many, is cut off."""

    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or cut off."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        certificate: Mapping[str, Any] = (secured.getpeercert() if secured is not None else None) or {}
        self.app_state = {**self.app_state, CERTIFICATE: certificate_names(certificate)}
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Read what came; a request whose head is whole is no longer waited for."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Wait for the next request, whose head has as much time as the first."""
        before = self.cycle
        super().on_response_complete()
        if self.cycle is before and not self.transport.is_closing():
            self._await_head()

    def _await_head(self) -> None:
        self._stop_waiting()
        self.head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None


def certificate_names(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the alternative names and the common name of a certificate as `ssl` describes it."""
    names = [value for _, value in certificate.get("subjectAltName", ())]
    names += [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return tuple(names)
