"""Health, reload, shutdown, metrics, logs and reflection."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_status import rpc_status

from engine.errors import ChainFault, Diagnostic, EnginesDisagree
from server.pb.eligibility.v1 import patient_pb2
from server.pb.eligibility.v1 import rule_pack_service_pb2 as packs_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.config import Settings
    from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
    from server.rules_in_force import LoadedRules
    from tests.contract.conftest import FakeEngines, Loader, Running, Serve, Unpack

RELOAD = "/eligibility.v1.RulePackService/ReloadRulePacks"
SERVICES = ("", "eligibility.v1.EligibilityService", "eligibility.v1.RulePackService")
FAULT = Diagnostic("us/pack.yaml", 3, 1, "pack/shape", "`version` is no version")


def test_every_entry_serves_once_the_server_has_started(running: Running) -> None:
    assert [running.health(entry) for entry in (*SERVICES, "packs", "engines")] == ["SERVING"] * 5


def test_health_comes_back_after_an_alarm_that_came_and_went_between_two_looks(running: Running) -> None:
    ledger = running.server.ledger
    ledger.raise_alarm("keys")
    assert running.health("ledger") == running.health("") == "NOT_SERVING"
    assert ledger.alarms() == ()  # asking looks at the keys, which are well

    end = time.monotonic() + 30
    while running.health("") != "SERVING" and time.monotonic() < end:
        time.sleep(0.05)

    assert [running.health(entry) for entry in ("", "ledger")] == ["SERVING"] * 2


def test_a_bad_reload_is_refused_and_the_rules_before_it_keep_serving(
    running: Running,
    loader: Loader,
    engines: FakeEngines,
    request_message: service_pb2.EvaluateRequest,
    refusal: Unpack,
) -> None:
    loader.faults = [FAULT]
    with pytest.raises(grpc.RpcError) as caught:
        running.call(RELOAD, b"")
    answer = refusal(caught.value)
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    listed = error_details_pb2.PreconditionFailure()

    assert (answer.code, answer.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "RULE_PACKS_REFUSED")
    assert status is not None
    assert any(detail.Unpack(listed) for detail in status.details)
    assert listed.violations[0].subject == "us/pack.yaml:3:1"
    assert [running.health(entry) for entry in ("packs", "engines", "")] == ["NOT_SERVING", "SERVING", "SERVING"]
    assert running.evaluate(request_message).decision.options
    assert not engines.closed


def test_rules_that_cannot_even_be_read_are_refused_too(
    running: Running, loader: Loader, request_message: service_pb2.EvaluateRequest, refusal: Unpack
) -> None:
    loader.failure = PermissionError("SECRET")
    with pytest.raises(grpc.RpcError) as caught:
        running.call(RELOAD, b"")
    assert refusal(caught.value).reason == "RULE_PACKS_REFUSED"
    assert running.health("packs") == "NOT_SERVING"
    assert running.evaluate(request_message).decision.options


def test_a_good_reload_replaces_the_rules_and_frees_the_old_ones_when_they_are_idle(
    running: Running, loader: Loader, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    loader.faults = [FAULT]
    with pytest.raises(grpc.RpcError):
        running.call(RELOAD, b"")
    engines.may_go.clear()
    in_work = running.unary("/eligibility.v1.EligibilityService/Evaluate").future(request_message.SerializeToString())
    assert engines.begun.acquire(timeout=10)
    loader.faults, loader.digest, loader.engines = [], "9" * 64, type(engines)()
    answer = packs_pb2.ReloadRulePacksResponse.FromString(running.call(RELOAD, b""))

    assert answer.digest == "9" * 64
    assert answer.previous_digest != answer.digest
    assert running.health("packs") == "SERVING"
    assert not engines.closed
    engines.may_go.set()
    assert in_work.result()
    request_message.request_id = "another"
    running.evaluate(request_message)
    assert engines.closed
    assert len(loader.engines.asked) == 1


def test_a_flood_of_reloads_is_pushed_back_and_leaves_health_alone(
    running: Running, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, begun, may_go = type(loader).__call__, threading.Event(), threading.Event()

    def slow(self: Loader, settings: Settings) -> LoadedRules:
        begun.set()
        assert may_go.wait(30)
        return honest(self, settings)

    monkeypatch.setattr(type(loader), "__call__", slow)
    calls = [running.unary(RELOAD).future(b"") for _ in range(8)]
    assert begun.wait(10)
    assert running.health("") == "SERVING"
    may_go.set()
    codes = [call.code() for call in calls]

    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes.count(grpc.StatusCode.OK) <= 3


def test_a_disagreement_is_never_answered_and_shows_until_the_next_rules(
    running: Running, engines: FakeEngines, request_message: service_pb2.EvaluateRequest, refusal: Unpack
) -> None:
    engines.error = EnginesDisagree(["US-ESK-WP-09"])
    with pytest.raises(grpc.RpcError) as caught:
        running.evaluate(request_message)
    answer = refusal(caught.value)

    assert (answer.code, answer.reason) == (grpc.StatusCode.INTERNAL, "ENGINES_DISAGREE")
    assert running.health("engines") == "NOT_SERVING"
    assert running.server.metrics.registry.get_sample_value("eligibility_engine_disagreements_total") == 1
    assert "US-ESK-WP-09" in running.log.getvalue()
    engines.error = None
    assert running.evaluate(request_message).decision.options
    assert running.health("engines") == "NOT_SERVING"
    running.call(RELOAD, b"")
    assert running.health("engines") == "SERVING"


def test_an_engine_that_fails_may_be_asked_again(
    running: Running, engines: FakeEngines, request_message: service_pb2.EvaluateRequest, refusal: Unpack
) -> None:
    engines.error = ChainFault("SECRET")
    with pytest.raises(grpc.RpcError) as caught:
        running.evaluate(request_message)
    answer = refusal(caught.value)
    assert (answer.code, answer.reason, answer.retry_seconds) == (grpc.StatusCode.INTERNAL, "ENGINE_FAULT", 1.0)
    assert "SECRET" not in answer.message


def test_a_watcher_hears_of_a_change(running: Running, loader: Loader) -> None:
    watch = running.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=None,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    states: Any = watch(health_pb2.HealthCheckRequest(service="packs").SerializeToString(), timeout=20)
    assert next(states).status == health_pb2.HealthCheckResponse.SERVING
    loader.faults = [FAULT]
    with pytest.raises(grpc.RpcError):
        running.call(RELOAD, b"")
    assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
    states.cancel()


def test_calls_in_work_are_answered_while_the_server_stops(
    running: Running, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    engines.may_go.clear()
    in_work = running.unary("/eligibility.v1.EligibilityService/Evaluate").future(
        request_message.SerializeToString(), timeout=20
    )
    assert engines.begun.acquire(timeout=10)
    stopping = threading.Thread(target=running.server.stop)
    stopping.start()
    engines.may_go.set()
    assert in_work.result()
    stopping.join(10)
    assert not stopping.is_alive()
    with pytest.raises(grpc.RpcError):
        running.evaluate(request_message, timeout=1)


def test_the_log_holds_one_line_a_call_and_no_patient_data(
    running: Running, request_message: service_pb2.EvaluateRequest
) -> None:
    running.evaluate(request_message)
    request_message.request_id = "Jane Doe 1970"
    request_message.patient_history.setting.care_setting = patient_pb2.CARE_SETTING_OUTPATIENT
    running.evaluate(request_message)
    text = running.log.getvalue()
    lines = [line for line in map(json.loads, text.splitlines()) if line["event"] == "call"]

    assert [line["code"] for line in lines] == ["OK", "OK"]
    assert [line["request_id"] for line in lines] == ["7b0e6d0a-1111-4222-8333-944455556666", None]
    assert lines[0]["packs"] == {"us": "ab" * 32}
    assert lines[0]["duration_ms"] > 0
    assert not re.search(r"SECRET|Jane|72\.3|sbp|outpatient", text)


def test_metrics_have_closed_labels(serve: Serve, request_message: service_pb2.EvaluateRequest) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    running = serve(metrics_listen=address)
    running.evaluate(request_message)
    with pytest.raises(grpc.RpcError):
        running.call("/made.up/SECRET", b"")
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as page:
        text = page.read().decode()
    assert 'eligibility_calls_total{code="OK",method="/eligibility.v1.EligibilityService/Evaluate"} 1.0' in text
    assert 'eligibility_decisions_total{jurisdiction="US"} 1.0' in text
    assert "SECRET" not in text


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_the_services(running: Running, version: str) -> None:
    method = running.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="eligibility.v1.EvaluateRequest"),
    ]
    listed, described = method(iter(asked), timeout=10)
    assert {s.name for s in listed.list_services_response.service} >= set(SERVICES[1:])
    assert described.file_descriptor_response.file_descriptor_proto


def _ledger_environment(folder: Path) -> dict[str, str]:
    return {
        "ELIGIBILITY_LOG": f"sqlite:{folder}/log/log.db",
        "ELIGIBILITY_KEYS": f"sqlite:{folder}/keys/keys.db",
        "ELIGIBILITY_WRAPPING_KEY": f"{folder}/keys/wrapping.key",
        "ELIGIBILITY_SIGNER": f"{folder}/signer/state",
        "ELIGIBILITY_SIGNING_KEY": f"{folder}/signer/signing.key",
    }


@pytest.fixture
def process(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Give a server process with the engines of the tests, and its rules folder."""
    here = Path(__file__).parent
    code = (
        "import runpy, sys; fakes = runpy.run_path(sys.argv[1]); "
        "from server.__main__ import main; sys.exit(main(sys.argv[2:], load_all=fakes['load_fake']))"
    )
    arguments = ["--rules", str(_made(tmp_path / "rules")), "--listen", "127.0.0.1:0", "--insecure", "--grace", "5"]
    started = subprocess.Popen(
        [sys.executable, "-c", code, str(here / "conftest.py"), *arguments],
        cwd=here.parents[1],
        env=os.environ | {"PYTHONUNBUFFERED": "1"} | _ledger_environment(tmp_path / "data"),
        stderr=subprocess.PIPE,
        text=True,
    )
    limit = threading.Timer(60, started.kill)
    limit.start()
    yield started, tmp_path / "rules"
    limit.cancel()
    started.kill()
    started.wait()
    if started.stderr:
        started.stderr.close()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _next_event(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    assert process.stderr is not None
    for line in process.stderr:
        found: dict[str, Any] = json.loads(line)
        if found["event"] == event:
            return found
    message = f"the process ended without `{event}`"
    raise AssertionError(message)


def test_signals_reload_and_drain(
    process: tuple[subprocess.Popen[str], Path], request_message: service_pb2.EvaluateRequest
) -> None:
    server, rules = process
    port = _next_event(server, "serving")["port"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        evaluate = channel.unary_unary(
            "/eligibility.v1.EligibilityService/Evaluate", request_serializer=None, response_deserializer=None
        )
        assert evaluate(request_message.SerializeToString(), timeout=10)
        server.send_signal(signal.SIGHUP)
        assert _next_event(server, "rule packs in force")["level"] == "info"
        (rules / "broken").touch()
        server.send_signal(signal.SIGHUP)
        refused = _next_event(server, "rule packs refused")
        assert refused["faults"] == ["us/pack.yaml:3:1: [pack/shape] `version` is no version"]
        assert evaluate(request_message.SerializeToString(), timeout=10)
        server.send_signal(signal.SIGTERM)
        _next_event(server, "stopped")
    assert server.wait(10) == 0
