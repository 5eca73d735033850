"""What the command line says to every experiment."""

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct


class Options(Struct, frozen=True):
    """Settings of a run.

    Attributes:
        model: the GGUF, with a chat template.
        threads: of llama.cpp, for our engine and for what it is compared with.
        quick: smaller experiments, for a look.
        policies: names of the scheduling policies to try.
        say: takes a line of progress.
    """

    model: Path
    threads: int
    quick: bool
    policies: tuple[str, ...]
    say: Callable[[str], None]
