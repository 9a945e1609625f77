"""What every service needs: methods registered by their bytes, pools of threads, calls that are still waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar, cast

import grpc

from server.evaluation import Call
from server.faults import cancelled, expired, too_large
from server.interceptors.layers import Notes, notes

T = TypeVar("T")

Unary: TypeAlias = Callable[[bytes, grpc.ServicerContext], bytes]
Stream: TypeAlias = Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]
Series: TypeAlias = Callable[[bytes, grpc.ServicerContext], Iterator[bytes]]


_CENTURY_SECONDS = 100 * 365 * 86400


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


def register(
    server: grpc.Server,
    service: str,
    unary: Mapping[str, Unary],
    streams: Mapping[str, Stream],
    series: Mapping[str, Series] = MappingProxyType({}),
) -> None:
    """Serve methods that take and give bytes as they travel; parsing belongs to the methods themselves.

    A `series` takes one request and gives many answers.
    """
    handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in unary.items()}
    handlers |= {name: grpc.stream_stream_rpc_method_handler(method) for name, method in streams.items()}
    handlers |= {name: grpc.unary_stream_rpc_method_handler(method) for name, method in series.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))


def call_of(method: str, context: grpc.ServicerContext, call_notes: Notes | None = None) -> Call:
    """Say who called and how. The caller is the one that the layers found; another thread has to bring the notes."""
    remaining = cast("float | None", context.time_remaining())
    # Without a deadline grpc gives None, or the centuries that are left of its own clock.
    is_bounded = remaining is not None and remaining < _CENTURY_SECONDS
    deadline_ms = max(1, round(cast("float", remaining) * 1000)) if is_bounded else 0
    caller = (call_notes or notes()).caller
    return Call(method, caller.name, caller.roles, context.peer(), deadline_ms)


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
