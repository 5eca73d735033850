"""Which worker gets a generation: conversations go home, kinds of agents stay together, and nobody queues for it."""

from aios_actors.engine.messages import ChatMessage, ChatPrompt, Sampling, TokenPrompt
from aios_actors.kernel.llm_core.affinity import WORTH, Affinity
from aios_actors.kernel.llm_core.messages import Generate


def request(caller: str, system: str = "You help.", conversation: str = "main") -> Generate:
    prompt = ChatPrompt((ChatMessage("system", system), ChatMessage("user", caller)))
    return Generate(1, caller, "nano", prompt, Sampling(), conversation=conversation)


def test_a_conversation_goes_back_to_the_worker_that_holds_its_kv() -> None:
    affinity = Affinity()
    assert affinity.choose(request("a"), {0: 0.5, 1: 0.0}) == 1
    assert affinity.choose(request("a"), {0: 0.0, 1: 0.9}) == 1
    tokens = Generate(2, "a", "nano", TokenPrompt((1, 2)), Sampling(), conversation="main")
    assert affinity.choose(tokens, {0: 0.0, 1: 0.9}) == 1, "also when it goes on from tokens"
    assert affinity.choose(request("a"), {0: 0.0}) == 0, "its worker has no place, and it does not wait"


def test_agents_with_the_same_beginning_share_a_worker_until_it_is_much_fuller() -> None:
    affinity = Affinity()
    assert affinity.choose(request("a"), {0: 0.2, 1: 0.1}) == 1
    assert affinity.choose(request("b"), {0: 0.0, 1: WORTH}) == 1
    assert affinity.choose(request("c", system="You write."), {0: 0.0, 1: 0.2}) == 0
    assert affinity.choose(request("d"), {0: 0.0, 1: WORTH + 0.1}) == 0
    assert affinity.choose(request("e"), {0: 0.1, 1: 0.0, 2: 0.0}) == 1, "both hold the beginning now"
    assert affinity.choose(request("f"), {0: 0.1, 1: 0.2, 2: 0.0}) == 0


def test_without_a_place_there_is_no_worker_and_an_agent_that_ended_is_forgotten() -> None:
    affinity = Affinity()
    assert affinity.choose(request("a"), {}) is None
    affinity.choose(request("a"), {3: 0.0})
    assert affinity.forget("a") == {"main": 3}
    assert affinity.forget("a") == {}
