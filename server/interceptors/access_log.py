"""One line for each call. It never holds patient data: what the caller wrote is left out, but for a UUID request id."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from server.interceptors.callers import KNOWN_METHODS
from server.interceptors.layers import notes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc
    from structlog.typing import FilteringBoundLogger


def code_name(context: grpc.ServicerContext) -> str:
    """Name the code with which a call ends; CANCELLED for one whose caller went away before it had a code."""
    code = context.code()  # type: ignore[attr-defined, unused-ignore]
    if code is not None:
        return str(code.name)
    return "OK" if context.is_active() else "CANCELLED"


def method_name(method: str) -> str:
    """Give the method, or `other` for one that this server does not have, which a caller may have made up."""
    return method if method in KNOWN_METHODS else "other"


class AccessLog:
    """Writes the line: method, code, duration in milliseconds, and what the handler noted."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    @contextmanager
    def around(self, method: str, context: grpc.ServicerContext) -> Iterator[None]:
        """Write one line when the call ends, however it ends."""
        start = time.perf_counter()
        try:
            yield
        finally:
            duration = (time.perf_counter() - start) * 1000
            self._log.info(
                "call",
                method=method_name(method),
                code=code_name(context),
                duration_ms=round(duration, 3),
                roles=sorted(notes().caller.roles),
                proof=notes().caller.proof,
                **notes().fields,
            )
