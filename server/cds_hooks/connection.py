"""Connections that do not wait for ever: uvicorn's, with limits on their number and on the time that a peer takes."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Mapping

HEAD_SECONDS = 5.0
TAKING_SECONDS = 5.0
"""For a peer to take what is written to it: all of it where nothing follows, else what leaves room for more."""

LAST_SECONDS = 1.0
"""The same while the server stops."""

MAX_CONNECTIONS = 512
_HEAD, _TAKING = "head", "taking"
CERTIFICATE = "client_certificate"
"""Name in the scope's `state` of the subject names of the client certificate that TLS has verified."""


class Connection(H11Protocol):
    """One connection. A peer that sends no whole request head in time, or does not take its answer, is cut off.

    INVARIANT: where there is one connection too many, the one goes whose peer has kept us waiting the longest, so
    whoever opens many and says nothing keeps nobody out.
    """

    waits: dict[str, tuple[float, asyncio.TimerHandle]]
    """What the peer is waited for, since when on the clock of the event loop, and what ends it."""

    is_last = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, and make room for that where there is none."""
        super().connection_made(transport)
        self.waits = {}
        secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        certificate: Mapping[str, Any] = (secured.getpeercert() if secured is not None else None) or {}
        self.app_state = {**self.app_state, CERTIFICATE: certificate_names(certificate)}
        self._await(_HEAD, HEAD_SECONDS)
        known = [c for c in self.connections if isinstance(c, Connection) and not c.transport.is_closing()]
        if len(known) > MAX_CONNECTIONS:
            min(known, key=Connection.waits_since).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        for what in list(self.waits):
            self._stop_awaiting(what)
        super().connection_lost(exc)

    def waits_since(self) -> float:
        """Give since when the peer is waited for; infinity while it is not."""
        return min((since for since, _ in self.waits.values()), default=inf)

    def handle_events(self) -> None:
        """Read what came; a request whose head is whole is no longer waited for."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._stop_awaiting(_HEAD)
        if self.transport.is_closing():
            self._await_taking()

    def on_response_complete(self) -> None:
        """Wait for the next request, whose head has as much time as the first; or for the last answer to be taken."""
        before = self.cycle
        super().on_response_complete()
        if self.transport.is_closing():
            self._await_taking()
        elif self.cycle is before:
            self._await(_HEAD, HEAD_SECONDS)

    def pause_writing(self) -> None:
        """Write no more until the peer has taken some of it."""
        super().pause_writing()
        self._await_taking()

    def resume_writing(self) -> None:
        """Write on."""
        self._stop_awaiting(_TAKING)
        super().resume_writing()

    def shutdown(self) -> None:
        """End as soon as what is in work is answered and taken; a peer that takes nothing holds nobody up."""
        self.is_last = True
        super().shutdown()
        if self.flow.write_paused or self.transport.is_closing():
            self._await_taking()

    def _await_taking(self) -> None:
        self._await(_TAKING, LAST_SECONDS if self.is_last else TAKING_SECONDS)

    def _await(self, what: str, seconds: float) -> None:
        self._stop_awaiting(what)
        self.waits[what] = (self.loop.time(), self.loop.call_later(seconds, self.transport.abort))

    def _stop_awaiting(self, what: str) -> None:
        if what in self.waits:
            self.waits.pop(what)[1].cancel()


def certificate_names(certificate: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the alternative names and the common name of a certificate as `ssl` describes it."""
    names = [value for _, value in certificate.get("subjectAltName", ())]
    names += [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return tuple(names)
