"""The text that a model sees of what a tool returned.

Contract: any value gives text, and an error begins with "error: ". The texts of the kernel's own tools are short and
fixed, because the embedded model is trained on them.
"""

from typing import Any

import msgspec

from aios_actors.syscalls.memory import Note
from aios_actors.syscalls.storage import FileInfo

NOTHING_FOUND = {"memory.search": "nothing found", "memory.ids": "nothing found", "storage.list": "no files"}


def render(value: Any, tool: str = "") -> str:
    """The text of a tool's result.

    Args:
        value: what the tool returned, or the exception that it ended in.
        tool: its name; some kinds of value read differently from different tools.

    Returns:
        Text as it is; numbers plainly, whole ones exactly and others to ten significant digits; "ok" for nothing; a
        short text for notes and files; JSON for all else.
    """
    match value:
        case str():
            return value
        case None | FileInfo():
            return "ok"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return f"{value:.10g}"
        case BaseException():
            return f"error: {str(value) or type(value).__name__}"
        case Note():
            return value.text if tool == "memory.get" else "saved"
        case ():
            return NOTHING_FOUND.get(tool, "[]")
        case (Note(), *_):
            return "\n".join(f"{note.id}: {note.text}" if tool == "memory.ids" else note.text for note in value)
        case (FileInfo(), *_):
            return "\n".join(_version(info) if tool == "storage.history" else info.path for info in value)
        case _:
            return msgspec.json.encode(value, enc_hook=str).decode()


def _version(info: FileInfo) -> str:
    return f"{info.version}: {'deleted' if info.deleted else f'{info.size} bytes'}"
