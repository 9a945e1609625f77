"""What every service needs: methods registered by their bytes, pools of threads, calls that are still waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar, cast

import grpc

from server.faults import cancelled, expired, too_large

T = TypeVar("T")

Unary: TypeAlias = Callable[[bytes, grpc.ServicerContext], bytes]
Stream: TypeAlias = Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]


class Pool(ThreadPoolExecutor):
    """Threads with a count of what they have in work and waiting."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(max_workers=threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self.load = 0

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:  # noqa: ANN401 - as its base
        """Take in work; it counts until it has ended or is cancelled before it began."""
        with self._lock:
            self.load += 1
        future = super().submit(work, *args, **kwargs)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _future: Future[Any]) -> None:
        with self._lock:
            self.load -= 1


def on_pool(behavior: T, pool: ThreadPoolExecutor) -> T:
    """Mark a behavior to run on a pool of its own; grpc reads the mark."""
    behavior.experimental_thread_pool = pool  # type: ignore[attr-defined]
    return behavior


def register(server: grpc.Server, service: str, unary: Mapping[str, Unary], streams: Mapping[str, Stream]) -> None:
    """Serve methods that take and give bytes as they travel; parsing belongs to the methods themselves."""
    handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in unary.items()}
    handlers |= {name: grpc.stream_stream_rpc_method_handler(method) for name, method in streams.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))


def still_waited_for(context: grpc.ServicerContext) -> None:
    """Raise: Fault when the caller's deadline has passed or the caller has gone."""
    remaining = cast("float | None", context.time_remaining())
    if remaining is not None and remaining <= 0:
        raise expired()
    if not context.is_active():
        raise cancelled()


def within(limit: int, data: bytes) -> None:
    """Raise: Fault when a message is larger than `limit` bytes."""
    if len(data) > limit:
        raise too_large(limit)
