"""Who may do what: a table of decisions, the properties that hold for all of them, and the actor that answers."""

from collections.abc import AsyncIterator

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from aios_actors.actors import ActorRef, ActorSystem
from aios_actors.config.structs import GroupConfig
from aios_actors.kernel.access import Access, AgentRights, Check, Decision, Register, Rules, Unregister
from aios_actors.syscalls.errors import AccessDenied, InvalidArgument

GROUPS = {
    "readers": GroupConfig(members=("ann",), grants=("memory.search:librarian", "storage.*:clerk")),
    "writers": GroupConfig(members=("worker",), grants=("storage.read:worker", "tool.call:special.*")),
    "leads": GroupConfig(members=("lead*",), grants=("agents.ask:*", "*:ann")),
}


@pytest.fixture
def rules() -> Rules:
    rules = Rules(GROUPS)
    rules.register(AgentRights("ann", tools=("calculator", "memory.*"), delegates=("bob", "worker"), model="nano*"))
    rules.register(AgentRights("bob"))
    rules.register(AgentRights("librarian"))
    rules.register(AgentRights("clerk"))
    rules.register(AgentRights("leader"))
    for number in (1, 2):
        rules.register(AgentRights(f"worker-{number}", kind="worker", parent="bob" if number == 2 else ""))
    return rules


ALLOWED = [
    ("operator", "storage.delete", "ann", "operator"),
    ("ann", "memory.add", "", "its own"),
    ("ann", "memory.get", "ann", "its own"),
    ("bob", "storage.write", "", "its own"),
    ("bob", "context.snapshot", "", "its own"),
    ("ann", "llm.chat", "", "its model"),
    ("ann", "llm.chat", "nano-2", "its model"),
    ("bob", "llm.chat", "anything", "its model"),
    ("ann", "tool.call", "calculator", "its tools"),
    ("ann", "tool.call", "memory.add", "its tools"),
    ("bob", "tool.list", "", "open to every agent"),
    ("bob", "agents.list", "", "open to every agent"),
    ("ann", "agents.ask", "bob", "its delegates"),
    ("ann", "agents.ask", "worker-1", "its delegates"),
    ("ann", "agents.spawn", "worker", "its delegates"),
    ("bob", "agents.ask", "worker-2", "its child"),
    ("ann", "memory.search", "librarian", "groups.readers.grants[0]"),
    ("ann", "storage.rollback", "clerk", "groups.readers.grants[1]"),
    ("worker-1", "storage.read", "worker-2", "groups.writers.grants[0]"),
    ("worker-2", "tool.call", "special.one", "groups.writers.grants[1]"),
    ("leader", "agents.ask", "bob", "groups.leads.grants[0]"),
    ("leader", "memory.search", "ann", "groups.leads.grants[1]"),
]

DENIED = [
    ("stranger", "memory.add", "", 'memory.add is denied to "stranger": the kernel knows no such agent'),
    ("bob", "memory.get", "ann", '[groups.NAME] members = ["bob"], grants = ["memory.get:ann"]'),
    ("ann", "memory.get", "librarian", 'grants = ["memory.get:librarian"]'),
    ("librarian", "memory.search", "ann", 'memory.search on "ann" is denied to "librarian"'),
    ("bob", "storage.read", "clerk", 'grants = ["storage.read:clerk"]'),
    ("worker-1", "storage.write", "worker-2", 'members = ["worker"], grants = ["storage.write:worker-2"]'),
    ("bob", "tool.call", "calculator", 'add "calculator" to tools in [agents.bob]'),
    ("ann", "tool.call", "storage.write", 'add "storage.write" to tools in [agents.ann]'),
    ("worker-1", "tool.call", "x", 'add "x" to tools in [agents.worker]'),
    ("bob", "agents.ask", "ann", 'add "ann" to delegates in [agents.bob]'),
    ("ann", "agents.ask", "clerk", 'add "clerk" to delegates in [agents.ann]'),
    ("worker-2", "agents.ask", "bob", 'add "bob" to delegates in [agents.worker]'),
    ("bob", "agents.spawn", "worker", 'add "worker" to delegates in [agents.bob]'),
    ("ann", "llm.chat", "qwen", 'grants = ["llm.chat:qwen"]'),
    ("ann", "something.new", "", 'grants = ["something.new:ann"]'),
]


@pytest.mark.parametrize(("caller", "verb", "resource", "why"), ALLOWED)
def test_allowed(rules: Rules, caller: str, verb: str, resource: str, why: str) -> None:
    decision = rules.check(caller, verb, resource)
    assert decision.allowed
    assert why in decision.reason


@pytest.mark.parametrize(("caller", "verb", "resource", "remedy"), DENIED)
def test_denied_with_the_remedy(rules: Rules, caller: str, verb: str, resource: str, remedy: str) -> None:
    decision = rules.check(caller, verb, resource)
    assert not decision.allowed
    assert remedy in decision.reason
    for part in (caller, verb, resource):
        assert part in decision.reason


def test_the_remedy_for_a_grant_is_one(rules: Rules) -> None:
    assert not rules.check("bob", "memory.get", "ann").allowed
    better = Rules({"new": GroupConfig(members=("bob",), grants=("memory.get:ann",))})
    better.register(AgentRights("bob"))
    better.register(AgentRights("ann"))
    assert better.check("bob", "memory.get", "ann").allowed
    assert not better.check("bob", "memory.update", "ann").allowed


def test_an_unregistered_agent_has_no_rights(rules: Rules) -> None:
    rules.unregister("ann")
    rules.unregister("nobody")
    assert not rules.check("ann", "memory.add", "").allowed
    rules.unregister("worker-2")
    assert not rules.check("bob", "agents.ask", "worker-2").allowed


def test_rights_can_be_replaced(rules: Rules) -> None:
    rules.register(AgentRights("ann", tools=("storage.*",)))
    assert rules.check("ann", "tool.call", "storage.write").allowed
    assert not rules.check("ann", "tool.call", "calculator").allowed


@pytest.mark.parametrize("name", ["", "operator"])
def test_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be named"):
        Rules().register(AgentRights(name))


@pytest.mark.parametrize("grant", ["memory.search", ":x", "memory.search:", ""])
def test_a_grant_needs_verb_and_resource(grant: str) -> None:
    with pytest.raises(InvalidArgument, match=r'groups.staff.grants\[1\]: ".*" is no grant; write "verb:resource"'):
        Rules({"staff": GroupConfig(members=(), grants=("a:b", grant))})


NAMES = st.sampled_from(["ann", "bob", "cid", "operator", "*", "[a]", ""])
VERBS = st.sampled_from(
    ["memory.add", "memory.get", "storage.read", "context.drop", "tool.call", "agents.ask", "llm.chat"]
)


@settings(deadline=None)
@given(caller=NAMES, verb=VERBS, resource=NAMES)
def test_without_grants_no_agent_reaches_another(caller: str, verb: str, resource: str) -> None:
    rules = Rules()
    rules.register(AgentRights("ann", model="nano"))
    rules.register(AgentRights("bob", model="nano"))
    allowed = rules.check(caller, verb, resource).allowed
    own = caller in ("ann", "bob") and verb.split(".")[0] not in ("tool", "agents") and resource in ("", caller)
    assert allowed == (caller == "operator" or (own and not (verb == "llm.chat" and resource == caller)))


@pytest.fixture
async def access() -> AsyncIterator[ActorRef]:
    async with ActorSystem("test") as system:
        groups = {"readers": GroupConfig(members=("ann",), grants=("memory.search:bob",))}
        yield await system.spawn(Access, Rules(groups), name="access")


async def test_answers_with_a_decision_or_refuses(access: ActorRef) -> None:
    await access.ask(Register(AgentRights("ann", tools=("calculator",))))
    assert await access.ask(Check("ann", "tool.call", "calculator")) == Decision(True, "its tools")
    assert (await access.ask(Check("ann", "memory.search", "bob"))).reason == "groups.readers.grants[0]"
    with pytest.raises(AccessDenied, match='memory.get on "bob" is denied to "ann"; to allow it, add a group'):
        await access.ask(Check("ann", "memory.get", "bob"))
    await access.ask(Unregister("ann"))
    with pytest.raises(AccessDenied, match="the kernel knows no such agent"):
        await access.ask(Check("ann", "tool.call", "calculator"))


async def test_refuses_a_reserved_name(access: ActorRef) -> None:
    with pytest.raises(InvalidArgument, match="cannot be named 'operator'"):
        await access.ask(Register(AgentRights("operator")))


async def test_a_resource_that_is_no_name_is_refused(access: ActorRef) -> None:
    for caller in ("ann", "operator"):
        with pytest.raises(InvalidArgument, match=r"tool.call acts on a name, which should be a string, not \[5\]"):
            await access.ask(Check(caller, "tool.call", [5]))


async def test_logs_refusals_as_warnings(access: ActorRef) -> None:
    await access.ask(Register(AgentRights("ann")))
    with structlog.testing.capture_logs() as lines:
        await access.ask(Check("ann", "memory.add", ""))
        with pytest.raises(AccessDenied):
            await access.ask(Check("ann", "storage.read", "bob"))
    assert [(line["log_level"], line["agent"], line["verb"], line["resource"]) for line in lines] == [
        ("debug", "ann", "memory.add", ""),
        ("warning", "ann", "storage.read", "bob"),
    ]
