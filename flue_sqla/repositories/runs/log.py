"""What a run writes while it lives, in the order that a crash leaves readable (spec/runs.md §4).

Record, stream, ``run_start``; then events; then ``run_end``, the closed stream, and the record's outcome last. Both recorders, the plain
and the awaited one, are thin faces of this class.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from flue_sqla.errors import InvalidInputError
from flue_sqla.records.submission import TraceCarrier
from flue_sqla.records.unset import UNSET
from flue_sqla.repositories.events import Events
from flue_sqla.repositories.runs.envelope import RUN_END_KEY, enveloped, run_end, run_start
from flue_sqla.repositories.runs.rows import LONGEST_DURATION_MS
from flue_sqla.repositories.scope import Scope
from flue_sqla.wire import canonical_json, format_timestamp, new_id, run_path

if TYPE_CHECKING:
    from flue_sqla.repositories.runs.store import Runs

__all__ = ["RunLog"]

log = logging.getLogger("flue_sqla.runs")

_LONGEST_BUFFER_MS: Final = 3_000
_NEVER_STORED: Final = "turn_request"
_TEXT_OF: Final = {"text_delta": "text", "thinking_delta": "delta"}
_BUFFERED: Final = frozenset({"text_delta", "thinking_start", "thinking_delta", "thinking_end"})


class RunLog:
    """The writing half of one run. Not for several threads at once: the recorders take care of that."""

    def __init__(
        self,
        scope: Scope,
        runs: Runs,
        workflow_name: str,
        *,
        input: Any,
        run_id: str | None,
        trace_carrier: TraceCarrier | Mapping[str, Any] | None,
    ) -> None:
        self.workflow_name = workflow_name
        self.run_id = new_id("run") if run_id is None else run_id
        self.path = run_path(self.run_id)
        self.started_at = ""
        self._input = input
        self._trace_carrier = trace_carrier
        self._clock = scope.clock
        self._runs = runs
        self._events = Events(scope)
        self._started_ms = 0
        self._next_index = 0
        self._buffer: list[dict[str, Any]] = []
        self._buffered_since = 0

    def start(self) -> None:
        """Record the run, open its stream, say that it started. An error here leaves an ended record or none."""
        self._started_ms = self._clock.now()
        self.started_at = format_timestamp(self._started_ms)
        self._runs.create(
            run_id=self.run_id,
            workflow_name=self.workflow_name,
            started_at=self.started_at,
            input=self._input,
            trace_carrier=self._trace_carrier,
        )
        try:
            self._events.create(self.path)
        except Exception as error:
            told = _told(error)
            self._guarded("record of a run without a stream", lambda: self._end(None, told))
            raise
        self._store(run_start(self.run_id, self.workflow_name, self.started_at, None if self._input is UNSET else self._input))

    def emit(self, event: Mapping[str, Any]) -> str | None:
        """Store one event, or keep a delta back until the next other event or for 3 s, merged with its neighbours."""
        kind = event.get("type")
        if not isinstance(kind, str) or not kind:
            raise InvalidInputError(
                "An event is an object with a type.",
                meta={"field": "type"},
                remedy='Give an object such as {"type": "log", "level": "info", "message": "text"}.',
            )
        canonical_json(dict(event))  # a value without JSON text is the caller's mistake, now and not at the flush
        if kind == _NEVER_STORED:
            return None
        if kind in _BUFFERED:
            self._keep_back(dict(event))
            return None
        self.flush()
        return self._store(event)

    def flush(self) -> None:
        """Store what was kept back."""
        kept, self._buffer = self._buffer, []
        for event in kept:
            self._store(event)

    def finish(self, result: Any, error: BaseException | None) -> None:
        """Say how the run ended: event, closed stream, record; each is tried whatever became of the one before."""
        self.flush()
        if error is None:
            try:
                canonical_json(result)
            except InvalidInputError as refused:
                self._finish(None, _told(refused))
                raise
        failure = self._finish(result, None if error is None else _told(error))
        if failure is not None and error is None:
            raise failure

    def _finish(self, result: Any, told: dict[str, str] | None) -> Exception | None:
        event = run_end(
            self.run_id,
            result=None if told else result,
            error=told,
            is_error=told is not None,
            duration_ms=self._duration(),
        )
        stored = self._enveloped(event)
        self._guarded("run_end", lambda: self._events.append_once(self.path, RUN_END_KEY, stored))
        self._guarded("closed stream", lambda: self._events.close(self.path))
        return self._guarded("outcome", lambda: self._end(result, told))

    def _end(self, result: Any, told: dict[str, str] | None) -> None:
        self._runs.end(
            self.run_id,
            ended_at=format_timestamp(self._clock.now()),
            is_error=told is not None,
            duration_ms=self._duration(),
            result=UNSET if told else result,
            error=told if told else UNSET,
        )

    def _duration(self) -> int:
        return min(max(0, self._clock.now() - self._started_ms), LONGEST_DURATION_MS)

    def _keep_back(self, event: dict[str, Any]) -> None:
        now = self._clock.now()
        if self._buffer and now - self._buffered_since >= _LONGEST_BUFFER_MS:
            self.flush()
        if not self._buffer:
            self._buffered_since = now
        text = _TEXT_OF.get(event["type"])
        if text is not None and self._buffer and _continues(self._buffer[-1], event, text):
            self._buffer[-1][text] += event[text]
        else:
            self._buffer.append(event)

    def _store(self, event: Mapping[str, Any]) -> str | None:
        offset: list[str] = []
        stored = self._enveloped(event)
        self._guarded(f"event {stored.get('type')!r}", lambda: offset.append(self._events.append(self.path, stored)))
        return offset[0] if offset else None

    def _enveloped(self, event: Mapping[str, Any]) -> dict[str, Any]:
        stored = enveloped(event, self.run_id, self._next_index, self._clock.now())
        self._next_index += 1
        return stored

    def _guarded(self, what: str, write: Callable[[], object]) -> Exception | None:
        """What is written about a run must not end it: a failure is logged (spec/runs.md §4)."""
        try:
            write()
        except Exception as error:
            log.exception("The %s of run %s could not be written.", what, self.run_id)
            return error
        return None


def _continues(last: Mapping[str, Any], event: Mapping[str, Any], text: str) -> bool:
    same = {**last, text: None} == {**event, text: None}
    return same and isinstance(last.get(text), str) and isinstance(event.get(text), str)


def _told(error: BaseException) -> dict[str, str]:
    return {"name": type(error).__name__, "message": str(error)}
