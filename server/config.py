"""Settings, read once from the command line and the environment.

Each flag `--some-thing` may also be given as `ELIGIBILITY_SOME_THING`; the flag wins. Repeatable flags are separated by
spaces in the environment.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from server.interceptors.callers import parse_certificate_roles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIB = 1024 * 1024
MAX_RECORDS = 200
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
ACCEPTABLE = ("ES384", "RS384", "ES256", "ES512", "RS256", "RS512", "PS256", "PS384", "PS512", "EdDSA")
"""Signatures of the CDS Hooks face's tokens: asymmetric ones only. Source: RFC 7518, CDS Hooks 2.0."""
ENVIRONMENT_PREFIX = "ELIGIBILITY"


class SettingsError(Exception):
    """The settings cannot be used; the message names the flag and says what to write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Where the decision log is, where its keys are, and who signs it."""

    log: str = "sqlite:eligibility-data/log/log.db"
    log_owner: str = ""
    log_eraser: str = ""
    keys: str = "sqlite:eligibility-data/keys/keys.db"
    wrapping_key: str = "eligibility-data/keys/wrapping.key"
    signer: str = "eligibility-data/signer/state"
    signing_key: str = "eligibility-data/signer/signing.key"
    signer_ca: Path | None = None
    signer_cert: Path | None = None
    signer_key: Path | None = None
    origin: str = ""
    replaces: Path | None = None
    ack: Literal["signed", "durable"] = "signed"
    epoch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(LogSettings):
    """How one server runs. Sizes in bytes, times in seconds."""

    rules: Path
    overlay: tuple[Path, ...] = ()
    listen: str = "127.0.0.1:50051"
    engines: Literal["both", "interpret"] = "both"
    insecure: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    certificate_roles: Mapping[str, frozenset[str]]
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_roles_claim: str = "roles"
    jwks: str = ""
    metrics_listen: str = ""
    max_message_bytes: int = MIB
    max_fhir_bytes: int = 16 * MIB
    max_concurrent: int = 256
    max_trials: int = 100
    max_streams: int = 16
    stream_window: int = 8
    stream_idle: float = 300.0
    workers: int = 4
    time_zone: str = "UTC"
    grace: float = 25.0
    tracing: bool = False
    no_verify: bool = False
    cds_listen: str = ""
    cds_url: str = ""
    cds_clients: Path | None = None
    cds_origins: tuple[str, ...] = ()
    cds_algorithms: tuple[str, ...] = ("ES384", "RS384")
    cds_max_body_bytes: int = 16 * MIB
    cds_max_concurrent: int = 64
    cds_deadline_ms: int = 450
    cds_fetch_ms: int = 200
    cds_quiet: float = 86_400.0


_TEXT = click.STRING
_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, readable=True, path_type=Path)


def _option(flag: str, kind: click.ParamType[Any] | None, text: str, **more: object) -> click.Option:
    name = flag.removeprefix("--").replace("-", "_")
    envvar = f"{ENVIRONMENT_PREFIX}_{name.upper()}"
    if kind is None:
        return click.Option([flag], is_flag=True, envvar=envvar, help=text, show_envvar=True)
    if "default" not in more:
        more["default"] = Settings.__dataclass_fields__[name].default
    if more["default"] is None:
        del more["default"]
    return click.Option(
        [flag],
        type=kind,
        envvar=envvar,
        help=text,
        show_envvar=True,
        show_default=bool(more.get("default")),
        **more,  # type: ignore[arg-type]
    )


def log_options() -> list[click.Parameter]:
    """Give the settings that say where the decision log is; the server and the log's own commands share them."""
    return [
        _option("--log", _TEXT, "The decision log: sqlite:PATH, or postgresql://... for several servers."),
        _option(
            "--log-owner", _TEXT, "PostgreSQL: address of a role that makes the tables, as postgresql://ROLE@HOST/DB."
        ),
        _option("--log-eraser", _TEXT, "PostgreSQL: address of log_eraser, which empties sealed bodies in an erasure."),
        _option("--keys", _TEXT, "The patients' keys, apart from the log: sqlite:PATH or postgresql://..."),
        _option("--wrapping-key", _TEXT, "File of the key that wraps them; made on the first start."),
        _option("--signer", _TEXT, "What the signer remembers: a FILE in this process, or unix:PATH or HOST:PORT."),
        _option("--signing-key", _TEXT, "File of the signing key for a signer in this process; made on first start."),
        _option("--signer-ca", _FILE, "Authorities of a signer's certificate, PEM, for HOST:PORT."),
        _option("--signer-cert", _FILE, "Certificate shown to the signer, PEM."),
        _option("--signer-key", _FILE, "Private key of that certificate, PEM."),
        _option("--origin", _TEXT, "Unique name of the log, as in cds.example.org/decisions/prod-1; new logs only."),
        _option("--replaces", _FILE, "Last checkpoint of the log that a new one replaces."),
        _option("--epoch", click.IntRange(0), "Number that an operator raises to fence older writers off."),
    ]


def _options() -> list[click.Parameter]:
    return [
        _option("--rules", _FOLDER, "Folder of the rule packs.", default=None, required=True),
        _option("--overlay", _FOLDER, "Folder of a local pack, which may only tighten. Repeatable.", multiple=True),
        _option("--listen", _TEXT, "Address and port to serve on; port 0 picks one."),
        _option("--engines", click.Choice(["both", "interpret"]), "Engines that compute a decision."),
        *log_options(),
        _option("--ack", click.Choice(["signed", "durable"]), "What a decision waits for: a checkpoint, or the disk."),
        _option("--insecure", None, "Serve without TLS; every caller on this machine has every role. Loopback only."),
        _option("--tls-cert", _FILE, "Certificate chain, PEM."),
        _option("--tls-key", _FILE, "Private key of the certificate, PEM."),
        _option("--client-ca", _FILE, "Authorities of client certificates, PEM. Turns mutual TLS on."),
        _option(
            "--certificate-role",
            _TEXT,
            "NAME=ROLE,... for the client certificate with this subject alternative name or common name. Repeatable.",
            multiple=True,
            default=(),
        ),
        _option("--jwt-issuer", _TEXT, "Issuer that bearer tokens must name."),
        _option("--jwt-audience", _TEXT, "Audience that bearer tokens must name."),
        _option("--jwt-roles-claim", _TEXT, "Claim that lists a caller's roles."),
        _option("--jwks", _TEXT, "Keys of the issuer: a file or an https address."),
        _option("--metrics-listen", _TEXT, "Address and port of the metrics page; empty for none."),
        _option("--max-message-bytes", click.IntRange(1024, 64 * MIB), "Largest request, in bytes."),
        _option("--max-fhir-bytes", click.IntRange(1024, 64 * MIB), "Largest request with a FHIR record, in bytes."),
        _option("--max-concurrent", click.IntRange(1, 100_000), "Calls in work or waiting; more are pushed back."),
        _option("--max-trials", click.IntRange(1, MAX_RECORDS), "Most trials in one patient's history."),
        _option("--max-streams", click.IntRange(1, 1000), "Streams open at once; more are pushed back."),
        _option("--stream-window", click.IntRange(1, 1000), "Requests of one stream that are in work or unread."),
        _option(
            "--stream-idle", click.FloatRange(1, 86400), "Seconds after which a stream on which nothing is asked ends."
        ),
        _option("--workers", click.IntRange(1, 256), "Threads that evaluate."),
        _option("--time-zone", _TEXT, "IANA zone whose day it is where a request has no as_of."),
        _option("--grace", click.FloatRange(0, 3600), "Seconds that calls in work get at shutdown."),
        _option("--no-verify", None, "Do not verify the decision log in the background after the start."),
        _option("--tracing", None, "Send OpenTelemetry traces; needs the `tracing` extra."),
        *_cds_options(),
    ]


def _cds_options() -> list[click.Parameter]:
    return [
        _option("--cds-listen", _TEXT, "Address and port of the CDS Hooks face; empty for none."),
        _option("--cds-url", _TEXT, "Its public base address, which tokens name in `aud`: https, or http on loopback."),
        _option("--cds-clients", _FILE, "The clients it trusts, JSON, with their keys."),
        _option("--cds-origins", _TEXT, "Origin of a browser client that may call it. Repeatable.", multiple=True),
        _option(
            "--cds-algorithms",
            click.Choice(ACCEPTABLE),
            "Signature of tokens that it takes. Repeatable.",
            multiple=True,
        ),
        _option("--cds-max-body-bytes", click.IntRange(1024, 64 * MIB), "Largest body of a call, in bytes."),
        _option("--cds-max-concurrent", click.IntRange(1, 10_000), "HTTP calls in work; more are pushed back."),
        _option("--cds-deadline-ms", click.IntRange(50, 60_000), "Milliseconds for an answer; later is 503."),
        _option("--cds-fetch-ms", click.IntRange(0, 60_000), "Of these, milliseconds to read what was not prefetched."),
        _option(
            "--cds-quiet", click.FloatRange(0), "Seconds in which a card without news is not shown again; 0 never."
        ),
    ]


def command() -> click.Command:
    """Make the command whose parameters are the settings."""
    epilog = "Example: eligibility-server --rules rules --listen 127.0.0.1:50051 --insecure"
    summary = "Serve eligibility decisions over gRPC."
    return click.Command("eligibility-server", params=_options(), help=summary, epilog=epilog, callback=dict)


def read_settings(arguments: Sequence[str]) -> Settings | None:
    """Read the settings; None when help was asked for and printed.

    Raises:
        SettingsError: the first setting that cannot be used.

    """
    try:
        values = command().main(list(arguments), prog_name="eligibility-server", standalone_mode=False)
    except click.ClickException as error:
        raise SettingsError(_one_line(error)) from None
    if not isinstance(values, dict):
        return None
    try:
        roles = parse_certificate_roles(values.pop("certificate_role"))
    except ValueError as error:
        message = f"--certificate-role: {error}"
        raise SettingsError(message) from None
    settings = Settings(certificate_roles=roles, **values)
    _check(settings)
    return settings


def _one_line(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    return message[:1].lower() + message[1:]


def _check(settings: Settings) -> None:
    faults = (
        *_transport_faults(settings),
        *_caller_faults(settings),
        *_other_faults(settings),
        *_cds_faults(settings),
    )
    if faults:
        raise SettingsError(faults[0])


def _transport_faults(settings: Settings) -> list[str]:
    faults = []
    if not is_address(settings.listen):
        faults.append(f"--listen: `{settings.listen}` is no address; write HOST:PORT, as in 127.0.0.1:50051")
    elif settings.insecure and not is_loopback(settings.listen):
        faults.append(
            f"--insecure: only on loopback, not on `{settings.listen}`; give --tls-cert and --tls-key instead"
        )
    if settings.insecure and (settings.tls_cert or settings.client_ca or settings.jwks):
        faults.append("--insecure: excludes --tls-cert, --client-ca and --jwks; leave it out")
    if not settings.insecure and not (settings.tls_cert and settings.tls_key):
        faults.append("--tls-cert: needed together with --tls-key, or --insecure on loopback")
    return faults


def _caller_faults(settings: Settings) -> list[str]:
    if settings.insecure:
        return []
    faults = []
    if not (settings.client_ca or settings.jwks):
        faults.append("--jwks: nobody could call; give --jwks for bearer tokens or --client-ca for client certificates")
    if settings.jwks and not (settings.jwt_issuer and settings.jwt_audience):
        faults.append("--jwt-issuer: needed with --jwks, and so is --jwt-audience")
    if settings.jwks and not _is_key_source(settings.jwks):
        faults.append("--jwks: give a file that exists or an https address (http only on loopback)")
    if settings.client_ca and not settings.jwks and not settings.certificate_roles:
        faults.append("--certificate-role: needed with --client-ca where no token gives roles; nobody could call")
    if settings.certificate_roles and not settings.client_ca:
        faults.append("--certificate-role: needs --client-ca")
    if settings.certificate_roles and settings.jwks:
        faults.append("--certificate-role: not with --jwks, since callers are told apart by their tokens then")
    return faults


def _other_faults(settings: Settings) -> list[str]:
    faults = []
    if settings.metrics_listen and not is_address(settings.metrics_listen):
        faults.append(f"--metrics-listen: `{settings.metrics_listen}` is no address; write HOST:PORT")
    try:
        ZoneInfo(settings.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        faults.append(f"--time-zone: `{settings.time_zone}` is no IANA time zone; write for example Europe/Berlin")
    return faults


def _cds_faults(settings: Settings) -> list[str]:
    if not settings.cds_listen:
        return []
    faults = []
    if not is_address(settings.cds_listen):
        faults.append(f"--cds-listen: `{settings.cds_listen}` is no address; write HOST:PORT")
    elif settings.insecure and not is_loopback(settings.cds_listen):
        faults.append(f"--insecure: only on loopback, not on `{settings.cds_listen}`; see --cds-listen")
    if not is_public_address(settings.cds_url):
        faults.append("--cds-url: needed with --cds-listen; write https://HOST/PATH (http only on loopback)")
    if settings.cds_clients is None:
        faults.append("--cds-clients: needed with --cds-listen; nobody could call")
    return faults


def split_address(address: str) -> tuple[str, int]:
    """Split `HOST:PORT` or `[V6]:PORT`. Raises: ValueError."""
    host, _, port = address.rpartition(":")
    number = int(port) if port.isascii() and port.isdecimal() else -1
    if not host or not 0 <= number <= 65535:  # noqa: PLR2004 - the range of a port
        message = f"`{address}` is no HOST:PORT"
        raise ValueError(message)
    return host.removeprefix("[").removesuffix("]"), number


def is_address(address: str) -> bool:
    """Say whether a text is `HOST:PORT`."""
    try:
        split_address(address)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Say whether only this machine can reach `HOST:PORT`."""
    host, _ = split_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_public_address(address: str) -> bool:
    """Say whether an address is https, or http on this machine, without query and fragment."""
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return False
    is_bare = not (parts.query or parts.fragment or parts.username or parts.password)
    return bool(host) and is_bare and (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK))


def _is_key_source(source: str) -> bool:
    address = urlsplit(source)
    if address.scheme == "https":
        return bool(address.hostname)
    if address.scheme == "http":
        return address.hostname in LOOPBACK
    return os.access(source, os.R_OK)
