"""Overrides of a config from the command line: `--set agents.writer.model=qwen`, `--set 'tasks[0].input="Hi"'`.

Contract: a path is keys joined by dots, quoted where they hold other characters than letters, digits, `-` and `_`, with
list indexes in brackets; the index after a list's last element adds one. The value is read as TOML, and taken as text
when it is none, so that quotes may be left out.
"""

import re
import tomllib
from typing import Any

from aios_actors.config.mistakes import Mistakes, join

_STEP = re.compile(r"""(?:^|\.)(?:"([^"]+)"|'([^']+)'|([A-Za-z0-9_-]+))|\[(\d+)\]""")


def apply_override(raw: dict[str, Any], override: str, mistakes: Mistakes) -> None:
    """Sets one value in the decoded TOML `raw`, in place; notes in `mistakes` what is wrong with it."""
    source = f"--set {override}"
    path, equals, text = override.partition("=")
    steps = _steps(path.strip())
    if not equals or not steps:
        mistakes.add("", "write it as path=value, for example agents.writer.model=nano", source)
        return
    place: Any = raw
    shown = ""
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        shown = join(shown, step)
        if problem := _misfit(place, step):
            mistakes.add(shown, problem, source)
            return
        if following is None:
            new = _value(text)
        elif (isinstance(step, str) and step in place) or (isinstance(step, int) and step < len(place)):
            new = place[step]
        else:
            new = [] if isinstance(following, int) else {}
        if isinstance(step, int) and step == len(place):
            place.append(new)
        else:
            place[step] = new
        place = new


def _steps(path: str) -> list[str | int]:
    """The keys and indexes of a path; empty if it is none."""
    steps: list[str | int] = []
    end = 0
    while match := _STEP.match(path, end):
        double, single, bare, index = match.groups()
        steps.append(int(index) if index is not None else double or single or bare)
        end = match.end()
    return steps if end == len(path) and steps and isinstance(steps[0], str) else []


def _misfit(place: Any, step: str | int) -> str:
    """Why `step` does not lead on from `place`; "" if it does."""
    if isinstance(step, str):
        return "" if isinstance(place, dict) else "is inside a value that is no table"
    if not isinstance(place, list):
        return "has an index, and it is no list"
    if step > len(place):
        return f"the list has length {len(place)}; use an index up to {len(place)}, which adds an element"
    return ""


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if parsed.keys() == {"value"} else text
