"""The composition root: builds a server from settings. Nothing starts here, and importing this does nothing.

The clock and the ids of decisions are read here and passed on.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import grpc
import prometheus_client

from engine.errors import Diagnostic, RulePackError
from engine.evaluator.agree import Evaluator
from engine.pack.load import load_rules
from server import reflection
from server.config import Settings, SettingsError, split_address
from server.evaluation import Circumstances, NoRecorder, Recorder
from server.faults import overloaded
from server.health import ENGINES, PACKS, Health
from server.interceptors.access_log import AccessLog
from server.interceptors.auth import Authenticator
from server.interceptors.errors import Errors, place_of
from server.interceptors.layers import Behavior, Layer, Layers
from server.interceptors.metrics import Metrics
from server.rpc import eligibility, rule_packs
from server.rpc.service import Pool, on_pool
from server.rules_in_force import LoadedRules, RulesInForce, rules_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from server.tracing import Tracing

TRANSPORT_MARGIN = 4
"""The transport takes messages this many times larger than the limit, so that most that are too large can be refused
with a reason; those above are cut off by the transport."""

CONTROL_THREADS = 4
PUSH_BACK_SECONDS = 1.0
SERVICES = (eligibility.SERVICE, rule_packs.SERVICE)


def load(settings: Settings) -> LoadedRules:
    """Load the rule packs and build the engines for them. Raises: RulePackError."""
    try:
        book = load_rules(settings.rules)
    except OSError as error:
        message = f"the rules cannot be read: {error.strerror}"
        raise RulePackError([Diagnostic(str(error.filename), 1, 1, "pack/unreadable", message)]) from error
    evaluator = Evaluator(book, settings.engines, sessions=min(settings.workers, 2))
    try:
        evaluator.warm(datetime.now(ZoneInfo(settings.time_zone)).date())
    except RulePackError:
        evaluator.close()
        raise
    return LoadedRules(book, evaluator, rules_digest(book))


class Server:
    """A server that was built: start it, reload its rules, stop it."""

    def __init__(
        self,
        settings: Settings,
        log: FilteringBoundLogger,
        load_all: Callable[[Settings], LoadedRules],
        recorder: Recorder,
    ) -> None:
        """Build everything and bind the port. Raises: RulePackError, SettingsError."""
        self._settings = settings
        self._log = log
        self.metrics = Metrics()
        self._rules = RulesInForce(lambda: load_all(settings))
        self._calls = Pool(settings.workers, "call")
        self._items = Pool(settings.workers, "item")
        self._streams = Pool(settings.max_streams, "stream")
        self._control = Pool(CONTROL_THREADS, "control")
        self._health = Health(SERVICES, self._control)
        self._tracing = _tracing() if settings.tracing else None
        self._eligibility = eligibility.Eligibility(
            settings=settings,
            rules=self._rules,
            recorder=recorder,
            circumstances=self._circumstances,
            health=self._health,
            metrics=self.metrics,
            items=self._items,
            streams=self._streams,
            on_unexpected=self._tell_unexpected,
        )
        self._reloads = Pool(1, "reload")
        self._packs = rule_packs.RulePacks(
            self._rules, self.reload, self._control, self._reloads, settings.max_message_bytes
        )
        self._grpc = self._build()
        self.port = self._bind()

    def start(self) -> None:
        """Serve."""
        self._grpc.start()
        self._health.start()
        if self._settings.metrics_listen:
            host, port = split_address(self._settings.metrics_listen)
            prometheus_client.start_http_server(port, host, registry=self.metrics.registry)
        if self._settings.insecure:
            self._log.warning("insecure", meaning="no TLS, and every caller on this machine has every role")
        with self._rules.reading() as rules:
            self._log.info(
                "serving",
                port=self.port,
                engines=self._settings.engines,
                rules=rules.digest,
                packs=rules.pack_digests(),
            )

    def reload(self) -> tuple[str, str]:
        """Put the rule packs in force again; give the digests before and after.

        Raises:
            RulePackError: the packs are refused, those before stay in force, and health tells of it.

        """
        try:
            before, after = self._rules.reload()
        except RulePackError as error:
            self._refuse_packs(error)
            raise
        except Exception as error:
            message = f"the rules cannot be read: {place_of(error)}"
            refused = RulePackError([Diagnostic(str(self._settings.rules), 1, 1, "pack/unreadable", message)])
            self._refuse_packs(refused)
            raise refused from error
        self.metrics.reloads.labels("accepted").inc()
        self._health.tell(PACKS, is_serving=True)
        self._health.tell(ENGINES, is_serving=True)
        self._log.info("rule packs in force", before=before, rules=after)
        return before, after

    def stop(self, grace: float | None = None) -> None:
        """Stop: tell health, take in nothing new, let calls in work end within `grace` seconds, let go of all."""
        self._health.drain()
        self._eligibility.drain()
        self._grpc.stop(self._settings.grace if grace is None else grace).wait()
        self._rules.close()
        for pool in (self._calls, self._items, self._streams, self._control, self._reloads):
            pool.shutdown(wait=False, cancel_futures=True)
        if self._tracing is not None:
            self._tracing.close()
        self._log.info("stopped")

    def _refuse_packs(self, error: RulePackError) -> None:
        self.metrics.reloads.labels("refused").inc()
        self._health.tell(PACKS, is_serving=False)
        self._log.error("rule packs refused", faults=[str(d) for d in error.diagnostics])

    def _build(self) -> grpc.Server:
        layers: list[Layer] = [AccessLog(self._log).around, self.metrics.around]
        if self._tracing is not None:
            layers.append(self._tracing.around)
        layers += [Errors(self._tell_unexpected).around, Authenticator(self._settings, time.monotonic).around]
        limit = TRANSPORT_MARGIN * self._settings.max_message_bytes
        server = grpc.server(
            self._calls,
            interceptors=[Layers(layers, self._refuse)],
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
            ],
        )
        self._health.register(server)
        self._eligibility.register(server)
        self._packs.register(server)
        reflection.register(server, SERVICES, self._control)
        return server

    def _bind(self) -> int:
        settings = self._settings
        try:
            if settings.insecure:
                return self._grpc.add_insecure_port(settings.listen)
            return self._grpc.add_secure_port(settings.listen, _credentials(settings))
        except (RuntimeError, OSError, ValueError):
            message = f"--listen: `{settings.listen}` cannot be served; it is in use, or the TLS files cannot be read"
            raise SettingsError(message) from None

    def _refuse(self, _method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> Behavior | None:
        """Refuse a call without a thread of its own pool when that pool has too much to do."""
        behavior = handler.stream_stream or handler.unary_unary
        pool = getattr(behavior, "experimental_thread_pool", self._calls)
        limit = {self._calls: self._settings.max_concurrent, self._streams: self._settings.max_streams}.get(pool)
        if limit is None or pool.load < limit:
            return None
        self.metrics.pushed_back.inc()

        def refuse(_request: object, _context: grpc.ServicerContext) -> bytes:
            message = "the server has all the calls it takes; try again a little later"
            raise overloaded(message, PUSH_BACK_SECONDS)

        return on_pool(refuse, self._control)

    def _circumstances(self, position: int | None) -> Circumstances:
        return Circumstances(str(uuid4()), datetime.now(UTC), self._settings.time_zone, position)

    def _tell_unexpected(self, place: str) -> None:
        self._log.error("unexpected", place=place)


def create_server(
    settings: Settings,
    log: FilteringBoundLogger,
    *,
    load_all: Callable[[Settings], LoadedRules] = load,
    recorder: Recorder | None = None,
) -> tuple[Server, int]:
    """Build a server and give the port it is bound to. It does not serve until `start`.

    Args:
        settings: how it runs.
        log: where its lines go.
        load_all: what loads rules and engines; tests pass engines of their own.
        recorder: what keeps decisions; without one, nothing does.

    Raises:
        RulePackError: the rule packs cannot be used.
        SettingsError: the address cannot be bound, or the TLS files cannot be read.

    """
    server = Server(settings, log, load_all, recorder or NoRecorder())
    return server, server.port


def _credentials(settings: Settings) -> grpc.ServerCredentials:
    if settings.tls_key is None or settings.tls_cert is None:
        message = "--tls-cert: needed together with --tls-key"
        raise SettingsError(message)
    pair = (settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())
    if settings.client_ca is None:
        return grpc.ssl_server_credentials([pair])
    return grpc.ssl_server_credentials(
        [pair], root_certificates=settings.client_ca.read_bytes(), require_client_auth=not settings.jwks
    )


def _tracing() -> Tracing:
    if find_spec("opentelemetry.sdk") is None:
        message = "--tracing: needs the `tracing` extra; install treatment-eligibility[tracing]"
        raise SettingsError(message)
    from server.tracing import Tracing  # noqa: PLC0415 - an extra, imported only where it is asked for

    return Tracing()
