"""Conversation streams and attachments, written by the attempts of the submission rules."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from flue_sqla.records import AttachmentRef, Attempt, ProducerClaim
from flue_sqla.testing.contracts.conversations.examples import message
from flue_sqla.testing.machine.base import AGENTS, INSTANCES, TwoSides
from flue_sqla.testing.stores import Stores
from flue_sqla.wire import format_offset, parse_json, stream_path

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

    @rule(agent=agents, instance=instances, identity=st.sampled_from(["own", "own", "own", "foreign"]))
    def create_stream(self, agent: str, instance: str, identity: str) -> None:
        name = agent if identity == "own" else "foreigner"
        self.same(lambda stores: stores.conversations.create(stream_path(agent, instance), name, instance))

    @rule(path=paths, producer=st.sampled_from(["producer_1", "producer_2"]))
    def acquire(self, path: str, producer: str) -> None:
        granted: dict[bool, ProducerClaim] = {}

        def acquire(stores: Stores) -> ProducerClaim:
            granted[stores is self.real] = claim = stores.conversations.acquire_producer(path, producer)
            return claim

        if self.same(acquire) is not None:
            self.claims[path].append((granted[True], granted[False]))

    @rule(data=st.data(), number=st.integers(0, 3), drift=st.sampled_from([0, 0, 0, -1, 1]), ownership=st.sampled_from("nnoofm"))
    def append(self, data: st.DataObject, number: int, drift: int, ownership: str) -> None:
        path = data.draw(st.sampled_from([path for path in PATHS if self.claims[path]] or PATHS))
        if not self.claims[path]:
            return
        granted = self.claims[path][-1] if data.draw(st.integers(0, 5)) else data.draw(st.sampled_from(self.claims[path]))
        owner = None if ownership == "n" else self.draw_attempt(data, "running", "terminalizing", "joining", "joined")
        authorization = self._authorization(owner)
        records = self._records(number, owner, ownership)
        meta = self.model.conversations.get_meta(path)
        sequence = (meta.next_producer_sequence if meta else 0) + drift
        self.same(
            lambda stores: stores.conversations.append(
                path,
                producer_id=granted[0].producer_id,
                producer_epoch=granted[0].producer_epoch,
                incarnation=granted[stores is self.model].incarnation,
                producer_sequence=sequence,
                records=records,
                submission=authorization,
            )
        )

    def _authorization(self, owner: Attempt | None) -> Attempt | None:
        """The attempt itself, or that of its host while the submission is a delivery."""
        row = self.row(owner.submission_id) if owner else None
        if owner is None or row is None or row["status"] not in ("joining", "joined"):
            return owner
        return Attempt(submission_id=row["joined_into"], attempt_id=owner.attempt_id)

    def _records(self, number: int, owner: Attempt | None, ownership: str) -> list[dict[str, Any]]:
        if owner is None:
            return [message(number)]
        row = self.row(owner.submission_id)
        if row is not None and row["settlement_record"] is not None and ownership != "m":
            record: dict[str, Any] = parse_json(row["settlement_record"])
            return [record]
        owned = message(number, submissionId=owner.submission_id, attemptId=owner.attempt_id)
        foreign = message(number, submissionId=owner.submission_id, attemptId="attempt_foreign")
        return {"o": [owned], "f": [foreign], "m": [owned, message(number + 10)]}[ownership]

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
        self.same(lambda stores: stores.attachments.get(path, attachment, "conv_other"))
