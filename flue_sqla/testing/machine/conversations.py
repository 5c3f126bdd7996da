"""Conversation streams and attachments, written by the attempts of the submission rules."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from flue_sqla.records import AttachmentRef, Attempt, ProducerClaim
from flue_sqla.testing.contracts.conversations.examples import message
from flue_sqla.testing.machine.base import AGENTS, INSTANCES, TwoSides, sometimes, when
from flue_sqla.testing.stores import Stores
from flue_sqla.wire import format_offset, parse_json, parse_session_key, stream_path

__all__ = ["ConversationRules"]

agents = st.sampled_from(AGENTS)
instances = st.sampled_from(INSTANCES)
PATHS = [stream_path(agent, instance) for agent in AGENTS for instance in INSTANCES]
paths = st.sampled_from(PATHS)


class ConversationRules(TwoSides):
    """Every operation of spec/streams.md part A and spec/attachments.md."""

    def __init__(self, real: Stores) -> None:
        super().__init__(real)
        #: Per path every claim ever granted, as the database and as the model returned it.
        self.claims: dict[str, list[tuple[ProducerClaim, ProducerClaim]]] = {path: [] for path in PATHS}

    @initialize()
    def every_stream_has_a_producer(self) -> None:
        for agent in AGENTS:
            for instance in INSTANCES[:1]:
                self.create_stream(agent, instance, foreign=False)
                self.acquire(stream_path(agent, instance), "producer_1")

    @rule(agent=agents, instance=instances, foreign=sometimes)
    def create_stream(self, agent: str, instance: str, foreign: bool) -> None:
        name = "foreigner" if foreign else agent
        self.same(lambda stores: stores.conversations.create(stream_path(agent, instance), name, instance))

    @rule(path=paths, producer=st.sampled_from(["producer_1", "producer_2"]))
    def acquire(self, path: str, producer: str) -> None:
        granted: dict[bool, ProducerClaim] = {}

        def acquire(stores: Stores) -> ProducerClaim:
            granted[stores is self.real] = claim = stores.conversations.acquire_producer(path, producer)
            return claim

        if self.same(acquire) is not None:
            self.claims[path].append((granted[True], granted[False]))

    @rule(data=st.data(), path=paths, number=st.integers(0, 3))
    def append_unowned(self, data: st.DataObject, path: str, number: int) -> None:
        self._append(data, path, [message(number)], None)

    @precondition(when("running", "terminalizing", "joining", "joined"))
    @rule(data=st.data(), number=st.integers(0, 3), ownership=st.sampled_from(["owned", "owned", "mixed", "foreign", "unauthorized"]))
    def append_owned(self, data: st.DataObject, number: int, ownership: str) -> None:
        owner = self.draw_attempt(data, "running", "terminalizing", "joining", "joined")
        row = self.row(owner.submission_id)
        address = parse_session_key(row["session_key"]) if row else None
        path = stream_path(address.agent, address.instance_id) if address else PATHS[0]
        authorization = None if ownership == "unauthorized" else self._authorization(owner)
        self._append(data, path, self._records(number, owner, ownership), authorization)

    def _append(self, data: st.DataObject, path: str, records: list[dict[str, Any]], authorization: Attempt | None) -> None:
        granted = self.claims[path]
        if not granted:
            return
        claim = data.draw(st.sampled_from(granted)) if data.draw(sometimes, label="stale producer") else granted[-1]
        meta = self.model.conversations.get_meta(path)
        sequence = (meta.next_producer_sequence if meta else 0) + data.draw(st.sampled_from([0, 0, 0, -1, 1]), label="drift")
        self.same(
            lambda stores: stores.conversations.append(
                path,
                producer_id=claim[0].producer_id,
                producer_epoch=claim[0].producer_epoch,
                incarnation=claim[stores is self.model].incarnation,
                producer_sequence=sequence,
                records=records,
                submission=authorization,
            )
        )

    def _authorization(self, owner: Attempt) -> Attempt:
        """The attempt itself, or that of its host while the submission is a delivery."""
        row = self.row(owner.submission_id)
        if row is None or row["status"] not in ("joining", "joined"):
            return owner
        return Attempt(submission_id=row["joined_into"], attempt_id=owner.attempt_id)

    def _records(self, number: int, owner: Attempt, ownership: str) -> list[dict[str, Any]]:
        row = self.row(owner.submission_id)
        if row is not None and row["settlement_record"] is not None and ownership != "mixed":
            reserved: dict[str, Any] = parse_json(row["settlement_record"])
            return [reserved]
        owned = message(number, submissionId=owner.submission_id, attemptId=owner.attempt_id)
        foreign = message(number, submissionId=owner.submission_id, attemptId="attempt_foreign")
        return {"foreign": [foreign], "mixed": [owned, message(number + 10)]}.get(ownership, [owned])

    @rule(path=paths, offset=st.sampled_from(["-1", "now", *map(format_offset, range(4))]), limit=st.sampled_from([None, 1, 2]))
    def read(self, path: str, offset: str, limit: int | None) -> None:
        self.same(lambda stores: stores.conversations.read(path, offset=offset, limit=limit))
        self.same(lambda stores: stores.conversations.get_meta(path))

    @rule(
        path=paths,
        attachment=st.sampled_from(["att_1", "att_2"]),
        data=st.sampled_from([b"", b"one", b"two"]),
        mime_type=st.sampled_from(["image/png", "image/png", "image/jpeg"]),
        conversation=st.sampled_from(["conv_1", "conv_1", "conv_2"]),
        fault=st.sampled_from([{}, {}, {}, {"size": 9}, {"digest": "0" * 64}]),
    )
    def attach(self, path: str, attachment: str, data: bytes, mime_type: str, conversation: str, fault: dict[str, Any]) -> None:
        ref = AttachmentRef.of(attachment, mime_type, data).model_copy(update=fault)
        self.same(lambda stores: stores.attachments.put(path, ref, data, conversation))
        self.same(lambda stores: stores.attachments.get(path, attachment, conversation))
