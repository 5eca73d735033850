"""The reply's type follows from the message's: mypy finds each marked mistake in replies.py, and no other."""

import re
from pathlib import Path

import pytest
from mypy import api

FILE = Path(__file__).with_name("replies.py")


def test_mypy_sees_the_replies_types(monkeypatch: pytest.MonkeyPatch) -> None:
    # With the project's own configuration and cache: after a run of mypy, which scripts/test begins with, it is quick.
    monkeypatch.chdir(FILE.parents[2])
    output, errors, _ = api.run([str(FILE.relative_to(FILE.parents[2]))])
    assert not errors
    found = re.findall(r"replies\.py:(\d+): error: .*\[([\w-]+)\]", output)
    lines = FILE.read_text().splitlines()
    expected = [(str(n), line.rpartition("# E: ")[2]) for n, line in enumerate(lines, 1) if "# E: " in line]
    assert found == expected, output
