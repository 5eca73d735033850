"""The storage service: each agent's own versioned files."""

from aios_actors.kernel.storage.actor import Storage
from aios_actors.kernel.storage.store import FileStore

__all__ = ["FileStore", "Storage"]
