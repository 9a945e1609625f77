"""OpenTelemetry traces, where the `tracing` extra is installed and `--tracing` is given.

A span holds the method and the code, nothing of the request. The exporter reads its own `OTEL_*` environment.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from server.interceptors.access_log import code_name, method_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    import grpc


class Tracing:
    """Makes a span of every call, under the caller's own span if the metadata names one."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider or _exporting()
        self._tracer = self._provider.get_tracer("server")

    @contextmanager
    def around(self, method: str, context: grpc.ServicerContext) -> Iterator[None]:
        """Put a span around one call."""
        carrier = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        with self._tracer.start_as_current_span(
            method_name(method),
            context=propagate.extract(carrier),
            kind=trace.SpanKind.SERVER,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            finally:
                span.set_attribute("rpc.grpc.status", code_name(context))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def _exporting() -> TracerProvider:
    provider = TracerProvider(resource=Resource.create({"service.name": "eligibility-server"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
