"""Text streams never show half a character, a part of a stop string or the source of a call, however tokens fall."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.engine.families import family_of
from aios_actors.engine.stream import TextStream

HERMES = family_of("<tool_call>")
LLAMA3 = family_of("<|start_header_id|>")
CALL = '<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>'


def cut(data: bytes, edges: list[int]) -> list[bytes]:
    points = sorted({0, len(data), *(e % (len(data) + 1) for e in edges)})
    return [data[a:b] for a, b in itertools.pairwise(points)]


def stream_all(stream: TextStream, pieces: list[bytes]) -> str:
    shown = "".join(stream.push(piece) for piece in pieces)
    return shown + stream.finish("seed")[0]


@given(text=st.text(max_size=30), edges=st.lists(st.integers(0, 1000)))
def test_plain_text_comes_out_whole_and_no_delta_has_half_a_character(text: str, edges: list[int]) -> None:
    stream = TextStream((), HERMES, tools=True)
    deltas = [stream.push(piece) for piece in cut(text.encode(), edges)]
    rest, calls = stream.finish("seed")
    if "<" not in text:
        assert all("\ufffd" not in d for d in deltas) or "\ufffd" in text
        assert rest == ""
    assert "".join(deltas) + rest == text == stream.text
    assert calls == ()


@given(data=st.binary(max_size=20), edges=st.lists(st.integers(0, 1000)))
def test_broken_bytes_become_replacement_characters(data: bytes, edges: list[int]) -> None:
    assert stream_all(TextStream((), HERMES), cut(data, edges)) == data.decode("utf-8", "replace")


@given(
    text=st.text(alphabet="ab", max_size=30),
    stops=st.lists(st.text(alphabet="ab", min_size=1, max_size=4), max_size=3),
    edges=st.lists(st.integers(0, 1000)),
)
def test_text_ends_before_the_first_stop_string(text: str, stops: list[str], edges: list[int]) -> None:
    stream = TextStream(tuple(stops), HERMES)
    shown = ""
    for piece in cut(text.encode(), edges):
        shown += stream.push(piece)
        assert not any(stop in shown for stop in stops)
        if stream.stopped:
            break
    shown += stream.finish("seed")[0]
    hits = [text.find(stop) for stop in stops if stop in text]
    assert stream.stopped == bool(hits)
    # Tokens after the one that completes a stop string are not generated; the earliest completed one wins.
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    if not hits:
        assert shown == text


def test_a_stop_string_over_several_tokens_is_never_shown() -> None:
    stream = TextStream(("STOP",), HERMES)
    assert [stream.push(p) for p in (b"go S", b"TO", b"T ST", b"O", b"P more")] == ["go ", "", "STOT ", "", ""]
    assert stream.stopped and stream.finish("seed") == ("", ())
    assert stream.text == "go STOT "


@given(before=st.text(alphabet="xy <", max_size=8), edges=st.lists(st.integers(0, 1000)))
def test_a_call_is_parsed_and_its_source_is_never_shown(before: str, edges: list[int]) -> None:
    stream = TextStream(("name",), HERMES, tools=True)
    shown = ""
    for piece in cut((before + CALL).encode(), edges):
        shown += stream.push(piece)
        assert "tool_call" not in shown and '"name"' not in shown
    rest, calls = stream.finish("seed")
    assert shown + rest == before
    assert [(c.name, c.arguments) for c in calls] == [("f", {"x": 1})]
    assert len(calls[0].id) == 9 and calls[0].id.isalnum()


def test_a_call_that_cannot_be_parsed_is_shown_as_text() -> None:
    stream = TextStream((), HERMES, tools=True)
    assert stream_all(stream, [b"see <tool", b"_call>{oops"]) == "see <tool_call>{oops"


def test_without_tools_a_call_is_only_text() -> None:
    assert stream_all(TextStream((), HERMES), [CALL.encode()]) == CALL


def test_a_bare_call_counts_only_at_the_beginning() -> None:
    bare = '{"name": "f", "parameters": {}}'
    stream = TextStream((), LLAMA3, tools=True)
    assert [stream.push(p) for p in (b" {", b'"name', bare[6:].encode())] == ["", "", ""]
    assert [c.name for c in stream.finish("seed")[1]] == ["f"]
    assert stream_all(TextStream((), LLAMA3, tools=True), [b"It is ", bare.encode()]) == f"It is {bare}"


@given(edges=st.lists(st.integers(0, 1000)))
def test_reasoning_is_kept_apart(edges: list[int]) -> None:
    stream = TextStream(("stop",), HERMES, tools=True)
    raw = f"<think>\nno stop here\n</think>\n\nAnswer {CALL}"
    shown = stream_all(stream, cut(raw.encode(), edges))
    assert shown == stream.text == "Answer "
    assert stream.reasoning == "no stop here"


def test_reasoning_that_the_prompt_opened_ends_with_its_marker() -> None:
    stream = TextStream((), HERMES, reasoning=True)
    assert stream_all(stream, [b"so it is</thi", b"nk>", b"Yes."]) == "Yes."
    assert stream.reasoning == "so it is"


@pytest.mark.parametrize("split", range(1, 12))
def test_replaying_tokens_leads_to_the_same_state(split: int) -> None:
    pieces = cut(f"ab \u20ac {CALL}".encode(), list(range(0, 100, 5)))
    whole, resumed = TextStream((), HERMES, tools=True), TextStream((), HERMES, tools=True)
    deltas = [whole.push(p) for p in pieces]
    for piece in pieces[:split]:
        resumed.push(piece)
    assert [resumed.push(p) for p in pieces[split:]] == deltas[split:]
    assert resumed.finish("s") == whole.finish("s")
