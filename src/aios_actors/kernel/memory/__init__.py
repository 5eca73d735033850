"""The memory service: notes that outlive a conversation."""

from aios_actors.kernel.memory.actor import Memory
from aios_actors.kernel.memory.cache import LruK
from aios_actors.kernel.memory.store import MemoryStore

__all__ = ["LruK", "Memory", "MemoryStore"]
