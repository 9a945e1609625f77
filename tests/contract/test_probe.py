"""The probe says by its exit code what grpc.health.v1 answers over a real connection."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest
from click.testing import CliRunner
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from server import probe

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def address() -> Iterator[str]:
    servicer = health.HealthServicer()
    servicer.set("", SERVING)
    servicer.set("ledger", NOT_SERVING)
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(grace=None).wait()


def test_a_serving_server_gives_zero(address: str) -> None:
    answer = CliRunner().invoke(probe.main, [address])

    assert (answer.exit_code, answer.output) == (0, "")


@pytest.mark.parametrize(("service", "state"), [("ledger", "NOT_SERVING"), ("nobody", "NOT_FOUND")])
def test_any_other_state_gives_one_and_its_name(address: str, service: str, state: str) -> None:
    answer = CliRunner().invoke(probe.main, [address, "--service", service])

    assert answer.exit_code == 1
    assert answer.stderr == f"`{service}` at `{address}` is not serving: {state}\n"


def test_silence_gives_one() -> None:
    answer = CliRunner().invoke(probe.main, ["127.0.0.1:1", "--timeout", "2"])

    assert answer.exit_code == 1
    assert "UNAVAILABLE" in answer.stderr


def test_settings_may_come_from_the_environment(address: str) -> None:
    answer = CliRunner().invoke(probe.main, [address], env={f"{probe.SETTINGS_PREFIX}_SERVICE": "ledger"})

    assert answer.exit_code == 1


def test_a_certificate_without_its_key_is_a_usage_error() -> None:
    answer = CliRunner().invoke(probe.main, ["127.0.0.1:1", "--certificate", __file__])

    assert answer.exit_code == 2
    assert "give `--certificate` and `--key` together" in answer.stderr
