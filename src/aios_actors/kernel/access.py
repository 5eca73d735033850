"""The access actor: who may do what.

Contract: identity is what the kernel registered, never what a message claims. An agent has its own memory, files and
conversations, the models and tools that its config entry names, and may ask the agents that it delegates to or made.
Everything else is denied unless a group of the config grants it. The operator may do all. A refusal says who, what, on
what, and which line of the config would allow it.

Names in tools, delegates, members and grants are shell patterns; one that fits the kind of an agent (its entry in the
config) fits all agents of that kind.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import msgspec
import structlog

from aios_actors.actors import Message, handler
from aios_actors.config.structs import GroupConfig
from aios_actors.kernel.service import OPERATOR, KernelActor
from aios_actors.syscalls.errors import AccessDenied, InvalidArgument

OPEN_VERBS = frozenset({"tool.list", "agents.list"})
"""What every agent may do: to see names is not to use what they name."""


class AgentRights(msgspec.Struct, frozen=True):
    """What an agent may do without a grant.

    Attributes:
        name: the agent's name, which is its identity.
        tools: patterns of the tools that it may call.
        delegates: patterns of the agents that it may ask and make.
        kind: its entry in the config; "" is its name.
        parent: name of the agent that made it, or "".
        model: pattern of the models that it may use.
    """

    name: str
    tools: tuple[str, ...] = ()
    delegates: tuple[str, ...] = ()
    kind: str = ""
    parent: str = ""
    model: str = "*"


class Decision(msgspec.Struct, frozen=True):
    """Whether a caller may do something, and why; for a refusal `reason` holds the remedy too."""

    allowed: bool
    reason: str


class Grant(msgspec.Struct, frozen=True):
    """One grant of a group: members may do what fits `verb` with what fits `resource`. `source` is its place."""

    members: tuple[str, ...]
    verb: str
    resource: str
    source: str


class Register(Message[None], frozen=True):
    """From now on there is an agent with these rights. Errors: InvalidArgument for a reserved name."""

    rights: AgentRights


class Unregister(Message[None], frozen=True):
    """The agent has no rights any more."""

    name: str


class Check(Message[Decision], frozen=True):
    """May `caller` do `verb` with `resource` ("" is the caller's own)? Errors: AccessDenied, InvalidArgument.

    `syscall` is the number of the syscall in question, for the log.
    """

    caller: str
    verb: str
    resource: str
    syscall: int = 0


class Rules:
    """Decides. A plain object."""

    def __init__(self, groups: Mapping[str, GroupConfig] | None = None) -> None:
        """`groups`: the config's, by name. Raises InvalidArgument for a grant that is none."""
        self._grants = tuple(grant for name, group in (groups or {}).items() for grant in read_grants(name, group))
        self._agents: dict[str, AgentRights] = {}

    def register(self, rights: AgentRights) -> None:
        """Makes an agent known, or replaces its rights. Raises InvalidArgument for a reserved name."""
        if not rights.name or rights.name == OPERATOR:
            raise InvalidArgument(f"an agent cannot be named {rights.name!r}, which stands for the caller; rename it")
        self._agents[rights.name] = rights

    def unregister(self, name: str) -> None:
        """Forgets an agent. One that is not known is no error."""
        self._agents.pop(name, None)

    def check(self, caller: str, verb: str, resource: str) -> Decision:
        """Whether `caller` may do `verb` with `resource`. Raises InvalidArgument if that is no string."""
        if not isinstance(resource, str):
            raise InvalidArgument(f"{verb} acts on a name, which should be a string, not {resource!r}")
        if caller == OPERATOR:
            return Decision(True, "the operator may do all")
        rights = self._agents.get(caller)
        if rights is None:
            return Decision(False, f'{verb} is denied to "{caller}": the kernel knows no such agent')
        if reason := self._own(rights, verb, resource):
            return Decision(True, reason)
        for grant in self._grants:
            if self._granted(grant, rights, verb, resource):
                return Decision(True, grant.source)
        target = f' on "{resource}"' if resource else ""
        return Decision(False, f'{verb}{target} is denied to "{caller}"; {_remedy(rights, verb, resource)}')

    def _own(self, rights: AgentRights, verb: str, resource: str) -> str:
        """Why the agent may do this without a grant; "" if it may not."""
        if verb in OPEN_VERBS:
            return "open to every agent"
        match verb.partition(".")[0]:
            case "memory" | "storage" | "context" if resource in ("", rights.name):
                return "its own"
            case "llm" if not resource or fnmatchcase(resource, rights.model):
                return "its model"
            case "tool" if _fits(rights.tools, resource):
                return "its tools"
            case "agents" if resource in self._agents and self._agents[resource].parent == rights.name:
                return "its child"
            case "agents" if _fits(rights.delegates, resource, self._kind(resource)):
                return "its delegates"
        return ""

    def _granted(self, grant: Grant, rights: AgentRights, verb: str, resource: str) -> bool:
        return (
            fnmatchcase(verb, grant.verb)
            and _fits((grant.resource,), resource, self._kind(resource))
            and _fits(grant.members, rights.name, rights.kind)
        )

    def _kind(self, name: str) -> str:
        known = self._agents.get(name)
        return known.kind if known is not None else ""


class Access(KernelActor):
    """Answers `Check`, and keeps the agents' rights."""

    def __init__(self, rules: Rules) -> None:
        """`rules`: outlive the actor, so that a restart forgets no agent."""
        self._rules = rules
        self._log = structlog.get_logger(__name__).bind()  # a logger that is not bound is made anew for each line

    @handler
    def register(self, message: Register) -> None:
        self._rules.register(message.rights)
        self._log.debug("agent registered", agent=message.rights.name, kind=message.rights.kind)

    @handler
    def unregister(self, message: Unregister) -> None:
        self._rules.unregister(message.name)
        self._log.debug("agent unregistered", agent=message.name)

    @handler
    def check(self, message: Check) -> Decision:
        decision = self._rules.check(message.caller, message.verb, message.resource)
        entry = {
            "agent": message.caller,
            "syscall": message.syscall,
            "verb": message.verb,
            "resource": message.resource,
            "reason": decision.reason,
        }
        if not decision.allowed:
            self._log.warning("access denied", **entry)
            raise AccessDenied(decision.reason)
        self._log.debug("access allowed", **entry)
        return decision


def read_grants(name: str, group: GroupConfig) -> tuple[Grant, ...]:
    """The grants of the group `name`. Raises InvalidArgument for one that is not `verb:resource`."""
    grants = []
    for index, text in enumerate(group.grants):
        verb, _, resource = text.partition(":")
        source = f"groups.{name}.grants[{index}]"
        if not verb or not resource:
            raise InvalidArgument(f'{source}: "{text}" is no grant; write "verb:resource", like "storage.read:clerk"')
        grants.append(Grant(group.members, verb, resource, source))
    return tuple(grants)


def _fits(patterns: Iterable[str], name: str, kind: str = "") -> bool:
    return any(fnmatchcase(name, pattern) or (kind != "" and fnmatchcase(kind, pattern)) for pattern in patterns)


def _remedy(rights: AgentRights, verb: str, resource: str) -> str:
    entry = f"[agents.{rights.kind or rights.name}]"
    match verb.partition(".")[0]:
        case "tool":
            return f'to allow it, add "{resource}" to tools in {entry}'
        case "agents":
            return f'to allow it, add "{resource}" to delegates in {entry}'
    grant = f'members = ["{rights.kind or rights.name}"], grants = ["{verb}:{resource or rights.name}"]'
    return f"to allow it, add a group to the config: [groups.NAME] {grant}"
