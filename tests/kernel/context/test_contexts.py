"""The conversations of a node against a naive model, in memory and on disk; the budget; crashes; a failing disk."""

import asyncio
import random
import tempfile
from array import array
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aios_actors.kernel.context.contexts import Contexts, open_contexts
from aios_actors.kernel.context.eviction import ByCost, Choice, KLru
from aios_actors.kernel.context.store import Batch, ContextStore
from aios_actors.kernel.database import StoreThread
from aios_actors.syscalls.errors import DataUnavailable

BUDGET = 6000
MOST = 700
"""Tokens of one conversation: its own bytes may be in memory on top of the budget only while it is read."""

Key = tuple[str, str]
KEYS = [(owner, name) for owner in "ab" for name in ("main", "draft", "third")]
keys = st.sampled_from(KEYS)


async def opened(path: Path, memory: int = BUDGET, eviction: Choice = "k-lru") -> tuple[Contexts, StoreThread]:
    thread = StoreThread("context")
    return await open_contexts(thread, path, memory, eviction), thread


async def closed(contexts: Contexts, thread: StoreThread) -> None:
    await contexts.flush()
    await thread.close(contexts.close)


class Model(RuleBasedStateMachine):
    """Random changes, each made to a dict of lists as well."""

    eviction: Choice = "k-lru"

    @initialize(seed=st.integers(0, 99))
    def begin(self, seed: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "context.db"
        self.loop = asyncio.new_event_loop()
        self.contexts, self.thread = self.loop.run_until_complete(opened(self.path, eviction=self.eviction))
        self.naive: dict[Key, list[int]] = {}
        self.random = random.Random(seed)

    def tokens(self, count: int) -> list[int]:
        return [self.random.randrange(50_000) for _ in range(count)]

    def put(self, key: Key, tokens: list[int]) -> None:
        self.loop.run_until_complete(self.contexts.put(*key, "nano", array("i", tokens), 1))
        self.naive[key] = tokens

    @rule(key=keys, count=st.integers(1, MOST))
    def replace(self, key: Key, count: int) -> None:
        self.put(key, self.tokens(count))

    @rule(key=keys, count=st.integers(1, 200))
    def append(self, key: Key, count: int) -> None:
        self.put(key, (self.naive.get(key, []) + self.tokens(count))[:MOST])

    @rule(key=keys, keep=st.integers(1, MOST), count=st.integers(0, 100))
    def rewrite_the_end(self, key: Key, keep: int, count: int) -> None:
        self.put(key, self.naive.get(key, [7])[:keep] + self.tokens(count))

    @rule(source=keys, other=keys)
    def fork(self, source: Key, other: Key) -> None:
        if source in self.naive and source != other:
            before = self.contexts.bytes
            self.contexts.fork(source, other)
            assert self.contexts.bytes <= before
            self.naive[other] = self.naive[source]

    @rule(key=keys)
    def drop(self, key: Key) -> None:
        self.contexts.drop(*key)
        self.naive.pop(key, None)

    @rule(key=keys)
    def read(self, key: Key) -> None:
        if key in self.naive:
            assert list(self.loop.run_until_complete(self.contexts.tokens(*key))) == self.naive[key]

    @rule()
    def flush(self) -> None:
        self.loop.run_until_complete(self.contexts.flush())

    @rule()
    def restart(self) -> None:
        self.loop.run_until_complete(closed(self.contexts, self.thread))
        self.contexts, self.thread = self.loop.run_until_complete(opened(self.path, eviction=self.eviction))

    @invariant()
    def the_budget_holds(self) -> None:
        if hasattr(self, "contexts"):
            assert self.contexts.bytes <= BUDGET

    @invariant()
    def all_heads_are_known(self) -> None:
        if hasattr(self, "contexts"):
            known = {(owner, name): head.length for owner in "ab" for name, head in self.contexts.of(owner).items()}
            assert known == {key: len(tokens) for key, tokens in self.naive.items()}

    def teardown(self) -> None:
        if not hasattr(self, "contexts"):
            return
        for key, tokens in self.naive.items():
            assert list(self.loop.run_until_complete(self.contexts.tokens(*key))) == tokens
        for key in self.naive:
            self.contexts.drop(*key)
        assert self.contexts.bytes == 0
        self.loop.run_until_complete(closed(self.contexts, self.thread))
        store = ContextStore(self.path)
        assert (store.heads(), store.next_id()) == ([], 1), "chunks that nothing needs are left on disk"
        store.close()
        self.loop.close()
        self.folder.cleanup()


class CostModel(Model):
    eviction: Choice = "cost"


TestKLruAgainstANaiveModel = Model.TestCase
TestCostAgainstANaiveModel = CostModel.TestCase
for case in (TestKLruAgainstANaiveModel, TestCostAgainstANaiveModel):
    case.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


async def test_conversations_survive_a_restart_of_the_node(tmp_path: Path) -> None:
    contexts, thread = await opened(tmp_path / "context.db")
    await contexts.put("a", "main", "nano", array("i", range(100)), 10)
    contexts.fork(("a", "main"), ("a", "draft"))
    await closed(contexts, thread)
    contexts, thread = await opened(tmp_path / "context.db")
    head = contexts.head("a", "draft")
    assert head is not None and (head.model, head.length, head.generated) == ("nano", 100, 10)
    assert list(await contexts.tokens("a", "draft")) == list(range(100))
    await closed(contexts, thread)


async def test_what_is_on_disk_is_always_one_whole_batch(tmp_path: Path) -> None:
    """A process that is killed leaves what its last finished batch wrote: a copy of the files in use shows the same."""
    contexts, thread = await opened(tmp_path / "context.db", memory=1 << 20)
    for length in range(100, 2000, 100):
        await contexts.put("a", "main", "nano", array("i", range(length)), 1)
        if length % 300 == 0:
            await contexts.flush()
    await contexts.flush()
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob("context.db*"):
        (copy / file.name).write_bytes(file.read_bytes())
    await contexts.put("a", "main", "nano", array("i", [1]), 1)
    after, other = await opened(copy / "context.db")
    assert list(await after.tokens("a", "main")) == list(range(1900))
    await closed(after, other)
    await closed(contexts, thread)


async def test_a_batch_that_fails_is_written_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts, thread = await opened(tmp_path / "context.db", memory=2000)
    write = ContextStore.write

    def fail(store: ContextStore, batch: Batch) -> None:
        raise DataUnavailable("the disk is full")

    monkeypatch.setattr(ContextStore, "write", fail)
    for name in ("one", "two", "three"):
        await contexts.put("a", name, "nano", array("i", range(400)), 1)
    with pytest.raises(DataUnavailable):
        await contexts.flush()
    assert contexts.bytes > 2000, "nothing may leave memory that is not on disk"
    monkeypatch.setattr(ContextStore, "write", write)
    await contexts.flush()
    assert not contexts.unwritten
    await closed(contexts, thread)
    contexts, thread = await opened(tmp_path / "context.db")
    for name in ("one", "two", "three"):
        assert list(await contexts.tokens("a", name)) == list(range(400))
    await closed(contexts, thread)


def test_k_lru_keeps_what_is_used_again_and_again() -> None:
    eviction = KLru()
    for name in ("often", "once", "often", "late"):
        eviction.used(("a", name), 100)
    assert [eviction.victim() for _ in range(4)] == [("a", "once"), ("a", "late"), ("a", "often"), None]


def test_eviction_by_cost_frees_much_that_is_used_little() -> None:
    eviction = ByCost()
    eviction.used(("a", "large"), 1_000_000)
    eviction.used(("a", "small"), 100)
    eviction.used(("a", "middle"), 10_000)
    assert eviction.victim() == ("a", "large")
    for _ in range(300):
        eviction.used(("a", "middle"), 10_000)
    assert [eviction.victim() for _ in range(3)] == [("a", "small"), ("a", "middle"), None]
