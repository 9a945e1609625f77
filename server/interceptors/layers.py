"""Layers around every call, outermost first, and the notes that they and the handler share.

A layer is a function from (method, context) to a context manager: what stands before its `yield` runs before the
handler, what stands after runs after it, and exceptions pass through from the inside out. Streams stay inside until
they end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc

from server.interceptors.callers import OPEN_METHODS, Caller

Layer: TypeAlias = Callable[[str, grpc.ServicerContext], AbstractContextManager[None]]
Behavior: TypeAlias = Callable[[Any, grpc.ServicerContext], Any]

NOBODY = Caller("", frozenset(), "none")


@dataclass(slots=True)
class Notes:
    """What is known of the call in work. `fields` go into the access log: never patient data."""

    caller: Caller = NOBODY
    fields: dict[str, object] = field(default_factory=dict)

    def add(self, **fields: object) -> None:
        """Add fields to the call's line in the access log."""
        self.fields.update(fields)


_notes: ContextVar[Notes] = ContextVar("notes")


def notes() -> Notes:
    """Give the notes of the call in work; outside of a call, notes that nobody reads."""
    return _notes.get(Notes())


class Layers(grpc.ServerInterceptor):  # type: ignore[type-arg, misc, unused-ignore]
    """Puts layers around every handler but those of health, which answers callers that nobody knows.

    `refuse` may give, before a thread is taken, a handler that refuses the call.
    """

    def __init__(
        self, layers: Iterable[Layer], refuse: Callable[[str, grpc.RpcMethodHandler[Any, Any]], Behavior | None]
    ) -> None:
        self._layers = tuple(layers)
        self._refuse = refuse

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wrap the handler of a call. gRPC calls this on its own thread, so it must not wait for anything."""
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method in OPEN_METHODS:
            return handler
        behavior, make = _shape(handler)
        refusal = self._refuse(method, handler)
        wrapped = self._around(method, refusal or behavior, is_stream=handler.response_streaming)
        pool = getattr(refusal or behavior, "experimental_thread_pool", None)
        if pool is not None:
            wrapped.experimental_thread_pool = pool  # type: ignore[attr-defined]
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    def _around(self, method: str, behavior: Behavior, *, is_stream: bool) -> Behavior:
        def unary(request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401 - as grpc passes it
            _notes.set(Notes())
            with ExitStack() as stack:
                for layer in self._layers:
                    stack.enter_context(layer(method, context))
                return behavior(request, context)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: ANN401 - as grpc passes it
            _notes.set(Notes())
            with ExitStack() as stack:
                for layer in self._layers:
                    stack.enter_context(layer(method, context))
                yield from behavior(request, context)

        return stream if is_stream else unary


def _shape(handler: grpc.RpcMethodHandler[Any, Any]) -> tuple[Behavior, Callable[..., grpc.RpcMethodHandler[Any, Any]]]:
    if handler.stream_stream is not None:
        return handler.stream_stream, grpc.stream_stream_rpc_method_handler
    if handler.stream_unary is not None:
        return handler.stream_unary, grpc.stream_unary_rpc_method_handler
    if handler.unary_stream is not None:
        return handler.unary_stream, grpc.unary_stream_rpc_method_handler
    assert handler.unary_unary is not None  # noqa: S101 - grpc makes no handler without a behavior
    return handler.unary_unary, grpc.unary_unary_rpc_method_handler
