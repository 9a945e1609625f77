"""`eligibility-signer`: signs the checkpoints of one log, in a process and under a user of its own.

Exit code 0 after an orderly stop, 1 when state or key cannot be used, 2 when a setting cannot, 3 when the state is not
what was signed.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import grpc

from engine.errors import IntegrityError, LogUnavailableError, Violation
from engine.ledger.entry import log_id
from engine.ledger.signer import Signer, StateFile
from server.certificate import Certificate, keep_renewed
from server.config import SettingsError, is_address
from server.convert.ledger import write_time
from server.convert.messages import parse
from server.faults import invalid
from server.interceptors.errors import Errors
from server.interceptors.layers import Layers
from server.log_format import make_log
from server.pb.eligibility.v1 import checkpoint_signer_service_pb2 as signer_pb2
from server.rpc.service import register
from server.signing_key import make_signing_key, read_signing_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from structlog.typing import FilteringBoundLogger

    from engine.ledger.checkpoint import SigningKey
    from engine.ledger.signer import SignReply

EXIT_FAULT, EXIT_USAGE, EXIT_INTEGRITY = 1, 2, 3
SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
SERVICE = signer_pb2.DESCRIPTOR.services_by_name["CheckpointSignerService"].full_name
THREADS = 4
GRACE_SECONDS = 5.0
RENEWAL_SECONDS = 0.5
MAX_MESSAGE_BYTES = 64 * 1024
SOCKET_MASK = 0o117
"""A Unix socket is for the signer's user and group: put the servers into that group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerSettings:
    """How one signer runs."""

    state: Path
    key: Path
    listen: str
    origin: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None


class SignerService:
    """CheckpointSignerService over one state file, which is opened again after it could not be written.

    INVARIANT: after a failed write or sync nothing that the process remembers counts, only what the file then says.
    """

    def __init__(
        self, key: SigningKey, state: Path, clock: Callable[[], int], on_refusal: Callable[[str], None]
    ) -> None:
        """Open the state; `on_refusal` hears why a tree was not signed. Raises: LogUnavailableError, IntegrityError."""
        self._key = key
        self._on_refusal = on_refusal
        self._path = state
        self._clock = clock
        self._lock = threading.Lock()
        self._log_id = log_id(key.verifier.name, key.verifier.public_key)
        self._state = StateFile(state, self._log_id)
        self._signer: Signer | None = self._over_state()

    @property
    def origin(self) -> str:
        """The log that is signed."""
        return self._key.verifier.name

    @property
    def vkey(self) -> str:
        """The verifier key."""
        return self._key.vkey

    def register(self, server: grpc.Server) -> None:
        """Serve the methods."""

        def sign(data: bytes, _context: grpc.ServicerContext) -> bytes:
            return self.sign(data)

        def get_latest(data: bytes, _context: grpc.ServicerContext) -> bytes:
            return self.get_latest(data)

        register(server, SERVICE, {"Sign": sign, "GetLatest": get_latest}, {})

    def sign(self, data: bytes) -> bytes:
        """Answer Sign. Raises: Fault, LogUnavailableError, IntegrityError."""
        request = parse(signer_pb2.SignRequest, data)
        if request.origin != self._key.verifier.name:
            message = f"is not `{self._key.verifier.name}`, the log that this signer signs"
            raise invalid([Violation("origin", "request/other-log", message)])
        with self._lock:
            signer = self._opened()
            try:
                reply = signer.sign(request.old_size, list(request.proof), request.size, request.root_hash)
            except LogUnavailableError:
                self._signer = None
                self._state.close()
                raise
            except IntegrityError as error:
                self._on_refusal(str(error))
                raise
        return signer_pb2.SignResponse(
            size=reply.tree_size, root_hash=reply.root_hash, note=reply.note, clock=write_time(reply.signed_at)
        ).SerializeToString()

    def get_latest(self, data: bytes) -> bytes:
        """Answer GetLatest. Raises: Fault, LogUnavailableError, IntegrityError."""
        parse(signer_pb2.GetLatestRequest, data)
        with self._lock:
            reply: SignReply | None = self._opened().latest()
        answer = signer_pb2.GetLatestResponse(vkey=self._key.vkey, clock=write_time(self._clock()))
        if reply is not None:
            answer.MergeFrom(
                signer_pb2.GetLatestResponse(size=reply.tree_size, root_hash=reply.root_hash, note=reply.note)
            )
        return answer.SerializeToString()

    def close(self) -> None:
        """Let go of the state file."""
        with self._lock:
            self._signer = None
            self._state.close()

    def _opened(self) -> Signer:
        if self._signer is None:
            self._state = StateFile(self._path, self._log_id)
            self._signer = self._over_state()
        return self._signer

    def _over_state(self) -> Signer:
        return Signer(self._key, self._log_id, self._state, self._clock)


def create_signer(
    settings: SignerSettings, log: FilteringBoundLogger
) -> tuple[grpc.Server, SignerService, Certificate | None]:
    """Build a signer that is bound and does not serve yet; its certificate is None on a Unix socket.

    Raises:
        SettingsError: a setting cannot be used.
        LogUnavailableError: the state cannot be used.
        IntegrityError: the state is not what was signed.

    """
    _check(settings)
    key = _open_key(settings, log)
    settings.state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def tell_unexpected(place: str) -> None:
        log.error("unexpected", place=place)

    def tell_refusal(reason: str) -> None:
        log.error("refused to sign", reason=reason)

    service = SignerService(key, settings.state, lambda: time.time_ns() // 1000, tell_refusal)

    server = grpc.server(
        ThreadPoolExecutor(THREADS, "sign"),
        interceptors=[Layers([Errors(tell_unexpected).around], lambda _method, _handler: None)],
        options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)],
    )
    service.register(server)
    try:
        certificate = _bind(server, settings)
    except BaseException:
        service.close()
        raise
    return server, service, certificate


_FILE = click.Path(dir_okay=False, path_type=Path)
_OLD_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    "eligibility-signer",
    # Not ELIGIBILITY_SIGNER_...: those say to a server where its signer is, and both may share an environment.
    context_settings={"auto_envvar_prefix": "ELIGIBILITY_CHECKPOINT_SIGNER"},
    epilog="""Example: eligibility-signer --state signer/state --key signer/signing.key
--origin cds.example.org/decisions/prod-1 --listen unix:/run/eligibility/signer.sock

Exit codes: 0 stopped in order; 1 state or key cannot be used; 2 wrong usage; 3 the state is not what was signed.""",
)
@click.option(
    "--state",
    type=_FILE,
    required=True,
    show_envvar=True,
    help="File that remembers what was signed. Not on the log's disk.",
)
@click.option(
    "--key",
    type=_FILE,
    required=True,
    show_envvar=True,
    help="File of the signing key; made where there is no state either.",
)
@click.option(
    "--origin", default="", show_envvar=True, help="Name of the log, needed to make a key; else checked against it."
)
@click.option("--listen", required=True, show_envvar=True, help="unix:PATH, or HOST:PORT with mutual TLS.")
@click.option("--tls-cert", type=_OLD_FILE, show_envvar=True, help="Certificate chain for HOST:PORT, PEM.")
@click.option("--tls-key", type=_OLD_FILE, show_envvar=True, help="Private key of the certificate, PEM.")
@click.option("--client-ca", type=_OLD_FILE, show_envvar=True, help="Authorities of the servers' certificates, PEM.")
def command(**options: object) -> SignerSettings:
    """Sign the checkpoints of one decision log, and only those that extend what was signed before."""
    return SignerSettings(**options)  # type: ignore[arg-type]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the signer until it is told to stop; give the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        settings = command.main(given, prog_name="eligibility-signer", standalone_mode=False)
        if isinstance(settings, SignerSettings):
            _serve(settings)
    except click.ClickException as error:
        return _end(EXIT_USAGE, error.format_message().rstrip("."))
    except SettingsError as error:
        return _end(EXIT_USAGE, str(error))
    except IntegrityError as error:
        return _end(EXIT_INTEGRITY, str(error))
    except (LogUnavailableError, OSError) as error:
        return _end(EXIT_FAULT, str(error))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return 0


def _serve(settings: SignerSettings) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the key is in memory
    log = make_log()
    server, service, certificate = create_signer(settings, log)
    server.start()
    log.info("signing", listen=settings.listen, origin=service.origin, vkey=service.vkey)
    while signal.sigtimedwait(SIGNALS, RENEWAL_SECONDS) is None:
        if certificate is not None:
            keep_renewed(certificate, log)
    server.stop(GRACE_SECONDS).wait()
    service.close()


def _end(code: int, message: str) -> int:
    sys.stderr.write(f"eligibility-signer: {message}\n")
    return code


def _check(settings: SignerSettings) -> None:
    if settings.listen.startswith("unix:"):
        if settings.tls_cert or settings.tls_key or settings.client_ca:
            raise SettingsError("--tls-cert, --tls-key, --client-ca: not for a Unix socket, which its mode guards")
        folder = Path(settings.listen.removeprefix("unix:")).parent
        if not folder.is_dir():
            raise SettingsError(f"--listen: there is no folder `{folder}`; make it")
        return
    if not is_address(settings.listen):
        raise SettingsError(f"--listen: `{settings.listen}` is no address; write unix:PATH or HOST:PORT")
    if not (settings.tls_cert and settings.tls_key and settings.client_ca):
        raise SettingsError("--client-ca: HOST:PORT needs mutual TLS: --tls-cert, --tls-key and --client-ca")


def _open_key(settings: SignerSettings, log: FilteringBoundLogger) -> SigningKey:
    if settings.key.exists():
        key = read_signing_key(settings.key)
        if settings.origin and settings.origin != key.verifier.name:
            raise SettingsError(f"--origin: the key is that of `{key.verifier.name}`, not of `{settings.origin}`")
        return key
    if settings.state.exists():
        raise SettingsError(f"--key: there is no key at `{settings.key}`, but the signer has signed; restore the key")
    if not settings.origin:
        raise SettingsError("--origin: needed to make a key: a unique name, as in cds.example.org/decisions/prod-1")
    key = make_signing_key(settings.key, settings.origin, os.urandom(32))
    log.warning("made a signing key", file=str(settings.key), meaning="keep a copy where nobody else reads it")
    return key


def _bind(server: grpc.Server, settings: SignerSettings) -> Certificate | None:
    certificate = None
    mask = os.umask(SOCKET_MASK)
    try:
        if settings.tls_cert and settings.tls_key and settings.client_ca:
            certificate = Certificate(settings.tls_cert, settings.tls_key)
            credentials = certificate.credentials(settings.client_ca.read_bytes(), is_client_asked=True)
            server.add_secure_port(settings.listen, credentials)
        else:
            server.add_insecure_port(settings.listen)
    except RuntimeError:
        raise SettingsError(f"--listen: `{settings.listen}` cannot be served; is it in use?") from None
    finally:
        os.umask(mask)
    return certificate


if __name__ == "__main__":
    sys.exit(main())
