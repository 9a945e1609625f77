"""Counts and times for Prometheus. Labels come from closed lists: never from patients, callers or free text."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from server.interceptors.access_log import code_name, method_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc

    from engine.ledger.log import DecisionLog
    from server.certificate import Certificate

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """All metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.calls = Counter("eligibility_calls", "Calls that ended.", ["method", "code"], registry=self.registry)
        self.seconds = Histogram(
            "eligibility_call_seconds",
            "Time from handler to end.",
            ["method"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_work = Gauge("eligibility_calls_in_work", "Calls in work.", registry=self.registry)
        self.pushed_back = Counter("eligibility_pushed_back", "Calls refused for want of room.", registry=self.registry)
        self.decisions = Counter(
            "eligibility_decisions", "Decisions returned.", ["jurisdiction"], registry=self.registry
        )
        self.stream_errors = Counter(
            "eligibility_stream_errors", "Stream items answered with an error.", ["reason"], registry=self.registry
        )
        self.disagreements = Counter(
            "eligibility_engine_disagreements", "Decisions refused because the engines differ.", registry=self.registry
        )
        self.reloads = Counter(
            "eligibility_rule_pack_reloads", "Reloads of the rule packs.", ["outcome"], registry=self.registry
        )

    def follow(self, log: DecisionLog) -> None:
        """Show how the decision log does."""
        shown = {
            "eligibility_log_acknowledged": ("Entries that were acknowledged.", lambda: log.acknowledged),
            "eligibility_log_written": ("Entries that were written.", lambda: log.written),
            "eligibility_log_alarms": ("Things that are wrong with the decision log now.", lambda: len(log.alarms())),
        }
        for name, (text, read) in shown.items():
            Gauge(name, text, registry=self.registry).set_function(read)

    def follow_certificate(self, certificate: Certificate) -> None:
        """Show until when the server's certificate is valid."""

        def not_after() -> float:
            return certificate.not_after.timestamp()

        Gauge(
            "eligibility_certificate_not_after_seconds",
            "When the certificate that is shown expires, in seconds since 1970.",
            registry=self.registry,
        ).set_function(not_after)

    @contextmanager
    def around(self, method: str, context: grpc.ServicerContext) -> Iterator[None]:
        """Count and time one call."""
        name = method_name(method)
        start = time.perf_counter()
        with self.in_work.track_inprogress():
            try:
                yield
            finally:
                self.seconds.labels(name).observe(time.perf_counter() - start)
                self.calls.labels(name, code_name(context)).inc()
