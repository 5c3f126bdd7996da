"""Session keys, stream paths and offsets (spec/submissions.md §3.1, spec/streams.md §1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flue_sqla import wire
from flue_sqla.errors import InvalidInputError

names = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from('"\\%_[],é😀\U0010ffff')), max_size=6)
characters = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("\ud7ff\ue000\U0010ffff-,")), max_size=6)


def test_a_session_key_is_the_compact_array() -> None:
    assert wire.session_key("assistant", "agent-1") == 'agent-session:["assistant","agent-1","default","default"]'
    assert wire.session_key('é"', "a\n", "h", "s") == 'agent-session:["é\\"","a\\n","h","s"]'


@given(names, names, names, names)
def test_a_session_key_names_its_parts(agent: str, instance: str, harness: str, session: str) -> None:
    assert wire.parse_session_key(wire.session_key(agent, instance, harness, session)) == (agent, instance, harness, session)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "agent-session:",
        'agent-session:["i","default","default"]',
        'agent-session:["a","i","default","default","x"]',
        'agent-session:["a","i","default",1]',
        'agent-session:{"0":"a","1":"i","2":"d","3":"d"}',
        'Agent-session:["a","i","default","default"]',
        'agent-session:["a","i","default","default"',
        'agent-session:"abcd"',
        '["a","i","default","default"]',
    ],
)
def test_anything_else_has_no_identity(key: str) -> None:
    assert wire.parse_session_key(key) is None


@given(names, names, names)
def test_an_agents_prefix_covers_its_keys_and_no_other_agents(agent: str, other: str, instance: str) -> None:
    prefix = wire.agent_prefix(agent)
    assert wire.session_key(agent, instance).startswith(prefix)
    assert wire.session_key(other, instance).startswith(prefix) == (other == agent)


@given(characters, characters)
def test_the_end_of_a_prefix_bounds_exactly_the_texts_with_it(prefix: str, text: str) -> None:
    try:
        end = wire.prefix_end(prefix).encode()
    except InvalidInputError:
        assert not prefix.strip("\U0010ffff")
        return
    assert (prefix.encode() <= text.encode() < end) == text.startswith(prefix)
    assert (prefix + text).encode() < end


def test_the_end_of_a_prefix_skips_surrogates_and_the_last_character() -> None:
    assert wire.prefix_end("a,") == "a-"
    assert wire.prefix_end("a\ud7ff") == "a\ue000"
    assert wire.prefix_end("a\U0010ffff") == "b"


def test_paths_are_concatenated_without_escaping() -> None:
    assert wire.stream_path("a/b", "c d") == "agents/a/b/c d"
    assert wire.run_path("run_1") == "runs/run_1"


@pytest.mark.parametrize(
    ("seq", "text"),
    [
        (-1, "-1"),
        (0, "0000000000000000_0000000000000000"),
        (41, "0000000000000000_0000000000000041"),
        (10**17, "0000000000000000_100000000000000000"),
    ],
)
def test_offsets_are_written_in_fixed_width(seq: int, text: str) -> None:
    assert wire.format_offset(seq) == text


@pytest.mark.parametrize(
    ("text", "seq"),
    [
        ("-1", -1),
        ("0_0", 0),
        ("12_7", 7),
        ("0000000000000000_0000000000000041", 41),
        ("0_00000000000000000000000005", 5),
        ("0_9007199254740991", 2**53 - 1),
    ],
)
def test_offsets_are_read_in_any_width(text: str, seq: int) -> None:
    assert wire.parse_offset(text) == seq


@pytest.mark.parametrize("text", ["0_9007199254740993", "0_99999999999999999", "0_" + "9" * 5000])
def test_an_unsafe_offset_is_beyond_every_head_and_still_fits_a_column(text: str) -> None:
    assert wire.parse_offset(text) == 2**53


@pytest.mark.parametrize("text", ["", "now", "-2", "5", "_5", "5_", "0_-1", "0_1 ", " 0_1", "0_1\n", "a_1", "0_1_2", "٠_١", "0_+1"])
def test_a_malformed_offset_is_named(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        wire.parse_offset(text)
    assert str(caught.value) == f'[flue] Invalid stream offset: "{text}".'
