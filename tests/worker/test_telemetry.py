"""What operators see: log records with fields, counters, spans below the caller's trace."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flue_sqla import DirectInput, TraceCarrier
from flue_sqla.asyncio import AsyncFlue
from flue_sqla.worker import Context
from tests.worker.support import outcome, working

pytestmark = pytest.mark.databases("sqlite")
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> tuple[InMemorySpanExporter, InMemoryMetricReader]:
    """An SDK of the test's own, in the place of the global one."""
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    meters = MeterProvider(metric_readers=[reader])
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    monkeypatch.setattr(metrics, "get_meter", meters.get_meter)
    return spans, reader


def _counters(reader: InMemoryMetricReader) -> dict[str, Any]:
    data: Any = reader.get_metrics_data()
    found = [metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics]
    return {metric.name: sum(getattr(point, "value", 0) for point in metric.data.data_points) for metric in found}


async def test_an_attempt_is_a_span_of_the_callers_trace_and_events_are_counted(
    aflue: AsyncFlue, collected: tuple[InMemorySpanExporter, InMemoryMetricReader], caplog: pytest.LogCaptureFixture
) -> None:
    async def triage(ctx: Context) -> None:
        return None

    caplog.set_level(logging.INFO, "flue_sqla.worker")
    carrier = TraceCarrier(traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    admitted = await aflue.submissions.admit_direct(
        DirectInput(agent="triage", id="1", message={"kind": "user", "body": "a secret"}, trace_carrier=carrier)
    )
    async with working(aflue, {"triage": triage}):
        await outcome(aflue, admitted.submission_id)
    spans, reader = collected
    (span,) = spans.get_finished_spans()
    assert (span.name, f"{span.context.trace_id:032x}") == ("flue.attempt", TRACE)
    assert span.attributes["flue.submission_id"] == admitted.submission_id
    counters = _counters(reader)
    assert (counters["flue.worker.claimed"], counters["flue.worker.settled"]) == (1, 1)
    (settled,) = [record for record in caplog.records if getattr(record, "flue", {}).get("event") == "settled"]
    assert settled.flue["submission_id"] == admitted.submission_id  # type: ignore[attr-defined]
    assert "a secret" not in caplog.text
