"""Asks a running server for its health and says so by exit code, for the image's HEALTHCHECK and for scripts.

    python -m server.probe 127.0.0.1:50051 --ca ca.pem --service ledger

Exit code 0 means SERVING; 1 anything else, with the reason on standard error.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SETTINGS_PREFIX = "ELIGIBILITY_PROBE"


def ask(channel: grpc.Channel, service: str, timeout_s: float) -> str:
    """Name the state of a service, as `grpc.health.v1` knows it.

    An empty service name asks for the server as a whole. Waiting ends after `timeout_s` seconds, the time to connect
    included.

    Raises:
        grpc.RpcError: nobody answered in time, or the server does not know the service.
    """
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return name


def connect(
    address: str, ca: Path | None, certificate: Path | None, key: Path | None, server_name: str
) -> grpc.Channel:
    """Open a channel: plain without a `ca`, else TLS, with the probe's own certificate where one is given."""
    if ca is None:
        return grpc.insecure_channel(address)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=ca.read_bytes(),
        private_key=key.read_bytes() if key else None,
        certificate_chain=certificate.read_bytes() if certificate else None,
    )
    options = [("grpc.ssl_target_name_override", server_name)] if server_name else []
    return grpc.secure_channel(address, credentials, options=options)


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(context_settings={"auto_envvar_prefix": SETTINGS_PREFIX})
@click.argument("address", default="127.0.0.1:50051")
@click.option("--service", default="", help="One service or named entry; without it, the server as a whole.")
@click.option("--ca", type=_FILE, help="Certificates to trust. Without it the probe speaks plain HTTP/2.")
@click.option("--certificate", type=_FILE, help="The probe's own certificate, where the server asks for one.")
@click.option("--key", type=_FILE, help="The private key of that certificate.")
@click.option("--server-name", default="", help="The name in the server's certificate, where it is not the address.")
@click.option("--timeout", "timeout_s", default=3.0, show_default=True, help="Seconds to wait for the answer.")
def main(  # noqa: PLR0913, PLR0917 - one parameter per option
    address: str,
    service: str,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    server_name: str,
    timeout_s: float,
) -> None:
    """Exit with 0 while the server at ADDRESS is SERVING, else with 1.

    Every option may come from the environment too, as ELIGIBILITY_PROBE_CA and so on.

    Example: python -m server.probe 127.0.0.1:50051 --service ledger
    """
    if (certificate is None) != (key is None):
        message = "give `--certificate` and `--key` together"
        raise click.UsageError(message)
    with connect(address, ca, certificate, key, server_name) as channel:
        try:
            state = ask(channel, service, timeout_s)
        except grpc.RpcError as error:
            state = error.code().name
    if state != "SERVING":
        click.echo(f"`{service or 'server'}` at `{address}` is not serving: {state}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
