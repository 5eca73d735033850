"""Docstrings as the source of descriptions."""

import pytest

from aios_actors.sdk.signature import read_docstring


@pytest.mark.parametrize(
    ("text", "description", "notes"),
    [
        ("", "", {}),
        ("Does it.", "Does it.", {}),
        ("\n    Does it.\n\n    Really.\n    ", "Does it.", {}),
        ("Does it.\n\nArgs:\n    x: first\n    y (int): second\n", "Does it.", {"x": "first", "y": "second"}),
        (
            "Does it.\n\nArgs:\n  x: first\n    goes on: here\n  y: second",
            "Does it.",
            {"x": "first goes on: here", "y": "second"},
        ),
        ("Does it.\n\nArguments:\n    x:\n        first\n\nReturns:\n    y: no parameter", "Does it.", {"x": "first"}),
        ("Does it.\n\nArgs: are none", "Does it.", {}),
    ],
)
def test_first_line_and_args(text: str, description: str, notes: dict[str, str]) -> None:
    assert read_docstring(text) == (description, notes)
