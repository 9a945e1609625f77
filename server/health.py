"""Health as `grpc.health.v1` tells it: the real state, entry by entry.

| entry | NOT_SERVING while |
|---|---|
| `""` and each service | the server has not started or shuts down |
| `packs` | the rule packs last read were refused; those before them stay in force |
| `engines` | the engines disagreed on a decision since the rule packs were last put in force |
| `ledger` | the decision log cannot be written, signed or trusted; then `""` and the services that need it are too |
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2

from server.rpc.service import on_pool

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import ThreadPoolExecutor

    from google.protobuf.message import Message

PACKS = "packs"
ENGINES = "engines"
LEDGER = "ledger"

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Holds the entries. Everything is NOT_SERVING until `start`."""

    def __init__(self, services: Iterable[str], pool: ThreadPoolExecutor) -> None:
        self._services = ("", *services)
        self._following = tuple(name for name in self._services if "RulePack" not in name)
        self._has_started = False
        self._lock = threading.Lock()
        self._told: dict[str, int] = {}
        self._pool = pool
        self._servicer = health.HealthServicer(experimental_non_blocking=True, experimental_thread_pool=pool)
        for entry in (*self._services, PACKS, ENGINES, LEDGER):
            self._set(entry, _NOT_SERVING)

    def register(self, server: grpc.Server) -> None:
        """Serve the entries on threads of their own, so that a full server still says how it is."""

        def check(request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext) -> Message:
            answer: Message = self._servicer.Check(request, context)
            return answer

        wire = {
            "request_deserializer": health_pb2.HealthCheckRequest.FromString,
            "response_serializer": health_pb2.HealthCheckResponse.SerializeToString,
        }
        handlers = {
            "Check": grpc.unary_unary_rpc_method_handler(on_pool(check, self._pool), **wire),
            "Watch": grpc.unary_stream_rpc_method_handler(self._servicer.Watch, **wire),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(health.SERVICE_NAME, handlers),))

    def start(self) -> None:
        """Say that the server serves."""
        self._has_started = True
        for entry in (*self._services, PACKS, ENGINES, LEDGER):
            self._set(entry, _SERVING)

    def tell(self, entry: str, *, is_serving: bool) -> None:
        """Say how one entry is; what cannot be served without the log follows `ledger`."""
        for name in (LEDGER, *self._following) if entry == LEDGER and self._has_started else (entry,):
            self._set(name, _SERVING if is_serving else _NOT_SERVING)

    def _set(self, entry: str, status: int) -> None:
        """Set an entry; who watches it hears of changes only."""
        with self._lock:
            if self._told.get(entry) != status:
                self._told[entry] = status
                self._servicer.set(entry, status)

    def drain(self) -> None:
        """Say for good that the server shuts down."""
        self._servicer.enter_graceful_shutdown()
