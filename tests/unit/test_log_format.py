"""Log lines that cannot be written are lost, and nothing else is."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from server.log_format import make_log


def test_a_line_that_cannot_be_written_costs_nothing_but_itself() -> None:
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 - closing it fails too
    log = make_log(full)
    log.info("call", code="OK")
    log.info("call", code="OK")
    with pytest.raises(OSError, match="No space left"):
        full.close()


def test_a_stream_that_was_closed_costs_nothing_either() -> None:
    stream = io.StringIO()
    log = make_log(stream)
    log.info("one")
    assert '"event": "one"' in stream.getvalue()
    stream.close()
    log.info("two")
