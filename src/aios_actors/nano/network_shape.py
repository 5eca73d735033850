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
    rotating_share: float = 0.5
    norm_epsilon: float = 1e-5

    def rope_divisors(self) -> list[float]:
        """What divides the angle of each rotary pair: 1, or a number so large that the pair does not turn.

        The slow pairs stand still, so that half of each head compares contents at any distance. llama.cpp takes these
        as the tensor `rope_freqs.weight`.
        """
        pairs = self.width // self.heads // 2
        turning = round(pairs * self.rotating_share)
        return [1.0] * turning + [1e12] * (pairs - turning)
