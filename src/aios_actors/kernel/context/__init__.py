"""The context service: conversations and switched generations as tokens, in memory and on disk."""

from aios_actors.kernel.context.actor import Context
from aios_actors.kernel.context.messages import Forget, ForgetOwner, Latest, Load, Save, Sync

__all__ = ["Context", "Forget", "ForgetOwner", "Latest", "Load", "Save", "Sync"]
