"""The CDS Hooks face: one HTTP server on a thread of its own, beside the rpcs and with the same desk behind it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import uvicorn
from prometheus_client import Counter

from server.cds_hooks.application import Application
from server.cds_hooks.cards import Deck
from server.cds_hooks.clients import ClientsError, load_clients
from server.cds_hooks.connection import Connection
from server.cds_hooks.fetch import Outside
from server.cds_hooks.links import Links
from server.cds_hooks.page import PageRoutes
from server.cds_hooks.quiet import Quiet
from server.cds_hooks.service import Limits, Services, Threads
from server.cds_hooks.trust import Trust
from server.config import SettingsError, split_address
from server.rpc.service import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from starlette.applications import Starlette
    from starlette.types import ASGIApp

    from engine.dictionary import Dictionary
    from server.cds_hooks.application import Surroundings
    from server.cds_hooks.clients import Client
    from server.cds_hooks.desk import Desk
    from server.cds_hooks.page import Page
    from server.cds_hooks.words import Words
    from server.certificate import Certificate
    from server.config import Settings

_START_SECONDS = 10.0


class Face:
    """A face that was built and bound: start it, stop it."""

    def __init__(  # noqa: PLR0913 - its collaborators, by name
        self,
        settings: Settings,
        *,
        desk: Desk,
        page: Page,
        certificate: Certificate | None,
        words: Words,
        dictionary: Dictionary,
        jurisdictions: Collection[str],
        around: Surroundings,
    ) -> None:
        """Build everything and bind the port; `jurisdictions` are those that packs serve. Raises: SettingsError.

        `certificate` is None without TLS.
        """
        self._settings = settings
        self._desk = desk
        self._jurisdictions = jurisdictions
        self._around = around
        self._pool = Pool(settings.workers, "cds")
        self._outside = Outside()
        self._started = threading.Event()
        self._cards = Counter("eligibility_cards", "Cards returned.", ["topic"], registry=around.metrics.registry)
        url = settings.cds_url.rstrip("/")
        base = urlsplit(url).path
        threads = Threads(self._pool, settings.cds_max_concurrent)
        self._trust = Trust(
            self._clients(), settings.cds_algorithms, self._outside, self._around.monotonic, self._around.now
        )
        links = Links(around.monotonic)
        services = Services(
            url=url,
            desk=desk,
            words=words,
            dictionary=dictionary,
            deck=Deck(words, dictionary.by_name()),
            trust=self._trust,
            links=links,
            quiet=Quiet(settings.cds_quiet, around.monotonic),
            outside=self._outside,
            threads=threads,
            limits=Limits(settings.cds_deadline_ms / 1000, settings.cds_fetch_ms / 1000, settings.cds_max_body_bytes),
            count=lambda topic: self._cards.labels(topic).inc(),
            monotonic=around.monotonic,
            now=around.now,
        )
        pages = PageRoutes(
            base=base,
            is_secure=url.startswith("https:"),
            desk=desk,
            page=page,
            links=links,
            threads=threads,
            monotonic=around.monotonic,
            now=around.now,
        )
        application = Application(base, settings.cds_max_concurrent, words, around)
        config = self._config(application.build(services, pages, settings.cds_origins, self._lifespan))
        if certificate is not None and config.ssl is not None:
            certificate.keep(config.ssl)
        self._server = uvicorn.Server(config)
        self._socket = self._bind()
        self._thread = threading.Thread(target=self._run, name="cds-hooks", daemon=True)

    @property
    def port(self) -> int:
        """The port it is bound to."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Serve. Raises: SettingsError where it does not come up."""
        self._thread.start()
        if not self._started.wait(_START_SECONDS):
            message = "--cds-listen: the HTTP server did not start"
            raise SettingsError(message)

    def reload_clients(self) -> None:
        """Read the file of clients and their keys again. Raises: SettingsError, and those before stay trusted."""
        self._trust.trust(self._clients())

    def stop(self, grace: float) -> None:
        """Take in nothing new, let calls in work end within `grace` seconds, let go of all."""
        self._server.config.timeout_graceful_shutdown = max(1, round(grace))
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    @asynccontextmanager
    async def _lifespan(self, _application: Starlette) -> AsyncIterator[None]:
        self._started.set()
        yield
        await self._outside.close()

    def _clients(self) -> tuple[Client, ...]:
        settings = self._settings
        if settings.cds_clients is None:
            message = "--cds-clients: needed with --cds-listen; nobody could call"
            raise SettingsError(message)
        try:
            clients = load_clients(settings.cds_clients)
        except ClientsError as error:
            message = f"--cds-clients: {error}"
            raise SettingsError(message) from None
        for client in clients:
            if client.jurisdiction not in self._jurisdictions:
                served = ", ".join(sorted(self._jurisdictions))
                message = (
                    f"--cds-clients: `{client.name}`: no pack serves `{client.jurisdiction}`; packs serve {served}"
                )
                raise SettingsError(message)
        if any(client.certificate for client in clients) and settings.client_ca is None:
            message = "--cds-clients: a client with `certificate` needs --client-ca"
            raise SettingsError(message)
        return clients

    def _config(self, application: ASGIApp) -> uvicorn.Config:
        settings = self._settings
        config = uvicorn.Config(
            application,
            http=Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=max(1, round(settings.grace)),
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            ssl_ca_certs=str(settings.client_ca) if settings.client_ca else None,
            ssl_cert_reqs=ssl.CERT_OPTIONAL if settings.client_ca else ssl.CERT_NONE,
        )
        try:
            config.load()
        except OSError:
            message = "--tls-cert: the TLS files cannot be read"
            raise SettingsError(message) from None
        return config

    def _bind(self) -> socket.socket:
        host, port = split_address(self._settings.cds_listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            bound = socket.create_server((host, port), family=family, backlog=256)
        except OSError:
            message = f"--cds-listen: `{self._settings.cds_listen}` cannot be served; it is in use"
            raise SettingsError(message) from None
        # Connections take this over; without it the second part of an answer waits 40 ms for the first to be confirmed.
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return bound
