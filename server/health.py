"""Health as `grpc.health.v1` tells it: the real state, entry by entry.

| entry | NOT_SERVING while |
|---|---|
| `""` and each service | the server has not started or shuts down |
| `packs` | the rule packs last read were refused; those before them stay in force |
| `engines` | the engines disagreed on a decision since the rule packs were last put in force |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc_health.v1 import health, health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterable
    from concurrent.futures import ThreadPoolExecutor

    import grpc

PACKS = "packs"
ENGINES = "engines"

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Holds the entries. Everything is NOT_SERVING until `start`."""

    def __init__(self, services: Iterable[str], pool: ThreadPoolExecutor) -> None:
        self._services = ("", *services)
        self._servicer = health.HealthServicer(experimental_non_blocking=True, experimental_thread_pool=pool)
        for entry in (*self._services, PACKS, ENGINES):
            self._servicer.set(entry, _NOT_SERVING)

    def register(self, server: grpc.Server) -> None:
        """Serve the entries."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def start(self) -> None:
        """Say that the server serves."""
        for entry in (*self._services, PACKS, ENGINES):
            self._servicer.set(entry, _SERVING)

    def tell(self, entry: str, *, is_serving: bool) -> None:
        """Say how one entry is."""
        self._servicer.set(entry, _SERVING if is_serving else _NOT_SERVING)

    def drain(self) -> None:
        """Say for good that the server shuts down."""
        self._servicer.enter_graceful_shutdown()
