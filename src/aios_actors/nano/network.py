"""The nano model's network in PyTorch: a llama decoder, laid out so that its weights go into a GGUF file as they are.

Rotary embeddings turn neighbouring pairs (x0, x1), (x2, x3), ... as llama.cpp does for the llama architecture, so
that no weight needs permuting. The output head is the embedding (tied). Needs torch; nothing that runs in a node
imports this.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from aios_actors.nano.network_shape import Shape


def rope_table(shape: Shape, length: int) -> Tensor:
    """The turns of `length` positions as complex numbers, (length, head width / 2)."""
    half = shape.width // shape.heads // 2
    frequencies = shape.rope_base ** (-torch.arange(half, dtype=torch.float32) / half)
    frequencies = frequencies / torch.tensor(shape.rope_divisors())
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turns the neighbouring pairs of the last axis; x is (batch, length, heads, head width)."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns[:, None]).flatten(-2).to(x.dtype)


CHUNK = 128


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of each position to itself and those before it; all are (batch, heads, length, head width).

    On a CPU in chunks of queries, so that about half of the scores are never computed. PyTorch's own kernel is the
    slower one there: forward and backward of 17 x 300 tokens take it 50 ms in bfloat16 on two cores, and this 26 ms.
    """
    if q.is_cuda:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    length = q.shape[2]
    q, k, v = (q * q.shape[3] ** -0.5).contiguous(), k.contiguous(), v.contiguous()
    later = torch.full((CHUNK, CHUNK), float("-inf"), dtype=q.dtype).triu(1)
    mixed = []
    for start in range(0, length, CHUNK):
        end = min(start + CHUNK, length)
        mask = functional.pad(later[: end - start, : end - start], (start, 0))
        scores = q[:, :, start:end] @ k[:, :, :end].transpose(-1, -2) + mask
        mixed.append(scores.softmax(-1) @ v[:, :, :end])
    return torch.cat(mixed, 2)


class Block(nn.Module):  # type: ignore[misc]
    """One decoder layer: attention and a SwiGLU feed-forward, each behind an RMS norm."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, inner = shape.width, shape.feed_forward
        self.heads = shape.heads
        self.attn_norm = nn.RMSNorm(width, eps=shape.norm_epsilon)
        self.attn_q = nn.Linear(width, width, bias=False)
        self.attn_k = nn.Linear(width, width, bias=False)
        self.attn_v = nn.Linear(width, width, bias=False)
        self.attn_output = nn.Linear(width, width, bias=False)
        self.ffn_norm = nn.RMSNorm(width, eps=shape.norm_epsilon)
        self.ffn_gate = nn.Linear(width, inner, bias=False)
        self.ffn_up = nn.Linear(width, inner, bias=False)
        self.ffn_down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        """x is (batch, length, width)."""
        batch, length, width = x.shape
        normed = self.attn_norm(x)
        q, k, v = (part(normed).view(batch, length, self.heads, -1) for part in (self.attn_q, self.attn_k, self.attn_v))
        q, k, v = (one.transpose(1, 2) for one in (rotate(q, turns), rotate(k, turns), v))
        mixed = causal_attention(q, k, v)
        x = x + self.attn_output(mixed.transpose(1, 2).reshape(batch, length, width))
        normed = self.ffn_norm(x)
        hidden: Tensor = self.ffn_down(functional.silu(self.ffn_gate(normed)) * self.ffn_up(normed))
        return x + hidden


EMBEDDING_SCALE = 0.05


@torch.no_grad()  # type: ignore[untyped-decorator]
def plant_induction(network: "Network") -> None:
    """Sets half of the heads of the first two layers so that the network can copy before it is trained.

    In layer 0 they attend to the previous token and write a projection of it; in layer 1 they look for the token whose
    predecessor is like the current one, and write that token: an induction circuit (C. Olsson et al., "In-context
    Learning and Induction Heads", 2022). Left to itself training finds it only after millions of tokens. The first
    embedding dimension is a constant, on which the previous-token heads are built.
    """
    shape = network.shape
    size = shape.width // shape.heads
    turning = round(size // 2 * shape.rotating_share)
    network.token_embd.weight[:, 0] = 4 * EMBEDDING_SCALE
    angles = shape.rope_base ** (-torch.arange(4, dtype=torch.float32) / (size // 2))
    first, second = network.blk[0], network.blk[1]
    assert isinstance(first, Block) and isinstance(second, Block)
    bases = torch.linalg.qr(torch.randn(3, shape.width - 1, shape.width - 1))[0]
    for head in range(shape.heads // 2):
        rows = slice(head * size, (head + 1) * size)
        seen, written, copied = (functional.pad(basis[rows], (1, 0)) for basis in bases)
        query, key = torch.zeros(size), torch.zeros(size)
        query[0:8:2], key[0:8:2], key[1:8:2] = 1.5, 1.5 * angles.cos(), 1.5 * angles.sin()
        for weight, column in ((first.attn_q.weight, query), (first.attn_k.weight, key)):
            weight[rows] = 0
            weight[rows, 0] = column
        first.attn_v.weight[rows] = seen
        first.attn_output.weight[:, rows] = written.T * 1.5 * EMBEDDING_SCALE
        still = slice(head * size + 2 * turning, (head + 1) * size)
        second.attn_q.weight[rows], second.attn_k.weight[rows] = 0, 0
        second.attn_q.weight[still] = seen[2 * turning :] * 2.5
        second.attn_k.weight[still] = written[2 * turning :] * 2.5
        second.attn_v.weight[rows] = copied
        second.attn_output.weight[:, rows] = copied.T * 8 * EMBEDDING_SCALE


class Network(nn.Module):  # type: ignore[misc]
    """The whole decoder. Parameter names are those of GGUF: `blk.N.attn_q.weight`, `token_embd.weight`, ..."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.width)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.width, eps=shape.norm_epsilon)
        self.register_buffer("turns", rope_table(shape, shape.context), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                scale = EMBEDDING_SCALE if name.startswith("token_embd") else parameter.shape[1] ** -0.5 * 0.6
                if name.endswith(("attn_output.weight", "ffn_down.weight")):
                    scale *= (2 * shape.layers) ** -0.5
                nn.init.normal_(parameter, std=scale)
        plant_induction(self)

    def hidden(self, tokens: Tensor) -> Tensor:
        """The normed last hidden state, (batch, length, width), of tokens (batch, length)."""
        turns = self.turns[: tokens.shape[1]]
        x = self.token_embd(tokens)
        for block in self.blk:
            x = block(x, turns)
        normed: Tensor = self.output_norm(x)
        return normed

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (..., vocabulary) of hidden states (..., width)."""
        return functional.linear(hidden, self.token_embd.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, length, vocabulary) of tokens (batch, length)."""
        return self.logits(self.hidden(tokens))
