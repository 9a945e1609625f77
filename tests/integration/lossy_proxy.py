"""A gRPC server between a client and the real one that loses an answer on its way back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Iterator


class LossyProxy(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # no generic when it runs
    """Passes calls on as bytes. The first evaluation is answered with UNAVAILABLE after the server has answered it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.requests: list[bytes] = []
        self.answers: list[bytes] = []
        self.address = ""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """Give the handler of a method: reflection is a stream, an evaluation is not."""
        method = handler_call_details.method
        if "Reflection" in method:
            return grpc.stream_stream_rpc_method_handler(
                lambda asked, _: self._channel.stream_stream(method, None, None)(asked)
            )
        return grpc.unary_unary_rpc_method_handler(partial(self._evaluate, method))

    def _evaluate(self, method: str, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.requests.append(request)
        answer: bytes = self._channel.unary_unary(method, None, None)(request)
        self.answers.append(answer)
        if len(self.answers) == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
        return answer


@contextmanager
def lossy_proxy(address: str) -> Iterator[LossyProxy]:
    """Run one in front of the server at `address`."""
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(4) as pool:
        proxy = LossyProxy(channel)
        server = grpc.server(pool, [proxy])
        proxy.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield proxy
        finally:
            server.stop(None).wait()
