"""Log lines: one JSON object each, on standard error. No line holds patient data."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO, cast

import structlog

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


class _Lines:
    """A stream of log lines, of which those that cannot be written are lost.

    INVARIANT: a full disk or a reader that went away costs lines, and never an answer: by the time that a call's line
    is written, its decision is in the decision log.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def make_log(stream: TextIO | None = None) -> FilteringBoundLogger:
    """Make the server's log. Nothing global is configured, so that two servers may live in one process."""
    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(cast("TextIO", _Lines(stream or sys.stderr))),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
    )
    return log
