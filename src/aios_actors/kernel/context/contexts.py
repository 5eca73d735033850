"""All conversations of a node: what each is, whose tokens are in memory, and what is still to be written.

Contract: for one event loop. Where conversations end is always in memory; their tokens are within a budget of bytes,
and what was paged out is read back from disk when it is used. Changes are seen at once and written in batches, off the
loop; `flush` returns when all that was changed before is on disk. Only what is on disk is paged out, so memory never
holds more than the budget and the conversation in use, and nothing is lost.
"""

import asyncio
from array import array
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import structlog

from aios_actors.kernel.context.eviction import Choice, Key, make_eviction
from aios_actors.kernel.context.store import Batch, ContextStore, HeadRow
from aios_actors.kernel.context.tokens import Chunk, TokenTree, read
from aios_actors.kernel.database import StoreThread
from aios_actors.syscalls.errors import DataUnavailable

log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class Head:
    """One conversation: the first `length` tokens of a chain, the last `generated` of which were generated.

    `id` names the chain's last chunk; `chunk` is that chunk while it is in memory.
    """

    model: str
    length: int
    generated: int
    id: int
    chunk: Chunk | None


class Contexts:
    """Conversations by owner and name. Made by `open_contexts`."""

    def __init__(self, thread: StoreThread, store: ContextStore, memory: int, eviction: Choice) -> None:
        self._thread = thread
        self._store = store
        self._memory = memory
        self._eviction = make_eviction(eviction)
        self._tree = TokenTree(store.next_id())
        self._heads: defaultdict[str, dict[str, Head]] = defaultdict(dict)
        self._changed: dict[Key, None] = {}
        self._writing: set[Key] = set()
        self._turn = asyncio.Lock()
        for row in store.heads():
            self._heads[row.owner][row.name] = Head(row.model, row.length, row.generated, row.chunk or 0, None)

    def close(self) -> None:
        """Closes the file; for the store's thread."""
        self._store.close()

    @property
    def bytes(self) -> int:
        """Bytes of the tokens in memory."""
        return self._tree.bytes

    @property
    def unwritten(self) -> bool:
        """Whether there are changes that no `flush` has taken up yet."""
        return bool(self._changed)

    def head(self, owner: str, name: str) -> Head | None:
        """A conversation, without its tokens."""
        return self._heads[owner].get(name) if owner in self._heads else None

    def of(self, owner: str) -> dict[str, Head]:
        """The owner's conversations by name."""
        return dict(self._heads[owner]) if owner in self._heads else {}

    async def tokens(self, owner: str, name: str) -> "array[int]":
        """The tokens of a conversation that there is, from disk if need be. Raises DataUnavailable."""
        head = self._heads[owner][name]
        if head.chunk is None:
            self._attach(head, self._tree.adopt(await self._thread.run(self._store.chain, head.id)))
        tokens = read(head.chunk, head.length)
        self._eviction.used((owner, name), 4 * head.length)
        await self._make_room()
        return tokens

    async def put(self, owner: str, name: str, model: str, tokens: "array[int]", generated: int) -> None:
        """Makes a conversation, or makes it hold just these tokens; what it shares with what it was is not copied."""
        old = self.head(owner, name)
        chunk = self._tree.write(tokens) if old is None else self._tree.write(tokens, old.chunk, old.length)
        head = Head(model, len(tokens), generated, chunk.id, None)
        self._attach(head, chunk)
        self._set((owner, name), head)
        await self._make_room()

    def fork(self, source: Key, target: Key) -> None:
        """Makes `target` what `source` is now, at no cost in tokens."""
        origin = self._heads[source[0]][source[1]]
        head = Head(origin.model, origin.length, origin.generated, origin.id, None)
        self._attach(head, origin.chunk)
        self._set(target, head)

    def drop(self, owner: str, name: str) -> None:
        """Forgets a conversation; one that there is not is no error."""
        if (head := self.head(owner, name)) is None:
            return
        self._detach(head)
        del self._heads[owner][name]
        if not self._heads[owner]:
            del self._heads[owner]
        self._eviction.gone((owner, name))
        self._changed[owner, name] = None

    async def flush(self) -> None:
        """Writes all changes; those of a batch that fails wait for the next one. Raises DataUnavailable."""
        async with self._turn:
            batch = self._batch()
            keys = [*((head.owner, head.name) for head in batch.heads), *batch.gone]
            self._writing = set(keys)
            try:
                await self._thread.run(self._store.write, batch)
            except Exception:
                for chunk in batch.chunks:
                    chunk.stored = False
                self._changed |= dict.fromkeys(keys)
                raise
            finally:
                self._writing = set()

    async def _make_room(self) -> None:
        """Pages conversations out until the rest is within the budget; while the disk fails, none can be."""
        while self._tree.bytes > self._memory and (key := self._eviction.victim()) is not None:
            if key in self._changed or key in self._writing:
                try:
                    await self.flush()
                except DataUnavailable as error:
                    log.warning("conversations cannot be paged out", error=str(error))
                    self._eviction.used(key, 4 * self._heads[key[0]][key[1]].length)
                    return
            self._detach(self._heads[key[0]][key[1]])

    def _batch(self) -> Batch:
        """What has changed since the last batch."""
        changed, self._changed = self._changed, {}
        chunks: dict[int, Chunk] = {}
        heads, gone = list[HeadRow](), list[Key]()
        for owner, name in changed:
            head = self.head(owner, name)
            if head is None:
                gone.append((owner, name))
                continue
            heads.append(HeadRow(owner, name, head.model, head.length, head.generated, head.id))
            for chunk in head.chunk.chain() if head.chunk is not None else ():
                if not chunk.stored:
                    chunks[chunk.id] = chunk
                    chunk.stored = True
        return Batch(tuple(chunks.values()), heads, gone)

    def _set(self, key: Key, head: Head) -> None:
        if (old := self.head(*key)) is not None:
            self._detach(old)
        self._heads[key[0]][key[1]] = head
        self._changed[key] = None
        if head.chunk is None:
            self._eviction.gone(key)
        else:
            self._eviction.used(key, 4 * head.length)

    def _attach(self, head: Head, chunk: Chunk | None) -> None:
        head.chunk = chunk
        if chunk is not None:
            self._tree.hold(chunk)

    def _detach(self, head: Head) -> None:
        if head.chunk is not None:
            chunk, head.chunk = head.chunk, None
            self._tree.release(chunk)


async def open_contexts(thread: StoreThread, path: Path, memory: int, eviction: Choice) -> Contexts:
    """Opens the conversations of a node.

    Args:
        thread: the one that touches the file from now on.
        path: the database.
        memory: bytes of tokens in memory.
        eviction: how it is chosen who leaves memory.

    Raises:
        DatabaseUnusable: the file cannot be opened.
    """
    return await thread.run(lambda: Contexts(thread, ContextStore(path), memory, eviction))
