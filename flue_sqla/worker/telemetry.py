"""What the worker tells about itself: counters of its own, log records, and OpenTelemetry where its API is installed."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Telemetry", "log"]

log = logging.getLogger("flue_sqla.worker")


class Telemetry:
    """Counts events, logs them with their fields (``record.flue``), and mirrors both to OpenTelemetry."""

    def __init__(self) -> None:
        #: How often each event happened in this worker.
        self.counts: Counter[str] = Counter()
        self._otel = _OpenTelemetry.if_installed()

    def event(self, name: str, level: int = logging.INFO, *, exc_info: Any = None, **fields: Any) -> None:
        """One event: counted and logged. ``fields`` are ids and numbers, never contents."""
        self.counts[name] += 1
        if log.isEnabledFor(level):
            details = " ".join(f"{key}={value}" for key, value in fields.items())
            log.log(level, "%s %s", name, details, exc_info=exc_info, extra={"flue": {"event": name, **fields}})
        if self._otel is not None:
            self._otel.count(name, fields.get("agent"))

    def lease_age(self, milliseconds: int) -> None:
        """How old a lease was when it was renewed."""
        if self._otel is not None:
            self._otel.lease_age.record(milliseconds)

    @contextlib.contextmanager
    def span(self, name: str, carrier: Mapping[str, str] | None, **attributes: Any) -> Iterator[None]:
        """A span around the block, below the caller's trace if the submission carries one."""
        if self._otel is None:
            yield
            return
        with self._otel.span(name, carrier, attributes):
            yield


class _OpenTelemetry:
    def __init__(self, trace: Any, metrics: Any, propagator: Any) -> None:
        self._tracer = trace.get_tracer("flue_sqla.worker")
        self._meter = metrics.get_meter("flue_sqla.worker")
        self._propagator = propagator
        self._counters: dict[str, Any] = {}
        self.lease_age = self._meter.create_histogram("flue.worker.lease_age", unit="ms", description="Age of a lease at its renewal")

    @classmethod
    def if_installed(cls) -> _OpenTelemetry | None:
        try:
            from opentelemetry import metrics, trace
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError:
            return None
        return cls(trace, metrics, TraceContextTextMapPropagator())

    def count(self, name: str, agent: str | None) -> None:
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = self._meter.create_counter(f"flue.worker.{name}")
        counter.add(1, {"flue.agent": agent} if agent else {})

    def span(self, name: str, carrier: Mapping[str, str] | None, attributes: dict[str, Any]) -> Any:
        context = self._propagator.extract(dict(carrier)) if carrier else None
        return self._tracer.start_as_current_span(
            name, context=context, attributes={f"flue.{key}": value for key, value in attributes.items()}
        )
