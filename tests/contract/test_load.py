"""Deadlines, cancellation and more calls than fit."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import pytest

if TYPE_CHECKING:
    from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
    from tests.contract.conftest import FakeEngines, Running, Serve, Unpack

EVALUATE = "/eligibility.v1.EligibilityService/Evaluate"


def _future(running: Running, message: service_pb2.EvaluateRequest, timeout: float = 30) -> Any:  # noqa: ANN401 - a grpc future
    return running.unary(EVALUATE).future(message.SerializeToString(), timeout=timeout)


def _until(condition: Any, seconds: float = 10) -> None:  # noqa: ANN401 - a callable
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        pause.wait(0.005)


def test_a_call_whose_deadline_passes_in_the_queue_is_never_worked_on(
    serve: Serve, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    running = serve(workers=1)
    engines.may_go.clear()
    first = _future(running, request_message)
    assert engines.begun.acquire(timeout=10)
    late = [_future(running, request_message, timeout=0.001) for _ in range(20)]
    assert {call.exception().code() for call in late} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    engines.may_go.set()
    first.result()
    running.evaluate(request_message)
    assert len(engines.asked) == 2


def test_a_call_that_is_cancelled_in_the_queue_is_never_worked_on(
    serve: Serve, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    running = serve(workers=1)
    engines.may_go.clear()
    first = _future(running, request_message)
    assert engines.begun.acquire(timeout=10)
    waiting = [_future(running, request_message) for _ in range(20)]
    _until(lambda: running.server._calls.load >= 21)  # noqa: SLF001 - the only way to know that they wait
    for call in waiting:
        call.cancel()
    _until(lambda: all(call.done() for call in waiting))
    running.health("")
    engines.may_go.set()
    first.result()
    running.evaluate(request_message)
    assert len(engines.asked) == 2


def test_a_decision_that_comes_after_the_deadline_is_not_recorded(
    serve: Serve, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    kept: list[object] = []

    class _Kept:
        def record(self, *what: object) -> None:
            kept.append(what)

        def record_refusal(self, *what: object) -> None:
            del what

    running = serve(recorder=_Kept())
    engines.may_go.clear()
    call = _future(running, request_message, timeout=0.2)
    assert call.exception().code() == grpc.StatusCode.DEADLINE_EXCEEDED
    engines.may_go.set()
    _until(lambda: '"call"' in running.log.getvalue())
    assert kept == []


def test_calls_that_do_not_fit_are_pushed_back_and_told_when_to_retry(
    serve: Serve, engines: FakeEngines, request_message: service_pb2.EvaluateRequest, refusal: Unpack
) -> None:
    running = serve(workers=1, max_concurrent=4)
    engines.may_go.clear()
    taken = [_future(running, request_message) for _ in range(4)]
    _until(lambda: running.server._calls.load == 4)  # noqa: SLF001 - as above
    with pytest.raises(grpc.RpcError) as caught:
        running.evaluate(request_message, timeout=5)
    answer = refusal(caught.value)

    assert (answer.code, answer.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert answer.retry_seconds == 1.0
    assert running.health("") == "SERVING"
    engines.may_go.set()
    assert all(call.result() for call in taken)
    _until(lambda: running.server._calls.load == 0)  # noqa: SLF001 - as above
    running.evaluate(request_message)


def test_a_thousand_calls_at_once_are_all_answered_one_way_or_the_other(
    serve: Serve, request_message: service_pb2.EvaluateRequest
) -> None:
    running = serve(max_concurrent=200)
    calls = [_future(running, request_message) for _ in range(1000)]
    codes = Counter(call.code() for call in calls)

    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes[grpc.StatusCode.OK] >= 200
    running.evaluate(request_message)
    _until(lambda: running.server._calls.load == 0)  # noqa: SLF001 - as above
