"""Where the log is: the options that all commands of the log share, and what they open."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import grpc
from click.core import ParameterSource

from engine.errors import EntryNotFoundError
from engine.ledger.decisions import LogView
from engine.ledger.keys import KeyStore
from engine.ledger.wrapping import FileWrappingKeys
from server.command.log.asking import Local, LocalReading, Remote
from server.config import LogSettings, SettingsError, is_address, is_loopback, log_options
from server.opening import SQLITE, open_key_rows, open_ledger, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engine.ledger.log import DecisionLog, Digests
    from engine.ledger.store import LogStore
    from server.command.log.asking import Asking, AskingAll

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SERVER_NAMES = ("server", "ca", "client_cert", "client_key", "server_name", "token_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the log is: at a server, or where `settings` say."""

    settings: LogSettings
    server: str = ""
    ca: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    server_name: str = ""
    token_file: Path | None = None

    @contextmanager
    def asking(self, *, parallel: int = 0) -> Iterator[AskingAll]:
        """Give what answers every request; a log that is opened here is closed with it.

        Ranges of such a log are replayed by `parallel` processes of their own; 0 for this one.
        """
        if self.server:
            with self._channel() as channel:
                yield Remote(channel, self._token())
            return
        with self.opened() as log, _local(log, self.settings, parallel) as local:
            yield local

    @contextmanager
    def reading(self) -> Iterator[Asking]:
        """Give what answers requests about headers and proofs; a log that lies here is only read."""
        if self.server:
            with self._channel() as channel:
                yield Remote(channel, self._token())
            return
        with self.store() as store:
            yield LocalReading(store)

    @contextmanager
    def store(self, *, is_writer: bool = False) -> Iterator[LogStore]:
        """Open the store to read it beside its server; as its writer, in place of the server."""
        self.must_be_here()
        with usage():
            open_store(self.settings, is_writer=False).close()  # what is not there is not made
            store = open_store(self.settings, is_writer=is_writer)
        try:
            yield store
        finally:
            store.close()

    @contextmanager
    def opened(self) -> Iterator[DecisionLog]:
        """Open the log to write it; it must be there."""
        self.must_be_here()
        with usage():
            open_store(self.settings, is_writer=False).close()  # as above
            _must_exist(self.settings)
            log = open_ledger(self.settings)
        try:
            yield log
        finally:
            log.close()

    def must_be_here(self) -> None:
        """Refuse --server. Raises: UsageError."""
        if self.server:
            raise click.UsageError("this needs the store itself: give --log, on the machine of the log")

    def _channel(self) -> grpc.Channel:
        options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
        if self.ca is None:
            if not is_loopback(self.server):
                raise click.UsageError("--ca: needed to ask a server that is not on this machine")
            return grpc.insecure_channel(self.server, options)
        if (self.client_cert is None) != (self.client_key is None):
            raise click.UsageError("--client-cert: needed together with --client-key")
        credentials = grpc.ssl_channel_credentials(
            self.ca.read_bytes(),
            self.client_key.read_bytes() if self.client_key else None,
            self.client_cert.read_bytes() if self.client_cert else None,
        )
        if self.server_name:
            options.append(("grpc.ssl_target_name_override", self.server_name))  # type: ignore[arg-type]
        return grpc.secure_channel(self.server, credentials, options)

    def _token(self) -> str:
        return self.token_file.read_text(encoding="utf-8").strip() if self.token_file else ""


@contextmanager
def _local(log: DecisionLog, settings: LogSettings, parallel: int) -> Iterator[Local]:
    """Give the service over a log, as a server has it."""
    # What only reads does without both engines, which take long to load.
    from engine.ledger.workers import Recipe  # noqa: PLC0415
    from server.build import engine_manifest  # noqa: PLC0415
    from server.convert.replay import wire  # noqa: PLC0415
    from server.rpc.decision_log import DecisionLog as Service  # noqa: PLC0415
    from server.rpc.replays import Replays  # noqa: PLC0415
    from server.rpc.service import Pool  # noqa: PLC0415

    build = hashlib.sha256(engine_manifest()).digest()
    replays = Replays(log, build, Recipe(partial(open_view, settings), wire, build), parallel)
    pool = Pool(1, "local")
    service = Service(
        log=log, digests=_no_digests, replays=replays, pool=pool, long=pool, max_message_bytes=MAX_MESSAGE_BYTES
    )
    try:
        yield Local(service)
    finally:
        replays.close()
        pool.shutdown()


def open_view(settings: LogSettings) -> LogView:
    """Open a log and its keys to read them beside their writer. Raises: SettingsError, LedgerError."""
    store = open_store(settings, is_writer=False)
    keys = open_keys(settings)

    def close() -> None:
        keys.close()
        store.close()

    return LogView(store.reading, keys.open_key, close)


def open_keys(settings: LogSettings) -> KeyStore:
    """Open the keys, which must be there. Raises: SettingsError, LedgerError."""
    wrapping = FileWrappingKeys.open(Path(settings.wrapping_key))
    return KeyStore(open_key_rows(settings), wrapping, os.urandom, lambda: time.time_ns() // 1000)


def placed(command: click.Command) -> click.Command:
    """Add the options that say where the log is; the command gets them as `place`."""
    log_parameters = [option for option in log_options() if option.name != "replaces"]
    command.params += [*_server_options(), *log_parameters]
    inner = command.callback
    assert inner is not None  # noqa: S101 - every command of ours does something
    log_names = {option.name for option in log_parameters}

    def call(*args: Any, **values: Any) -> Any:  # noqa: ANN401 - as click calls it
        context = click.get_current_context()
        given = {name: values.pop(name) for name in _SERVER_NAMES}
        settings = LogSettings(**{f.name: values.pop(f.name) for f in fields(LogSettings) if f.name in log_names})
        if given["server"] and context.get_parameter_source("log") is ParameterSource.COMMANDLINE:
            raise click.UsageError("give --server or --log, not both")
        if given["server"] and not is_address(given["server"]):
            raise click.UsageError(f"--server: `{given['server']}` is no address; write HOST:PORT")
        return inner(*args, place=Place(settings=settings, **given), **values)

    command.callback = call
    return command


def _server_options() -> list[click.Parameter]:
    def option(flag: str, text: str, **more: Any) -> click.Option:  # noqa: ANN401 - as click takes them
        name = flag.removeprefix("--").replace("-", "_").upper()
        return click.Option([flag], help=text, envvar=f"ELIGIBILITY_{name}", show_envvar=True, **more)

    return [
        option("--server", "Ask the server at HOST:PORT, in place of opening the log.", default=""),
        option("--ca", "Authorities of the server's certificate, PEM. Without it, only loopback.", type=_FILE),
        option("--client-cert", "Certificate to show to the server, PEM.", type=_FILE),
        option("--client-key", "Private key of that certificate, PEM.", type=_FILE),
        option("--server-name", "Name in the server's certificate, where it is not the address.", default=""),
        option("--token-file", "File with a bearer token.", type=_FILE),
    ]


def _must_exist(settings: LogSettings) -> None:
    """Refuse to make keys beside a log that has others. Raises: SettingsError."""
    files = {"--wrapping-key": settings.wrapping_key}
    if not settings.signer.startswith("unix:") and not is_address(settings.signer):
        files |= {"--signer": settings.signer, "--signing-key": settings.signing_key}
    if settings.keys.startswith(SQLITE):
        files["--keys"] = settings.keys.removeprefix(SQLITE)
    for flag, file in files.items():
        if not Path(file).exists():
            message = f"{flag}: there is nothing at `{file}`; give the one that the server has"
            raise SettingsError(message)


def _no_digests() -> Digests:
    raise EntryNotFoundError("no decision of this card is logged; only a server records feedback of unknown cards")


@contextmanager
def usage() -> Iterator[None]:
    """Turn a setting that cannot be used into wrong usage."""
    try:
        yield
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
