"""The command line of a soak: runs seeds until one fails."""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable

from aios_actors.observe.logs import configure_logs


def run_seeds(description: str | None, soak: Callable[[Iterable[int]], Counter[str]], seeds: int) -> None:
    """Reads the command line and runs all seeds; the first that fails ends it with its number.

    Args:
        description: of the soak, for `--help`.
        soak: runs seeds and counts what happened in them.
        seeds: how many, if the command line does not say.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    options = parser.parse_args()
    configure_logs("error")
    began = time.perf_counter()
    counts = soak(range(options.first, options.first + options.seeds))
    print(f"{options.seeds} seeds hold, {(time.perf_counter() - began) / options.seeds * 1e3:.1f} ms each")
    print(", ".join(f"{what} {times}" for what, times in sorted(counts.items())))
