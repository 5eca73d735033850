"""Which worker gets a generation: the one that holds most of its KV, unless that one is much busier than another.

First the worker that last ran the conversation. Else the emptiest of those that ran a prompt with the same beginning
(system prompt and tools, which all agents of a kind have in common), as long as this costs less than it saves. Else the
one with the most room, which computes the beginning once and is one of those from then on.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Mapping

import msgspec

from aios_actors.engine.messages import ChatPrompt
from aios_actors.kernel.llm_core.messages import Generate

WORTH = 0.25
"""How much fuller a worker may be than the emptiest one, as a share of its places, for a common beginning's sake."""
BEGINNINGS = 10_000
"""Beginnings of prompts that are remembered; those not met for longest are forgotten."""


class Affinity:
    """Remembers which worker ran what. Workers have numbers."""

    def __init__(self) -> None:
        # The worker that last ran a conversation: agent -> conversation -> worker.
        self._homes: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._beginnings: OrderedDict[Hashable, set[int]] = OrderedDict()

    def choose(self, request: Generate, load: Mapping[int, float]) -> int | None:
        """The worker for a generation, which is remembered as its home.

        Args:
            request: the generation.
            load: share of the places that are taken, of each worker that has one to give.

        Returns:
            Its number; None if there is none.
        """
        if not load:
            return None
        home, beginning = self._homes.get(request.caller, {}).get(request.conversation), _beginning(request)
        chosen = home if home is not None and home in load else self._by_beginning(beginning, load)
        self._homes[request.caller][request.conversation] = chosen
        if beginning is not None:
            self._beginnings.setdefault(beginning, set()).add(chosen)
            self._beginnings.move_to_end(beginning)
            if len(self._beginnings) > BEGINNINGS:
                self._beginnings.popitem(last=False)
        return chosen

    def _by_beginning(self, beginning: Hashable, load: Mapping[int, float]) -> int:
        emptiest = min(load, key=load.__getitem__)
        known = min(self._beginnings.get(beginning, set()) & load.keys(), key=load.__getitem__, default=emptiest)
        return known if load[known] <= load[emptiest] + WORTH else emptiest

    def homes(self, agent: str) -> Mapping[str, int]:
        """Where the agent's conversations are."""
        return self._homes.get(agent, {})

    def forget(self, agent: str) -> Mapping[str, int]:
        """The agent has ended. Returns where its conversations were."""
        return self._homes.pop(agent, {})


def _beginning(request: Generate) -> Hashable:
    """What prompts of agents of one kind have in common; None if the prompt has no such part."""
    prompt = request.prompt
    if not isinstance(prompt, ChatPrompt) or not prompt.messages or prompt.messages[0].role != "system":
        return None
    tools = msgspec.msgpack.encode(prompt.tools)
    return request.model, prompt.messages[0].content, hash(tools)
