"""Server reflection, v1 and v1alpha, so that grpcurl and its like need no files.

The two versions have the same messages, so one servicer answers both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection, reflection_pb2

from server.rpc.service import on_pool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import ThreadPoolExecutor

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = str(reflection.SERVICE_NAME)


def register(server: grpc.Server, services: Iterable[str], pool: ThreadPoolExecutor) -> None:
    """Serve reflection over `services`, health and reflection itself.

    v1 is served but not listed: it has no descriptor here, and a client that asks for one would stop.
    """
    servicer = reflection.ReflectionServicer((*services, health.SERVICE_NAME, V1ALPHA))

    def answer(
        requests: Iterator[reflection_pb2.ServerReflectionRequest], context: grpc.ServicerContext
    ) -> Iterator[reflection_pb2.ServerReflectionResponse]:
        yield from servicer.ServerReflectionInfo(requests, context)  # type: ignore[misc, func-returns-value]

    handler = grpc.stream_stream_rpc_method_handler(
        on_pool(answer, pool),
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (V1, V1ALPHA):
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}),)
        )
