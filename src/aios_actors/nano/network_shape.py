"""The sizes of the nano model's network.

Apart from network.py, so that the GGUF writer needs no torch. At most 10 MB in Q8_0 are wanted; this is 3 MB.
"""

from msgspec import Struct


class Shape(Struct, frozen=True):
    """The sizes of the network."""

    vocabulary: int = 1024
    width: int = 192
    layers: int = 6
    heads: int = 6
    feed_forward: int = 512
    context: int = 2048
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-5
