"""Cutting streams into parts: pure, so tested without a store."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_sqla.artifacts.parts import MIB, Assembler, PartPlan, StreamDigest
from flue_sqla.errors import ArtifactTooLargeError

PLAN = PartPlan(part_size=10, max_parts=20)


def parts_of(plan: PartPlan, chunks: list[bytes], total: int | None = None) -> list[bytes]:
    assembler = Assembler(plan, total)
    parts = [part for chunk in chunks for part in assembler.feed(chunk)]
    rest = assembler.rest()
    return [*parts, rest] if rest else parts


@given(st.lists(st.binary(max_size=45), max_size=12), st.booleans())
def test_parts_are_the_stream_and_have_the_planned_sizes(chunks: list[bytes], known: bool) -> None:
    stream = b"".join(chunks)
    total = len(stream) if known else None
    parts = parts_of(PLAN, chunks, total)
    assert b"".join(parts) == stream
    assert [len(part) for part in parts[:-1]] == [PLAN.size_of(number, total) for number in range(len(parts) - 1)]
    assert not parts or len(parts[-1]) <= PLAN.size_of(len(parts) - 1, total)


def test_a_stream_of_unknown_length_outgrows_the_part_limit_many_times_over() -> None:
    stream = bytes(100 * PLAN.part_size * PLAN.max_parts // 20)
    parts = parts_of(PLAN, [stream])
    assert b"".join(parts) == stream
    assert len(parts) <= PLAN.max_parts


def test_ten_thousand_parts_of_unknown_length_exceed_the_largest_object_of_s3() -> None:
    plan = PartPlan(part_size=8 * MIB, max_parts=10_000)
    sizes = [plan.size_of(number) for number in range(plan.max_parts)]
    assert sum(sizes) > 5 * 1024**4
    assert max(sizes) <= 5 * 1024**3, "the largest part that S3 takes"
    assert sizes[999] == plan.part_size, "below 8 GB all parts have one size, which some servers demand"


def test_a_stream_of_known_length_has_equal_parts_that_fit() -> None:
    plan = PartPlan(part_size=8 * MIB, max_parts=10_000)
    total = 200 * 1024**3
    sizes = {plan.size_of(number, total) for number in range(plan.max_parts)}
    assert len(sizes) == 1
    assert sizes.pop() * plan.max_parts >= total


@pytest.mark.parametrize("total", [0, 1, PLAN.part_size * PLAN.max_parts // 2, PLAN.part_size * PLAN.max_parts + 1])
def test_a_hint_that_is_too_small_does_not_end_the_stream(total: int) -> None:
    stream = bytes(PLAN.part_size * PLAN.max_parts * 3)
    assert b"".join(parts_of(PLAN, [stream], total=total)) == stream


def test_a_stream_beyond_everything_is_refused() -> None:
    plan = PartPlan(part_size=1, max_parts=2)
    with pytest.raises(ArtifactTooLargeError):
        parts_of(plan, [bytes(100)])


def test_a_chunk_may_be_reused_by_its_owner() -> None:
    assembler = Assembler(PLAN, None)
    buffer = bytearray(b"12345")
    assert list(assembler.feed(buffer)) == []
    buffer[:] = b"xxxxx"
    assert assembler.rest() == b"12345"


@given(st.lists(st.sampled_from([b"", b"a" * 10, b"b" * 300_000]), max_size=5))
def test_the_digest_is_that_of_the_whole_stream_on_both_faces(parts: list[bytes]) -> None:
    expected = hashlib.sha256(b"".join(parts)).hexdigest()
    blocking, awaited = StreamDigest(), StreamDigest()
    for part in parts:
        blocking.add(part)

    async def feed() -> None:
        for part in parts:
            await awaited.add_async(part)

    asyncio.run(feed())
    assert blocking.hexdigest() == awaited.hexdigest() == expected
    assert blocking.size == awaited.size == sum(map(len, parts))
