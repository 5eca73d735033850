"""Names in an error: enough to see what was meant, and short enough for a model to read."""

from collections.abc import Collection
from itertools import islice

MOST = 5  # of a node with thousands of agents


def listing(names: Collection[str]) -> str:
    """The first names, and how many more there are, such as `clerk, writer and 62 more`."""
    first = ", ".join(islice(names, MOST)) or "none"
    return f"{first} and {len(names) - MOST} more" if len(names) > MOST else first
