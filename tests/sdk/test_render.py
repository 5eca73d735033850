"""The texts that models see."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aios_actors.sdk.render import render
from aios_actors.syscalls.errors import NotFound
from aios_actors.syscalls.memory import Note
from aios_actors.syscalls.storage import FileInfo


class Point(msgspec.Struct):
    x: int


NOTE = Note(7, "The code is 8342.")
FILE = FileInfo("a/b", 2, 5, "ab", 1.0)


@pytest.mark.parametrize(
    ("tool", "value", "text"),
    [
        ("memory.add", NOTE, "saved"),
        ("memory.update", NOTE, "saved"),
        ("memory.get", NOTE, "The code is 8342."),
        ("memory.remove", None, "ok"),
        ("memory.search", (NOTE, Note(8, "Other.")), "The code is 8342.\nOther."),
        ("memory.search", (), "nothing found"),
        ("memory.ids", (NOTE,), "7: The code is 8342."),
        ("storage.write", FILE, "ok"),
        ("storage.append", FILE, "ok"),
        ("storage.read", "line 1\nline 2", "line 1\nline 2"),
        ("storage.list", (FILE, FileInfo("c", 1, 0, "", 1.0)), "a/b\nc"),
        ("storage.list", (), "no files"),
        ("storage.history", (FILE, FileInfo("a/b", 3, 0, "", 1.0, deleted=True)), "2: 5 bytes\n3: deleted"),
        ("calculator", 518, "518"),
        ("calculator", 2**200, str(2**200)),
        ("calculator", 1 / 3, "0.3333333333"),
        ("calculator", 2.0, "2"),
        ("", True, "true"),
        ("", None, "ok"),
        ("", "", ""),
        ("", [], "[]"),
        ("", {"a": [1, None]}, '{"a":[1,null]}'),
        ("", Point(1), '{"x":1}'),
        ("", [Point(1)], '[{"x":1}]'),
        ("", NotFound('no file named "x.txt"'), 'error: no file named "x.txt"'),
        ("", KeyError(), "error: KeyError"),
    ],
)
def test_text_of_each_kind(tool: str, value: Any, text: str) -> None:
    assert render(value, tool) == text


@settings(deadline=None)
@given(st.integers(-(10**9), 10**9) | st.floats(-1e300, 1e300))
def test_numbers_keep_ten_digits(value: float) -> None:
    assert float(render(value)) == pytest.approx(value, rel=1e-9)
