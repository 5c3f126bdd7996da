"""What generation 1 kept: session documents and their deletion, turn journals, runs and their events."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from flue_sqla.records import UNSET, Lease, RunPage
from flue_sqla.testing.contracts.sessions.examples import compaction, document, entry, picture
from flue_sqla.testing.machine.base import SESSIONS, TwoSides, sessions, when
from flue_sqla.testing.stores import Stores
from flue_sqla.wire import format_offset, format_timestamp

__all__ = ["HistoryRules"]

RUNS = ("run_1", "run_2", "run_A", "run_a")
values: st.SearchStrategy[Any] = st.sampled_from([UNSET, None, 0, "text", {"b": 1.0, "10": None, "9": []}])
runs = st.sampled_from(RUNS)
run_paths = st.sampled_from([f"runs/{name}" for name in RUNS])
contents = st.sampled_from(["Hello", "Bye", picture("AAAA"), picture("BBBB") + picture(""), [{"type": "text", "text": "Hi"}]])
roles = st.sampled_from(["user", "toolResult", "assistant"])
entries = st.lists(st.tuples(st.integers(0, 5), contents, roles), max_size=5, unique_by=lambda item: item[0])


class HistoryRules(TwoSides):
    """Every operation of spec/submissions.md part B, spec/runs.md and spec/streams.md part B."""

    # -- sessions --

    @rule(key=sessions, items=entries)
    def save_session(self, key: str, items: list[tuple[int, Any, str]]) -> None:
        data = document(*(entry(number, content, role=role) for number, content, role in items))
        self.same(lambda stores: stores.sessions.save(key, data))
        self.same(lambda stores: _loaded(stores, key))

    @rule(key=sessions, number=st.integers(0, 9), content=contents, compact=st.booleans(), data=st.data())
    def append_to_session(self, key: str, number: int, content: Any, compact: bool, data: st.DataObject) -> None:
        stored = self.model.sessions.load(key)
        leaf = stored["leafId"] if stored else None
        added = {**entry(number, content), "parentId": leaf}
        if compact:
            kept = data.draw(st.none() | st.integers(0, 9).map(lambda number: f"entry_{number}"))
            added = {**compaction(number, kept), "parentId": leaf}
        expected = data.draw(st.sampled_from([None, leaf, "entry_0"]))
        self.same(lambda stores: stores.sessions.append(key, [added], expected_leaf=expected))
        self.same(lambda stores: _loaded(stores, key))

    @rule(key=sessions, n=st.integers(0, 4))
    def read_a_part(self, key: str, n: int) -> None:
        self.same(lambda stores: stores.sessions.tail(key, n))
        self.same(lambda stores: stores.sessions.context(key))

    @rule(key=sessions)
    def delete_session(self, key: str) -> None:
        self.same(lambda stores: stores.sessions.delete(key))
        self.same(lambda stores: _loaded(stores, key))

    @rule(key=sessions, fails=st.booleans())
    def delete_tree(self, key: str, fails: bool) -> None:
        def tree() -> None:
            if fails:
                raise KeyError("the tree")

        def delete(stores: Any) -> str:
            try:
                stores.sessions.delete_tree(key, tree)
            except KeyError:
                return "the callback's error"
            return "done"

        self.same(delete)
        self.same(lambda stores: stores.sessions.list_pending_deletions(), unordered=True)

    # -- journals --

    @precondition(when("running"))
    @rule(
        data=st.data(),
        key=st.sampled_from(SESSIONS),
        turn=st.sampled_from(["turn_1", "turn_2"]),
        leaf=st.sampled_from([None, "entry_1"]),
        request=values,
    )
    def begin_turn(self, data: st.DataObject, key: str, turn: str, leaf: str | None, request: Any) -> None:
        attempt = self.draw_attempt(data, "running")
        self.same(
            lambda stores: stores.journals.begin(
                submission_id=attempt.submission_id,
                session_key=key,
                kind="dispatch",
                attempt_id=attempt.attempt_id,
                operation_id="op_1",
                turn_id=turn,
                phase="before_provider",
                checkpoint_leaf_id=leaf,
                tool_request=request,
            )
        )

    @precondition(when("running"))
    @rule(data=st.data(), phase=st.sampled_from(["provider_started", "tool_request_recorded"]), stream=st.sampled_from([UNSET, "key_1"]))
    def advance_turn(self, data: st.DataObject, phase: str, stream: Any) -> None:
        attempt = self.draw_attempt(data, "running")
        self.same(lambda stores: stores.journals.update_phase(attempt, phase, stream_key=stream))
        self.same(lambda stores: stores.journals.get(attempt.submission_id))

    @precondition(when("running"))
    @rule(data=st.data(), commit=st.booleans())
    def end_turn(self, data: st.DataObject, commit: bool) -> None:
        attempt = self.draw_attempt(data, "running")
        if commit:
            self.same(lambda stores: stores.journals.commit(attempt, "entry_9"))
        else:
            self.same(lambda stores: stores.journals.mark_stream_consumed(attempt, "key_1"))
        self.same(lambda stores: stores.journals.get(attempt.submission_id))

    @precondition(when("running"))
    @rule(data=st.data(), lease=st.none() | st.just(Lease(owner_id="owner_3", lease_expires_at=1)))
    def replace_with_journal(self, data: st.DataObject, lease: Lease | None) -> None:
        attempt, next_id = self.draw_attempt(data, "running"), self.new_name("attempt")
        self.same(lambda stores: stores.journals.replace_attempt(attempt, next_id, lease))

    @rule(key=st.sampled_from(["key_1", "key_2"]), index=st.integers(0, 3), body=st.sampled_from(["[]", '["é"]']))
    def add_segment(self, key: str, index: int, body: str) -> None:
        self.same(lambda stores: stores.journals.append_segment(key, index, body))
        self.same(lambda stores: stores.journals.segments(key))

    @precondition(when("running"))
    @rule(data=st.data(), delete=st.booleans())
    def mark_attempt(self, data: st.DataObject, delete: bool) -> None:
        attempt = self.draw_attempt(data)
        self.same(lambda stores: stores.journals.delete_marker(attempt) if delete else stores.journals.insert_marker(attempt))
        self.same(lambda stores: stores.journals.list_markers(), unordered=True)

    # -- runs and events --

    @rule(run_id=runs, workflow=st.sampled_from(["nightly", "Nightly"]), input=values)
    def start_run(self, run_id: str, workflow: str, input: Any) -> None:
        started_at = format_timestamp(self.clock.now())
        self.same(lambda stores: stores.runs.create(run_id=run_id, workflow_name=workflow, started_at=started_at, input=input))
        self.same(lambda stores: stores.runs.get(run_id))

    @rule(run_id=runs, is_error=st.booleans(), result=values, error=values)
    def end_run(self, run_id: str, is_error: bool, result: Any, error: Any) -> None:
        ended_at = format_timestamp(self.clock.now())
        self.same(lambda stores: stores.runs.end(run_id, ended_at=ended_at, is_error=is_error, duration_ms=7, result=result, error=error))
        self.same(lambda stores: stores.runs.get(run_id))

    @rule(
        status=st.sampled_from([None, "active", "completed", "errored"]),
        workflow=st.sampled_from([None, "nightly", "Nightly"]),
        limit=st.sampled_from([1, 2, None]),
    )
    def list_runs(self, status: str | None, workflow: str | None, limit: int | None) -> None:
        cursor: str | None = None
        while True:
            page = self._page(limit, cursor, status=status, workflow_name=workflow)
            if (cursor := page.next_cursor) is None:
                return

    def _page(self, limit: int | None, cursor: str | None, **filters: str | None) -> RunPage:
        page: RunPage = self.same(lambda stores: stores.runs.list(limit=limit, cursor=cursor, **filters))
        return page

    @rule(path=run_paths, close=st.booleans())
    def open_or_close_stream(self, path: str, close: bool) -> None:
        self.same(lambda stores: stores.events.close(path) if close else stores.events.create(path))
        self.same(lambda stores: stores.events.get_meta(path))

    @rule(path=run_paths, key=st.sampled_from([None, "key_1", "key_2"]), event=values.filter(lambda value: value is not UNSET))
    def emit(self, path: str, key: str | None, event: Any) -> None:
        if key is None:
            self.same(lambda stores: stores.events.append(path, event))
        else:
            self.same(lambda stores: stores.events.append_once(path, key, event))

    @rule(path=run_paths, offset=st.sampled_from(["-1", "now", *map(format_offset, range(4))]), limit=st.sampled_from([None, 1, 2]))
    def read_events(self, path: str, offset: str, limit: int | None) -> None:
        self.same(lambda stores: stores.events.read(path, offset=offset, limit=limit))


def _loaded(stores: Stores, key: str) -> Any:
    """A session with its keys sorted: documents are deep-equal, where ``entries`` stands among the keys is free."""
    data = stores.sessions.load(key)
    return data if data is None else dict(sorted(data.items()))
