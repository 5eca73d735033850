"""Tokens that the device chooses are those that our sampler chooses, whoever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aios_actors.engine.loop import Engine
from aios_actors.engine.messages import JsonSchema, Sampling, TextPrompt, TokenPrompt
from aios_actors.engine.protocol import Submit
from tests.engine.driving import Driver

MakeEngine = Callable[..., Engine]
GREEDY = Sampling(max_tokens=20)
REPEATED = TokenPrompt((40, 41, 42, 43, 44) * 8)
KINDS = (
    (TextPrompt("one"), GREEDY, None),
    (TextPrompt("two"), Sampling(max_tokens=20, temperature=1.0, seed=4), None),
    (REPEATED, GREEDY, None),
    (TextPrompt("three"), Sampling(max_tokens=20, repeat_penalty=1.3), None),
    (TextPrompt("four"), Sampling(max_tokens=20, logprobs=2), None),
    (TextPrompt("five"), Sampling(max_tokens=20, ignore_eos=True), None),
    (TextPrompt("six"), GREEDY, JsonSchema({"type": "array", "items": {"enum": ["a", "b"]}})),
    (REPEATED, Sampling(max_tokens=20, stop=("z",)), None),
)


@pytest.mark.parametrize("unified", [False, True])
@pytest.mark.parametrize("speculate", ["off", "on"])
def test_the_device_chooses_what_the_host_chooses(make_engine: MakeEngine, unified: bool, speculate: str) -> None:
    settings = {"kv_unified": unified, "speculate": speculate}
    submits = [Submit(i, p, s, c) for i, (p, s, c) in enumerate(KINDS * 2)]
    host = Driver(make_engine(**settings)).run(*submits)
    engine = make_engine(device_sampling=True, **settings)
    device = Driver(engine).run(*submits)
    assert {i: r.tokens for i, r in device.items()} == {i: r.tokens for i, r in host.items()}
    assert {i: r.tokens_accepted for i, r in device.items()} == {i: r.tokens_accepted for i, r in host.items()}


def test_only_plainly_greedy_requests_are_sampled_on_the_device(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(device_sampling=True, sequences=8)
    asked: dict[int, bool] = {}
    real = engine.model.sample_on_device
    monkeypatch.setattr(engine.model, "sample_on_device", lambda slot, on: asked.setdefault(len(asked), real(slot, on)))
    Driver(engine).run(*(Submit(i, p, s, c) for i, (p, s, c) in enumerate(KINDS)))
    assert [asked[i] for i in range(len(KINDS))] == [True, False, True, False, False, False, False, True]


def test_without_the_setting_the_host_samples(make_engine: MakeEngine) -> None:
    assert not make_engine().model.sample_on_device(0, True)


def test_logits_are_not_read_if_the_device_chooses_for_all(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(device_sampling=True)
    expected = Driver(make_engine()).run(Submit(1, TextPrompt("one"), GREEDY))[1].tokens
    monkeypatch.setattr(engine.model, "logits", lambda rows: pytest.fail("the logits were read"))
    assert Driver(engine).run(Submit(1, TextPrompt("one"), GREEDY))[1].tokens == expected
