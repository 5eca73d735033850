"""Frames survive the wire however the stream is cut, and broken bytes are refused."""

from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aios_actors.engine import framing as f
from aios_actors.engine import messages as m
from aios_actors.engine import protocol as p
from aios_actors.engine.spec import WorkerSpec

text = st.text(max_size=20)
small = st.integers(0, 2**31 - 1)
tokens = st.lists(small, max_size=8).map(tuple)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(text, json_values, max_size=3)
calls = st.builds(m.ToolCall, id=text, name=text, arguments=objects)
tools = st.lists(st.builds(m.ToolSchema, name=text, description=text, parameters=objects), max_size=2).map(tuple)
chat_messages = st.builds(
    m.ChatMessage,
    role=st.sampled_from(["system", "user", "assistant", "tool"]),
    content=text,
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    tool_call_id=st.none() | text,
)
prompts = (
    st.builds(m.ChatPrompt, messages=st.lists(chat_messages, max_size=3).map(tuple), tools=tools)
    | st.builds(m.TextPrompt, text=text, special=st.booleans())
    | st.builds(m.TokenPrompt, tokens=tokens, tools=tools)
)
constraints = (
    st.none()
    | st.builds(m.JsonSchema, schema=objects)
    | st.builds(m.Regex, pattern=text)
    | st.builds(m.Choice, options=st.lists(text, max_size=3).map(tuple))
    | st.builds(m.ToolCalls, mode=st.sampled_from(["auto", "required", "none"]))
)
samplings = st.builds(
    m.Sampling,
    temperature=st.floats(0, 2),
    seed=st.integers(-(2**63), 2**63 - 1),
    max_tokens=st.integers(1, 10_000),
    stop=st.lists(text, max_size=2).map(tuple),
    logit_bias=st.dictionaries(small, st.floats(-100, 100), max_size=3),
    logprobs=st.none() | st.integers(0, 20),
)
node_frames = (
    st.builds(
        p.Submit,
        id=small,
        prompt=prompts,
        sampling=samplings,
        constraint=constraints,
        generated=tokens,
        conversation=text,
        slice=small,
        priority=st.integers(-5, 5),
    )
    | st.builds(p.Start, spec=st.builds(WorkerSpec, model_path=text, context=small))
    | st.builds(p.Cancel, id=small)
    | st.builds(p.Preempt, id=small)
    | st.builds(p.Forget, conversation=text)
    | st.builds(p.Tokenize, id=small, prompt=prompts)
    | st.builds(p.Ping, n=small)
    | st.just(p.Shutdown())
)
results = st.builds(
    p.Result,
    text=text,
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    tokens=tokens,
    error=st.none() | st.builds(p.Fault, code=st.just("bad_prompt"), message=text),
)
events = st.builds(
    p.Event,
    id=small,
    tokens=tokens,
    text=text,
    finish=st.sampled_from(["", "stop", "slice"]),
    result=st.none() | results,
    logprobs=st.lists(st.builds(p.TokenLogprob, token=small, logprob=st.floats(-50, 0)), max_size=2).map(tuple),
)
worker_frames = (
    st.builds(p.Step, events=st.lists(events, max_size=3).map(tuple))
    | st.builds(p.Hello, token=text, pid=small)
    | st.builds(p.Loading, progress=st.floats(0, 1))
    | st.builds(p.StartFailed, code=st.just("not_gguf"), message=text)
    | st.builds(p.Pong, n=small, stats=st.builds(p.EngineStats, steps=small))
    | st.builds(p.Tokenized, id=small, tokens=tokens)
)


@given(frame=node_frames)
def test_node_frames_come_back_equal(frame: p.NodeFrame) -> None:
    assert f.decode_node_frame(f.encode(frame)[4:]) == frame


@given(frame=worker_frames)
def test_worker_frames_come_back_equal(frame: p.WorkerFrame) -> None:
    assert f.decode_worker_frame(f.encode(frame)[4:]) == frame


@given(frames=st.lists(node_frames, min_size=1, max_size=4), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_a_stream_may_be_cut_anywhere(frames: list[p.NodeFrame], cuts: list[int]) -> None:
    stream = b"".join(map(f.encode, frames))
    edges = sorted({0, len(stream), *(c for c in cuts if c < len(stream))})
    unframer = f.Unframer()
    payloads = [x for a, b in itertools.pairwise(edges) for x in unframer.feed(stream[a:b])]
    assert [f.decode_node_frame(x) for x in payloads] == frames


def test_a_frame_above_the_limit_is_refused_before_it_is_read() -> None:
    header = (f.MAX_FRAME + 1).to_bytes(4, "big")
    with pytest.raises(f.ProtocolError, match="above the limit"):
        list(f.Unframer().feed(header))


def test_a_frame_above_the_limit_is_not_sent() -> None:
    with pytest.raises(f.ProtocolError, match="Submit frame of"):
        f.encode(p.Submit(1, m.TextPrompt("x" * (f.MAX_FRAME + 1))))


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x80", b"\x81\xa4type\xa4nope"])
def test_bytes_that_are_no_frame_are_refused(payload: bytes) -> None:
    with pytest.raises(f.ProtocolError, match="does not decode"):
        f.decode_node_frame(payload)
    with pytest.raises(f.ProtocolError, match="does not decode"):
        f.decode_worker_frame(payload)


def test_a_wrong_value_is_refused_with_its_path() -> None:
    frame = f.encode(p.Submit(1, m.TextPrompt("a"), m.Sampling(max_tokens=7)))
    broken = frame[4:].replace(b"max_tokens\x07", b"max_tokens\xff")
    with pytest.raises(f.ProtocolError, match=r"\$\.sampling\.max_tokens"):
        f.decode_node_frame(broken)


async def test_an_asyncio_reader_gets_frames_and_then_the_end() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(f.encode(p.Ping(1)) + f.encode(p.Ping(2))[:-1])
    reader.feed_eof()
    payload = await f.read_frame(reader)
    assert payload is not None and f.decode_node_frame(payload) == p.Ping(1)
    assert await f.read_frame(reader) is None


def test_a_socket_gets_frames_and_then_the_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(f.encode(p.Ping(1)) + b"\0\0")
        theirs.shutdown(socket.SHUT_WR)
        payload = f.receive_frame(ours)
        assert payload is not None and f.decode_node_frame(payload) == p.Ping(1)
        assert f.receive_frame(ours) is None


def test_what_the_node_imports_does_not_load_llama_cpp() -> None:
    program = (
        "import sys; from aios_actors.engine import framing, protocol, messages, spec, gguf; "
        "print([name for name in ('llama_cpp', 'numpy', 'llguidance', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
