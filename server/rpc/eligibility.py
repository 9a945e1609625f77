"""EligibilityService."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from engine.errors import Violation
from server.convert.answers import write_stream_error
from server.convert.dictionary import write_description
from server.convert.ledger import EVALUATE, EVALUATE_FHIR, EVALUATE_STREAM
from server.convert.messages import parse, refuse_unknown
from server.convert.requests import request_id_of
from server.faults import Fault, draining, invalid, overloaded
from server.interceptors.errors import UNEXPECTED, fault_of, place_of, status_of
from server.interceptors.layers import Notes, notes
from server.pb.eligibility.v1 import eligibility_service_pb2 as service_pb2
from server.rpc.panels import Panel
from server.rpc.service import Pool, call_of, on_pool, register, still_waited_for, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import grpc

    from server.config import Settings
    from server.deciding import Decider
    from server.interceptors.metrics import Metrics
    from server.rules_in_force import RulesInForce

SERVICE = service_pb2.DESCRIPTOR.services_by_name["EligibilityService"].full_name
_PUSH_BACK = 1.0


class Eligibility:
    """The service.

    `items` are the threads that decide streamed requests, `streams` those that hold the streams open.
    """

    def __init__(  # noqa: PLR0913 - its collaborators, by name
        self,
        *,
        settings: Settings,
        rules: RulesInForce,
        decider: Decider,
        metrics: Metrics,
        items: Pool,
        streams: Pool,
        on_unexpected: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._decider = decider
        self._metrics = metrics
        self._items = items
        self._streams = streams
        self._on_unexpected = on_unexpected
        self._panels: set[Panel] = set()
        self._lock = threading.Lock()
        self._is_draining = False

    def register(self, server: grpc.Server) -> None:
        """Serve the methods."""

        def stream(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            return self.evaluate_stream(requests, context)

        register(
            server,
            SERVICE,
            {
                "Evaluate": self.evaluate,
                "EvaluateFhir": self.evaluate_fhir,
                "DescribeInputs": self.describe_inputs,
            },
            {"EvaluateStream": on_pool(stream, self._streams)},
        )

    def evaluate(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """Answer Evaluate."""
        return self._decide(EVALUATE, data, context, notes())

    def evaluate_fhir(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """Answer EvaluateFhir."""
        return self._decide(EVALUATE_FHIR, data, context, notes())

    def evaluate_stream(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answer EvaluateStream."""
        call_notes = notes()

        def answer(position: int, data: bytes) -> bytes:
            return self._item(position, data, context, call_notes)

        panel = Panel(answer, self._items, self._settings.stream_window, self._settings.stream_idle)
        with self._lock:
            if self._is_draining:
                raise draining()
            if len(self._panels) >= self._settings.max_streams:
                message = f"more than {self._settings.max_streams} streams are open; use one of yours again"
                raise overloaded(message, _PUSH_BACK)
            self._panels.add(panel)
        try:
            yield from panel.run(requests, context)
        finally:
            panel.leave()
            with self._lock:
                self._panels.discard(panel)

    def describe_inputs(self, data: bytes, context: grpc.ServicerContext) -> bytes:
        """Answer DescribeInputs."""
        within(self._settings.max_message_bytes, data)
        still_waited_for(context)
        request = parse(service_pb2.DescribeInputsRequest, data)
        violations = refuse_unknown(request)
        with self._rules.reading() as rules:
            dictionary = rules.book.dictionary
            violations += _unknown_areas(request.areas, dictionary.areas)
            if violations:
                raise invalid(violations)
            wanted = [f for f in dictionary.facts if not request.areas or f.area in request.areas]
            response = service_pb2.DescribeInputsResponse(
                dictionary_version=dictionary.version,
                facts=[write_description(f) for f in wanted],
            )
        return response.SerializeToString()

    def drain(self) -> None:
        """Open no stream any more, and let those that are open take in nothing more."""
        with self._lock:
            self._is_draining = True
            panels = list(self._panels)
        for panel in panels:
            panel.drain()

    def _decide(
        self, method: str, data: bytes, context: grpc.ServicerContext, call_notes: Notes, position: int | None = None
    ) -> bytes:
        """Give the bytes to answer with."""
        limit = self._settings.max_fhir_bytes if method == EVALUATE_FHIR else self._settings.max_message_bytes
        within(limit, data)

        def check() -> None:
            still_waited_for(context)

        call = call_of(method, context, call_notes)
        return self._decider.decide(data, call, check, call_notes, position).recorded.response

    def _item(self, position: int, data: bytes, context: grpc.ServicerContext, call_notes: Notes) -> bytes:
        try:
            return self._decide(EVALUATE_STREAM, data, context, call_notes, position)
        except Exception as error:  # noqa: BLE001 - one bad patient never ends a panel
            reason = fault_of(error).reason
            self._metrics.stream_errors.labels(reason).inc()
            if reason == UNEXPECTED:
                self._on_unexpected(place_of(error))
            return write_stream_error(_request_id(data), position, status_of(error))


def _request_id(data: bytes) -> str:
    try:
        return request_id_of(data)
    except Fault:
        return ""


def _unknown_areas(asked: Iterable[str], known: Mapping[str, str]) -> list[Violation]:
    return [
        Violation(f"areas[{position}]", "request/unknown-value", f"must be one of {', '.join(known)}")
        for position, area in enumerate(asked)
        if area not in known
    ]
