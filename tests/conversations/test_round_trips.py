"""What each operation sends to each database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from flue_sqla import AttachmentRef, Attempt, Flue, FoldCheckpoint
from flue_sqla.errors import ConversationStreamStoreError
from tests.conversations.streams import AGENT, FIRST, INSTANCE, PATH, append, of, owned_stream
from tests.databases.contract import Database
from tests.databases.traffic import Traffic
from tests.submissions.inputs import admit_ready, run

CHECKPOINT = FoldCheckpoint(offset=FIRST, incarnation="inc_1", format_version=2, data="{}")
REF = AttachmentRef.of("att_1", "text/plain", b"data")
LONG = {"id": "long", "t": "x" * 1_100_000}

# Operation → what it takes at most: round trips on PostgreSQL (BEGIN and COMMIT included), statements on the others (without them).
BUDGET: dict[str, tuple[Callable[[Flue], object], dict[str, int]]] = {
    "create": (lambda flue: flue.conversations.create("agents/new/1", "new", "1"), {"postgres": 1, "mariadb": 2, "sqlite": 3}),
    "create again": (lambda flue: flue.conversations.create(PATH, AGENT, INSTANCE), {"postgres": 1, "mariadb": 2, "sqlite": 3}),
    "acquire_producer": (lambda flue: flue.conversations.acquire_producer(PATH, "p"), {"postgres": 1, "mariadb": 2, "sqlite": 1}),
    "read": (lambda flue: flue.conversations.read(PATH), {"postgres": 1, "mariadb": 1, "sqlite": 1}),
    "get_meta": (lambda flue: flue.conversations.get_meta(PATH), {"postgres": 1, "mariadb": 1, "sqlite": 1}),
    "put_checkpoint": (lambda flue: flue.conversations.put_checkpoint(PATH, CHECKPOINT), {"postgres": 1, "mariadb": 1, "sqlite": 3}),
    "get_checkpoint": (lambda flue: flue.conversations.get_checkpoint(PATH), {"postgres": 1, "mariadb": 1, "sqlite": 1}),
    "put": (lambda flue: flue.attachments.put(PATH, REF, b"data", "conv"), {"postgres": 1, "mariadb": 1, "sqlite": 3}),
    "put again": (lambda flue: put_zero(flue), {"postgres": 2, "mariadb": 2, "sqlite": 4}),
    "get": (lambda flue: flue.attachments.get(PATH, "att_0", "conv"), {"postgres": 1, "mariadb": 1, "sqlite": 2}),
}
APPEND = {"postgres": 1, "mariadb": 3, "sqlite": 4}
OWNED_APPEND = {"postgres": 1, "mariadb": 4, "sqlite": 5}
REFUSED_APPEND = {"postgres": 2, "mariadb": 3, "sqlite": 4}


class Sent(Traffic):
    """Counts for one database as its budgets do."""

    def __init__(self, flue: Flue, migrated: Database) -> None:
        super().__init__(flue.engine)
        self._trips = migrated.name == "postgres"

    @contextmanager
    def at_most(self, budget: int) -> Iterator[None]:
        with self.measured():
            yield
        sent = [statement for statement in self.statements if not statement.startswith("BEGIN")]
        count = self.trips if self._trips else len(sent)
        assert count <= budget, f"{count}, budget {budget}: {sent}"


def put_zero(flue: Flue) -> None:
    flue.attachments.put(PATH, AttachmentRef.of("att_0", "text/plain", b"zero"), b"zero", "conv")


@pytest.mark.parametrize("operation", BUDGET)
def test_every_operation_stays_within_its_budget(flue: Flue, migrated: Database, operation: str) -> None:
    append(flue, owned_stream(flue))
    put_zero(flue)
    call, budgets = BUDGET[operation]
    with Sent(flue, migrated).at_most(budgets[migrated.name]):
        call(flue)


def test_an_append_stays_within_its_budget_and_so_does_its_refusal(flue: Flue, migrated: Database) -> None:
    attempt, producer, traffic = run(flue, "host-1"), owned_stream(flue), Sent(flue, migrated)
    with traffic.at_most(APPEND[migrated.name]):
        append(flue, producer)
    with traffic.at_most(OWNED_APPEND[migrated.name]):
        append(flue, producer, of(attempt), sequence=1, submission=attempt)
    with traffic.at_most(REFUSED_APPEND[migrated.name]):
        assert append(flue, producer, of(attempt), sequence=1, submission=attempt).endswith("1")
    refusals: list[Callable[[], object]] = [
        lambda: append(flue, producer, sequence=9),
        lambda: append(flue, producer.model_copy(update={"producer_epoch": 9}), sequence=2),
        lambda: append(flue, producer, path="agents/echo/unknown"),
        lambda: append(flue, producer, {"id": "other"}, sequence=1),
    ]
    for refused in refusals:
        with traffic.at_most(REFUSED_APPEND[migrated.name]), pytest.raises(ConversationStreamStoreError):
            refused()
    stale = Attempt(submission_id="host-1", attempt_id="stale")
    for authorized, record in ((stale, of(stale)), (attempt, of(stale)), (None, of(attempt))):
        with traffic.at_most(REFUSED_APPEND[migrated.name]), pytest.raises(ConversationStreamStoreError):
            append(flue, producer, record, sequence=2, submission=authorized)


def test_a_batch_with_joined_deliveries_is_one_short_transaction(flue: Flue, migrated: Database) -> None:
    attempt, producer = run(flue, "host-1"), owned_stream(flue)
    admit_ready(flue, "child-1")
    flue.submissions.claim_joinable(attempt, AGENT)
    child = Attempt(submission_id="child-1", attempt_id=attempt.attempt_id)
    with Sent(flue, migrated).at_most(7):
        append(flue, producer, of(attempt), of(child, 1), submission=attempt)


@pytest.mark.databases("sqlite")
def test_a_spilled_batch_costs_one_statement_more(flue: Flue, migrated: Database) -> None:
    producer, traffic = owned_stream(flue), Sent(flue, migrated)
    with traffic.at_most(APPEND["sqlite"] + 1):
        append(flue, producer, LONG)
    with traffic.at_most(BUDGET["read"][1]["sqlite"] + 1):
        assert flue.conversations.read(PATH).batches[0].records == [LONG]


@pytest.mark.databases("postgres")
def test_in_a_unit_or_a_bound_session_it_is_one_statement_as_well(flue: Flue) -> None:
    attempt, producer, traffic = run(flue, "host-1"), owned_stream(flue), Traffic(flue.engine)
    with flue.begin() as unit:
        with traffic.at_most(1):
            append(unit, producer, of(attempt), submission=attempt)
        with traffic.at_most(1):
            assert len(unit.conversations.read(PATH).batches) == 1
