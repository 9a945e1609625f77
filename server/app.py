"""The composition root: builds a server from settings. Nothing starts here, and importing this does nothing.

The clock and the ids of decisions are read here and passed on.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import grpc
import prometheus_client

from engine.errors import Diagnostic, LedgerError, RulePackError
from engine.evaluator.agree import Evaluator
from engine.ledger.body import BlobKind, PackSetActivated
from engine.ledger.entry import entry_uuid
from engine.ledger.log import Blob, Digests
from engine.pack.load import load_rules
from server import reflection
from server.build import engine_manifest
from server.cds_hooks.application import Surroundings
from server.cds_hooks.clinician import ClinicianPage
from server.cds_hooks.face import Face
from server.cds_hooks.words import load_words
from server.certificate import Certificate, keep_renewed
from server.config import MIB, Settings, SettingsError, split_address
from server.contract import file_descriptor_set
from server.deciding import Decider
from server.desk import LocalDesk
from server.evaluation import Circumstances
from server.faults import overloaded
from server.health import ENGINES, LEDGER, PACKS, Health
from server.interceptors.access_log import AccessLog
from server.interceptors.auth import Authenticator
from server.interceptors.errors import Errors, place_of
from server.interceptors.layers import Behavior, Layer, Layers
from server.interceptors.metrics import Metrics
from server.opening import open_ledger
from server.recording import LogRecorder, Recorder
from server.rpc import decision_log, eligibility, rule_packs
from server.rpc.replays import Replays
from server.rpc.service import Pool, on_pool
from server.rules_in_force import LoadedRules, RulesInForce, rules_digest
from server.verification import verify_in_background

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from structlog.typing import FilteringBoundLogger

    from engine.pack.book import RuleBook
    from server.tracing import Tracing

TRANSPORT_MARGIN = 4
"""The transport takes messages this many times larger than the limit, so that most that are too large can be refused
with a reason; those above are cut off by the transport."""

CONTROL_THREADS = 4
PUSH_BACK_SECONDS = 1.0
LOG_THREADS = 4
REPLAY_THREADS = 2
WATCH_SECONDS = 0.5
_FAULTS_LOGGED = 20
SERVICES = (eligibility.SERVICE, rule_packs.SERVICE, decision_log.SERVICE)


def load(settings: Settings) -> LoadedRules:
    """Load the rule packs and build the engines for them. Raises: RulePackError."""
    try:
        book = load_rules(settings.rules, settings.overlay)
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
    """A server that was built: start it, reload its rules, stop it.

    `on_stop` hears why nothing can be logged any more; the process then has to end.
    """

    def __init__(
        self,
        settings: Settings,
        log: FilteringBoundLogger,
        load_all: Callable[[Settings], LoadedRules],
        recorder: Recorder | None,
        on_stop: Callable[[LedgerError], None],
    ) -> None:
        """Build everything and bind the port. Raises: RulePackError, SettingsError, LedgerError."""
        self._settings = settings
        self._log = log
        self._stopping = on_stop
        self.metrics = Metrics()
        self._calls = Pool(settings.workers, "call")
        self._items = Pool(settings.workers, "item")
        self._streams = Pool(settings.max_streams, "stream")
        self._control = Pool(CONTROL_THREADS, "control")
        self._audits = Pool(LOG_THREADS, "log")
        self._replays = Pool(REPLAY_THREADS, "replay")
        self._health = Health(SERVICES, self._control)
        self._certificate = _certificate(settings)
        self._tracing = _tracing() if settings.tracing else None
        self.ledger = open_ledger(settings, on_alarm=self._tell_alarm, on_stop=self._tell_stop, notice=self._notice)
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="ledger-watch", daemon=True)
        self._verifier = threading.Thread(target=self._verify, name="ledger-verify", daemon=True)
        try:
            self._assemble(load_all, recorder)
        except BaseException:
            self.ledger.close()
            raise

    def _assemble(self, load_all: Callable[[Settings], LoadedRules], recorder: Recorder | None) -> None:
        build = Blob(BlobKind.ENGINE_MANIFEST, engine_manifest(), "engine")
        schema = Blob(BlobKind.SCHEMA, file_descriptor_set(), "contract")
        self.ledger.register([build, schema])
        self.metrics.follow(self.ledger)
        if self._certificate is not None:
            self.metrics.follow_certificate(self._certificate)
        self._rules = RulesInForce(lambda: self._register(load_all(self._settings)))

        def digests(rules: LoadedRules) -> Digests:
            return Digests(rules.blobs.pack_set.digest, build.digest, schema.digest, rules.blobs.reference.digest)

        def digests_in_force() -> Digests:
            with self._rules.reading() as rules:
                return digests(rules)

        self._decider = Decider(
            settings=self._settings,
            rules=self._rules,
            recorder=recorder or LogRecorder(self.ledger, digests, time.monotonic),
            circumstances=self._circumstances,
            health=self._health,
            metrics=self.metrics,
        )
        self._eligibility = eligibility.Eligibility(
            settings=self._settings,
            rules=self._rules,
            decider=self._decider,
            metrics=self.metrics,
            items=self._items,
            streams=self._streams,
            on_unexpected=self._tell_unexpected,
        )
        self._reloads = Pool(1, "reload")
        self._packs = rule_packs.RulePacks(
            self._rules, self.reload, self._control, self._reloads, self._settings.max_message_bytes
        )
        self._long_work = Replays(self.ledger, build.digest)
        self._decision_log = decision_log.DecisionLog(
            log=self.ledger,
            digests=digests_in_force,
            replays=self._long_work,
            pool=self._audits,
            long=self._replays,
            max_message_bytes=self._settings.max_message_bytes,
        )
        self._grpc = self._build()
        self.port = self._bind()
        self._face = self._build_face() if self._settings.cds_listen else None

    def _build_face(self) -> Face:
        """Build the CDS Hooks face. Raises: SettingsError, RulePackError."""
        words = load_words(self._settings.rules)
        book = self._book()
        return Face(
            self._settings,
            desk=LocalDesk(
                self._decider,
                self._rules,
                self.ledger,
                self._decision_log,
                today=self._today,
                monotonic=time.monotonic,
            ),
            page=ClinicianPage(self._book, words, self.ledger.origin),
            certificate=self._certificate,
            words=words,
            dictionary=book.dictionary,
            jurisdictions=book.jurisdictions,
            around=Surroundings(
                log=self._log,
                metrics=self.metrics,
                packs=self._pack_versions,
                is_serving=lambda: not self.ledger.alarms(),
                on_unexpected=self._tell_unexpected,
            ),
        )

    def _book(self) -> RuleBook:
        with self._rules.reading() as rules:
            return rules.book

    def _pack_versions(self) -> dict[str, str]:
        return {pack.id: pack.header.version for pack in self._book().packs.values()}

    def _register(self, loaded: LoadedRules) -> LoadedRules:
        """Register what the rules are made of, so that nothing is decided by rules that the log cannot show."""
        blobs = loaded.blobs
        activation = PackSetActivated(blobs.pack_set.label, loaded.book.dictionary.version, self._today().isoformat())
        self.ledger.register(blobs.all(), activation)
        return loaded

    def start(self) -> None:
        """Serve."""
        self._grpc.start()
        self._health.start()
        self._watcher.start()
        if self._face is not None:
            self._face.start()
        if not self._settings.no_verify:
            self._verifier.start()
        if self._settings.metrics_listen:
            host, port = split_address(self._settings.metrics_listen)
            prometheus_client.start_http_server(port, host, registry=self.metrics.registry)
        if self._settings.insecure:
            self._log.warning("insecure", meaning="no TLS, and every caller on this machine has every role")
        with self._rules.reading() as rules:
            self._log.info(
                "serving",
                port=self.port,
                cds_port=self._face.port if self._face else None,
                engines=self._settings.engines,
                rules=rules.digest,
                packs=rules.pack_digests(),
                local_packs={pack.id: list(pack.header.tightens) for pack in rules.book.local_packs},
                log_vkey=self.ledger.vkey,
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
        except LedgerError:
            raise  # the log could not take the new rules; those before stay in force
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

    def reload_clients(self) -> None:
        """Read `--cds-clients` again; where it cannot be used, those before stay trusted and the log tells of it."""
        if self._face is None:
            return
        try:
            self._face.reload_clients()
        except SettingsError as error:
            self._log.error("clients refused", meaning="those before stay trusted", fault=str(error))
        else:
            self._log.info("clients read again")

    def stop(self, grace: float | None = None) -> None:
        """Stop: tell health, take in nothing new, let calls in work end within `grace` seconds, let go of all."""
        self._health.drain()
        self._eligibility.drain()
        seconds = self._settings.grace if grace is None else grace
        ended = self._grpc.stop(seconds)
        if self._face is not None:
            self._face.stop(seconds)
        ended.wait()
        self._ended.set()
        if self._verifier.is_alive():
            self._verifier.join()
        self._rules.close()
        self._long_work.close()
        self.ledger.close()
        for pool in (
            self._calls,
            self._items,
            self._streams,
            self._control,
            self._audits,
            self._replays,
            self._reloads,
        ):
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
        limit = max(TRANSPORT_MARGIN * self._settings.max_message_bytes, self._settings.max_fhir_bytes + MIB)
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
        self._decision_log.register(server)
        reflection.register(server, SERVICES, self._control)
        return server

    def _bind(self) -> int:
        settings = self._settings
        try:
            if self._certificate is None:
                return self._grpc.add_insecure_port(settings.listen)
            return self._grpc.add_secure_port(settings.listen, _credentials(self._certificate, settings))
        except (RuntimeError, ValueError):
            message = f"--listen: `{settings.listen}` cannot be served; it is in use, or the TLS files cannot be used"
            raise SettingsError(message) from None

    def _refuse(self, _method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> Behavior | None:
        """Refuse a call without a thread of its own pool when that pool has too much to do."""
        behavior = handler.stream_stream or handler.unary_stream or handler.unary_unary
        pool = getattr(behavior, "experimental_thread_pool", self._calls)
        limits = {
            self._calls: self._settings.max_concurrent,
            self._streams: self._settings.max_streams,
            self._audits: self._settings.max_concurrent,
            self._replays: decision_log.MAX_LONG,
        }
        limit = limits.get(pool)
        if limit is None or pool.load < limit:
            return None
        self.metrics.pushed_back.inc()

        def refuse(_request: object, _context: grpc.ServicerContext) -> bytes:
            message = "the server has all the calls it takes; try again a little later"
            raise overloaded(message, PUSH_BACK_SECONDS)

        return on_pool(refuse, self._control)

    def _circumstances(self, position: int | None) -> Circumstances:
        decision_id = entry_uuid(self.ledger.entry_id())
        return Circumstances(decision_id, datetime.now(UTC), self._settings.time_zone, position)

    def _today(self) -> date:
        return datetime.now(ZoneInfo(self._settings.time_zone)).date()

    def _tell_unexpected(self, place: str) -> None:
        self._log.error("unexpected", place=place)

    def _tell_alarm(self, name: str) -> None:
        self._health.tell(LEDGER, is_serving=False)
        self._log.error("decision log", alarm=name)

    def _tell_stop(self, error: LedgerError) -> None:
        self._log.critical("decision log stopped", reason=str(error))
        self._stopping(error)

    def _notice(self, text: str) -> None:
        self._log.warning("decision log", notice=text)

    def _verify(self) -> None:
        """Verify the log once while it is in use, and log what was found."""
        try:
            findings = verify_in_background(self.ledger, self._ended)
        except LedgerError as error:
            if not self._ended.is_set():
                self._log.error("decision log", verification=str(error))
            return
        if findings is not None:
            told = self._log.info if findings.is_whole else self._log.error
            faults = [str(fault) for fault in findings.faults[:_FAULTS_LOGGED]]
            told("decision log verified", entries=findings.tree_size, faults=faults)

    def _watch(self) -> None:
        """Let health follow the log, whose alarms come and go, and the certificate its files."""
        known: tuple[str, ...] = ()
        while not self._ended.wait(WATCH_SECONDS):
            if self._certificate is not None:
                keep_renewed(self._certificate, self._log)
            alarms = self.ledger.alarms()
            # Told each time: an alarm may have come, and gone again, since the last look.
            self._health.tell(LEDGER, is_serving=not alarms)
            if alarms != known:
                self._log.info("decision log", alarms=list(alarms))
            known = alarms


def create_server(
    settings: Settings,
    log: FilteringBoundLogger,
    *,
    load_all: Callable[[Settings], LoadedRules] = load,
    recorder: Recorder | None = None,
    on_stop: Callable[[LedgerError], None] = lambda _: None,
) -> tuple[Server, int]:
    """Build a server and give the port it is bound to. It does not serve until `start`.

    Args:
        settings: how it runs.
        log: where its lines go.
        load_all: what loads rules and engines; tests pass engines of their own.
        recorder: what keeps decisions in place of the decision log, to measure or to test one without the other.
        on_stop: hears why nothing can be logged any more; the process then has to end.

    Raises:
        RulePackError: the rule packs cannot be used.
        SettingsError: the address cannot be bound, or a file that the settings name cannot be used.
        LedgerError: the decision log is not whole, not safe, or cannot be reached.

    """
    server = Server(settings, log, load_all, recorder, on_stop)
    return server, server.port


def _certificate(settings: Settings) -> Certificate | None:
    """Read the server's certificate; None without TLS. Raises: SettingsError."""
    if settings.insecure:
        return None
    if settings.tls_key is None or settings.tls_cert is None:
        message = "--tls-cert: needed together with --tls-key"
        raise SettingsError(message)
    return Certificate(settings.tls_cert, settings.tls_key)


def _credentials(certificate: Certificate, settings: Settings) -> grpc.ServerCredentials:
    if settings.client_ca is None:
        return certificate.credentials(None, is_client_asked=False)
    try:
        client_ca = settings.client_ca.read_bytes()
    except OSError as error:
        message = f"--client-ca: cannot be read: {error.strerror}"
        raise SettingsError(message) from None
    return certificate.credentials(client_ca, is_client_asked=not settings.jwks)


def _tracing() -> Tracing:
    if find_spec("opentelemetry.sdk") is None:
        message = "--tracing: needs the `tracing` extra; install treatment-eligibility[tracing]"
        raise SettingsError(message)
    from server.tracing import Tracing  # noqa: PLC0415 - an extra, imported only where it is asked for

    return Tracing()
