"""EvaluateStream: a panel of patients on one stream."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from engine.errors import EnginesDisagree
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.conftest import FakeEngines, Running, Serve, Unpack

STREAM = "/eligibility.v1.EligibilityService/EvaluateStream"


class Sender:
    """Requests of a stream, sent one by one and ended by `close`."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[bytes | None] = SimpleQueue()

    def __iter__(self) -> Iterator[bytes]:
        """Give the requests as they are sent."""
        return iter(self.queue.get, None)

    def send(self, *messages: service_pb2.EvaluateStreamRequest | bytes) -> None:
        """Send requests."""
        for message in messages:
            self.queue.put(message if isinstance(message, bytes) else message.SerializeToString())

    def close(self) -> None:
        """Send nothing more."""
        self.queue.put(None)


def _open(running: Running, requests: Any, timeout: float = 30) -> Any:  # noqa: ANN401 - a grpc call
    call = running.channel.stream_stream(
        STREAM, request_serializer=None, response_deserializer=service_pb2.EvaluateStreamResponse.FromString
    )
    return call(iter(requests), timeout=timeout)


def _item(base: service_pb2.EvaluateRequest, request_id: str) -> service_pb2.EvaluateStreamRequest:
    item = service_pb2.EvaluateStreamRequest(request=base)
    item.request.request_id = request_id
    return item


def _until(condition: Any, seconds: float = 10) -> None:  # noqa: ANN401 - a callable
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        pause.wait(0.005)


def test_each_request_is_answered_once_under_its_own_id(
    running: Running, request_message: service_pb2.EvaluateRequest
) -> None:
    items = [_item(request_message, f"r{number}").SerializeToString() for number in range(200)]
    answers = list(_open(running, items))

    assert {a.request_id: a.position for a in answers} == {f"r{number}": number for number in range(200)}
    assert all(a.decision.options for a in answers)
    assert len({a.decision.decision_id for a in answers}) == 200


def test_a_repeated_request_is_answered_at_its_place_on_this_stream(
    running: Running, request_message: service_pb2.EvaluateRequest
) -> None:
    def ask(*names: str) -> list[tuple[int, str, str]]:
        answers = _open(running, [_item(request_message, name).SerializeToString() for name in names])
        return sorted((a.position, a.request_id, a.decision.decision_id) for a in answers)

    first = {name: decision for _, name, decision in ask("a", "b", "c")}
    assert ask("c", "a", "b", "a") == [
        (0, "c", first["c"]),
        (1, "a", first["a"]),
        (2, "b", first["b"]),
        (3, "a", first["a"]),
    ]


def test_an_answer_comes_before_the_next_request_is_sent(
    running: Running, request_message: service_pb2.EvaluateRequest
) -> None:
    sender = Sender()
    answers = _open(running, sender)
    for number in range(5):
        sender.send(_item(request_message, f"r{number}"))
        assert next(answers).request_id == f"r{number}"
    sender.close()
    assert list(answers) == []
    assert answers.code() == grpc.StatusCode.OK


def test_a_bad_request_is_answered_with_its_own_error_and_the_stream_goes_on(
    running: Running, request_message: service_pb2.EvaluateRequest
) -> None:
    wrong = _item(request_message, "wrong")
    wrong.request.as_of = "soon"
    wrong.request.patient_history.diagnosis.catatonia = 99  # type: ignore[assignment]
    large = _item(request_message, "large")
    large.request.patient_reference = "x" * (1024 * 1024)
    items = [
        b"\xff\xff\xff",
        wrong.SerializeToString(),
        _item(request_message, "").SerializeToString(),
        large.SerializeToString(),
        b"",
        _item(request_message, "good").SerializeToString(),
    ]
    by_position = {a.position: a for a in _open(running, items)}
    codes = {p: a.error.code for p, a in by_position.items() if a.WhichOneof("outcome") == "error"}

    assert sorted(by_position) == [0, 1, 2, 3, 4, 5]
    assert by_position[1].request_id == "wrong"
    assert by_position[5].decision.options
    invalid, exhausted = (c.value[0] for c in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED))
    assert codes == {0: invalid, 1: invalid, 2: invalid, 3: exhausted, 4: invalid}
    assert len(by_position[1].error.details) == 2


def test_a_disagreement_concerns_one_request_only(
    running: Running, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    sender = Sender()
    answers = _open(running, sender)
    engines.error = EnginesDisagree(["US-ESK-WP-09"])
    sender.send(_item(request_message, "a"))
    assert next(answers).error.code == grpc.StatusCode.INTERNAL.value[0]
    engines.error = None
    sender.send(_item(request_message, "b"))
    assert next(answers).decision.options
    sender.close()


def test_a_caller_that_stops_sending_still_gets_what_it_asked(
    running: Running, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    engines.may_go.clear()
    sender = Sender()
    answers = _open(running, sender)
    sender.send(*(_item(request_message, f"r{number}") for number in range(3)))
    sender.close()
    assert engines.begun.acquire(timeout=10)
    engines.may_go.set()
    assert len(list(answers)) == 3


def test_a_caller_that_falls_silent_and_leaves_gives_its_place_back(
    serve: Serve, request_message: service_pb2.EvaluateRequest
) -> None:
    running = serve(max_streams=1)
    for _ in range(3):
        sender = Sender()
        answers = _open(running, sender)
        sender.send(_item(request_message, "a"))
        next(answers)
        answers.cancel()
        sender.close()
        _until(lambda: running.server._streams.load == 0)  # noqa: SLF001 - the only way to see the place


def test_a_stream_on_which_nothing_is_asked_ends_and_gives_its_place_back(
    serve: Serve, request_message: service_pb2.EvaluateRequest, refusal: Unpack
) -> None:
    running = serve(max_streams=1, stream_idle=0.2)
    sender = Sender()
    answers = _open(running, sender)
    sender.send(_item(request_message, "a"))
    assert next(answers).decision.options
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert (refusal(caught.value).code, refusal(caught.value).reason) == (grpc.StatusCode.ABORTED, "STREAM_IDLE")
    sender.close()
    _until(lambda: running.server._streams.load == 0)  # noqa: SLF001 - the only way to see the place


def test_a_stream_that_waits_for_an_answer_is_not_idle(
    serve: Serve, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    running = serve(stream_idle=0.05)
    engines.may_go.clear()
    sender = Sender()
    answers = _open(running, sender)
    sender.send(_item(request_message, "a"))
    assert engines.begun.acquire(timeout=10)
    threading.Timer(0.5, engines.may_go.set).start()
    assert next(answers).decision.options
    sender.close()


def test_more_streams_than_fit_are_pushed_back(
    serve: Serve, request_message: service_pb2.EvaluateRequest, refusal: Unpack
) -> None:
    running = serve(max_streams=1)
    sender = Sender()
    answers = _open(running, sender)
    sender.send(_item(request_message, "a"))
    next(answers)
    with pytest.raises(grpc.RpcError) as caught:
        next(_open(running, [_item(request_message, "b").SerializeToString()]))
    assert refusal(caught.value).code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refusal(caught.value).retry_seconds == 1.0
    sender.close()


def test_a_slow_reader_is_waited_for(
    serve: Serve, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    running = serve(stream_window=4)
    engines.outcome.decision = replace(engines.outcome.decision, disclaimer="x" * 100_000)
    count = 400
    items = [_item(request_message, f"r{number}").SerializeToString() for number in range(count)]
    answers = _open(running, items)
    next(answers)
    seen = -1
    while seen != len(engines.asked):
        seen = len(engines.asked)
        threading.Event().wait(0.5)
    assert seen < count / 2
    assert len(list(answers)) == count - 1


def test_a_cancelled_stream_does_no_more_work(
    serve: Serve, engines: FakeEngines, request_message: service_pb2.EvaluateRequest
) -> None:
    running = serve(workers=1, stream_window=8)
    engines.may_go.clear()
    items = [_item(request_message, f"r{number}").SerializeToString() for number in range(50)]
    answers = _open(running, items)
    assert engines.begun.acquire(timeout=10)
    answers.cancel()
    _until(lambda: running.server._streams.load == 0)  # noqa: SLF001 - as above
    engines.may_go.set()
    _until(lambda: running.server._items.load == 0)  # noqa: SLF001 - as above
    assert len(engines.asked) == 1


def test_draining_answers_what_was_taken_in_and_says_where_it_stopped(
    running: Running, engines: FakeEngines, request_message: service_pb2.EvaluateRequest, refusal: Unpack
) -> None:
    engines.may_go.clear()
    sender = Sender()
    answers = _open(running, sender)
    sender.send(*(_item(request_message, f"r{number}") for number in range(3)))
    for _ in range(3):
        assert engines.begun.acquire(timeout=10)
    stopping = threading.Thread(target=running.server.stop)
    stopping.start()
    engines.may_go.set()
    got = [next(answers).request_id for _ in range(3)]
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    stopping.join(10)

    assert sorted(got) == ["r0", "r1", "r2"]
    assert refusal(caught.value).reason == "DRAINING"
    assert not stopping.is_alive()
