"""Embeddings on a real context: normalised, alone as in a batch, in order, and every refusal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from aios_actors.engine.embed import TEXTS, Embedder
from aios_actors.engine.loop import Engine
from aios_actors.engine.messages import Sampling, TextPrompt
from aios_actors.engine.model import Model, load
from aios_actors.engine.protocol import Embed, Embedded, Submit
from aios_actors.engine.spec import WorkerSpec
from tests.engine.driving import Driver
from tests.engine.encoder import CONTEXT, write_encoder

MakeModel = Callable[..., Model]
TEXT = [f"number {i} of some texts, " * (1 + i % 7) + "and the end" for i in range(2 * TEXTS + 5)]


def finish(embedder: Embedder) -> dict[int, Embedded]:
    done = {}
    while embedder.has_work:
        for embedded in embedder.step():
            assert embedded.id not in done
            done[embedded.id] = embedded
    return done


def vectors(embedded: Embedded) -> npt.NDArray[np.float32]:
    assert embedded.error is None
    return np.array([np.frombuffer(v, "<f4") for v in embedded.vectors])


@pytest.fixture
def make_embedder(make_model: MakeModel) -> Callable[..., Embedder]:
    return lambda **settings: Embedder(make_model(**{"pooling": "mean"} | settings))


def embed(embedder: Embedder, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    embedder.submit(Embed(1, tuple(texts)))
    return vectors(finish(embedder)[1])


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_a_batch_gives_what_each_text_gives_alone_in_order(
    make_embedder: Callable[..., Embedder], pooling: str
) -> None:
    embedder = make_embedder(pooling=pooling)
    together = embed(embedder, TEXT)
    assert together.shape == (len(TEXT), 64)
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(len(TEXT)), abs=1e-5)
    for place in (0, 3, TEXTS, len(TEXT) - 1):
        (alone,) = embed(embedder, [TEXT[place]])
        assert together[place] == pytest.approx(alone, abs=1e-3)
        assert int((together @ alone).argmax()) == place
    embedder.close()


def test_the_poolings_are_what_their_names_say(make_embedder: Callable[..., Embedder]) -> None:
    one_token = {p: embed(make_embedder(pooling=p), ["e"])[0] for p in ("mean", "last", "cls")}
    assert one_token["mean"] == pytest.approx(one_token["last"], abs=1e-5)
    assert one_token["mean"] == pytest.approx(one_token["cls"], abs=1e-5)
    first, last, other = embed(make_embedder(pooling="cls"), ["e then", "e thing", "a then"])
    assert first == pytest.approx(last, abs=1e-3), "the first token saw nothing else"
    assert first @ other < 0.99


def test_texts_that_share_words_are_nearer_than_others(make_embedder: Callable[..., Embedder]) -> None:
    near, same, far = embed(make_embedder(), ["the heat of the tea", "the heat of the sea", "17 + 25 * (8 - 3)"])
    assert near @ same > near @ far


def test_requests_share_a_batch_and_each_is_answered_once(make_embedder: Callable[..., Embedder]) -> None:
    embedder = make_embedder()
    for number in range(6):
        embedder.submit(Embed(number, tuple(TEXT[number : number + 4])))
    embedder.submit(Embed(9, ()))
    done = finish(embedder)
    assert sorted(done) == [*range(6), 9] and done[9].vectors == ()
    expected = embed(embedder, TEXT[:9])
    for number in range(6):
        assert vectors(done[number]) == pytest.approx(expected[number : number + 4], abs=1e-3)
        tokens = sum(len(embedder._model.vocab.tokenize(text)) for text in TEXT[number : number + 4])
        assert done[number].tokens == tokens


def test_a_step_computes_no_more_than_a_step_of_the_engine(make_embedder: Callable[..., Embedder]) -> None:
    embedder = make_embedder(batch=64)
    long = "word " * 60
    embedder.submit(Embed(1, (long, "short", "short", long)))
    sizes = []
    while embedder.has_work:
        embedder.step()
        sizes.append(embedder._batch.size)
    tokens = [len(embedder._model.vocab.tokenize(text)) for text in (long, "short")]
    assert tokens[0] > 64
    assert sizes == [tokens[0], 2 * tokens[1], tokens[0]], "one that is larger goes alone"


def test_a_cancelled_request_is_not_answered(make_embedder: Callable[..., Embedder]) -> None:
    embedder = make_embedder()
    embedder.submit(Embed(1, tuple(TEXT)))
    embedder.submit(Embed(2, tuple(TEXT[:3])))
    assert embedder.step() == ()
    embedder.cancel(1)
    embedder.cancel(77)
    assert sorted(finish(embedder)) == [2]


@pytest.mark.parametrize(
    ("settings", "texts", "code", "words"),
    [
        ({"pooling": "auto"}, ("a",), "no_embeddings", 'names no pooling; set pooling = "mean"'),
        ({"pooling": "none", "name": "m"}, ("a",), "no_embeddings", r"m is no embedding model.*\[models.m\]"),
        ({}, ("a", ""), "bad_prompt", r"texts\[1\] is empty"),
        ({}, ("a", "b", "x " * 900), "prompt_too_long", r"texts\[2\] has \d+ tokens, and embeddings take at most 512"),
    ],
)
def test_what_cannot_be_embedded_is_refused_and_the_others_are_served(
    make_embedder: Callable[..., Embedder], settings: dict[str, str], texts: tuple[str, ...], code: str, words: str
) -> None:
    embedder = make_embedder(**settings)
    embedder.submit(Embed(1, texts))
    embedder.submit(Embed(2, ("fine",)))
    done = finish(embedder)
    error = done[1].error
    assert error is not None and error.code == code and done[1].vectors == ()

    assert re.search(words, error.message)
    assert (done[2].error is None) == (code != "no_embeddings")


@pytest.fixture
def encoder(tmp_path: Path) -> Iterator[Model]:
    model = load(WorkerSpec(str(write_encoder(tmp_path / "encoder.gguf")), name="encoder", threads=1))
    yield model
    model.close()


def test_an_encoder_embeds_with_the_pooling_of_its_metadata(encoder: Model) -> None:
    embedder = Embedder(encoder)
    assert (embedder.pooling, embedder.window) == ("mean", CONTEXT)
    texts = ["the heat of the tea", "the heat of the sea", "and colds", "tea " * 100] * 3
    together = embed(embedder, texts)
    for place, text in enumerate(texts):
        assert together[place] == pytest.approx(embed(embedder, [text])[0], abs=1e-3)
    assert together[0] @ together[1] > together[0] @ together[2]
    embedder.submit(Embed(1, ("tea " * CONTEXT,)))
    error = finish(embedder)[1].error
    assert error is not None and error.code == "prompt_too_long"
    embedder.close()


def test_an_encoder_refuses_to_generate(encoder: Model) -> None:
    driver = Driver(Engine(encoder))
    result = driver.run(Submit(1, TextPrompt("the heat"), Sampling(max_tokens=3)))[1]
    assert result.error is not None
    assert result.error.message == "this model embeds texts and generates none; use llm.embed"
