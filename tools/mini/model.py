"""The transformer of shoal-mini and shoal-nano, as one pure function of its weights.

It is the "llama" architecture exactly as libllama evaluates it: RMS norm before each half, grouped-query attention
with rotary positions, a gated SiLU feed-forward, no biases. Weights of the blocks
are stacked along a first axis of `layers`, so that the optimizer treats all blocks of a kind in one operation.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp


@dataclass(frozen=True)
class Shape:
    """Sizes of one model. Every row length is a multiple of 32, the block of Q8_0."""

    layers: int
    width: int = 256
    heads: int = 4
    kv_heads: int = 2
    ffn: int = 768
    vocab: int = 4096
    context: int = 1024
    rope_base: float = 10000.0
    norm_eps: float = 1e-5

    @property
    def head_dim(self):
        return self.width // self.heads


MINI = Shape(layers=8)
NANO = Shape(layers=2)
SHAPES = {"mini": MINI, "nano": NANO}

# Name of each block matrix: (rows in, columns out). `x @ w` is how they are used; GGUF stores the transpose.
def block_matrices(s):
    kv = s.kv_heads * s.head_dim
    return {
        "attn_q": (s.width, s.width),
        "attn_k": (s.width, kv),
        "attn_v": (s.width, kv),
        "attn_output": (s.width, s.width),
        "ffn_gate": (s.width, s.ffn),
        "ffn_up": (s.width, s.ffn),
        "ffn_down": (s.ffn, s.width),
    }


def grow(small, large, arrays):
    """A deeper model that computes exactly what the shallow one does: each block is followed by copies of itself whose
    two outputs into the residual are zero. `arrays` are the weights, or any of the optimizer's tables of that form."""
    copies = large.layers // small.layers
    grown = {}
    for name, p in arrays.items():
        per_block = p.ndim == 3 or name in ("attn_norm", "ffn_norm")
        p = jnp.repeat(jnp.asarray(p), copies, axis=0) if per_block else jnp.asarray(p)
        if name in ("attn_output", "ffn_down"):
            p = p * (jnp.arange(large.layers) % copies == 0)[:, None, None]
        grown[name] = p
    return grown


def parameter_count(params):
    return sum(int(p.size) for p in params.values())


def rms_norm(x, gain, eps):
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + eps) * gain


def rotate(x, cos, sin):
    """Turns each pair (i, i + half) of the last axis by its position's angle. x is [batch, time, heads, head_dim].

    libllama pairs neighbours (2i, 2i+1); halves are much faster here, and gguf.py reorders the rows on export."""
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def attention(s, q, k, v, mask):
    """Grouped-query attention; query heads that share a key head are neighbours, as in libllama."""
    b, t = q.shape[:2]
    group = s.heads // s.kv_heads
    # [batch, kv_head, group * time, dim]: one larger product per key head instead of one per query head.
    q = q.reshape(b, t, s.kv_heads, group, s.head_dim).transpose(0, 2, 3, 1, 4)
    q = q.reshape(b, s.kv_heads, group * t, s.head_dim) * s.head_dim**-0.5
    k = k.transpose(0, 2, 3, 1)
    v = v.transpose(0, 2, 1, 3)
    scores = (q @ k).reshape(b, s.kv_heads, group, t, t) + mask[:, None, None]
    weights = jax.nn.softmax(scores, axis=-1).reshape(b, s.kv_heads, group * t, t)
    out = (weights @ v).reshape(b, s.kv_heads, group, t, s.head_dim)
    return out.transpose(0, 3, 1, 2, 4).reshape(b, t, s.width)


def hidden(s, params, tokens, segments, positions):
    """The normed hidden state after the last block, [batch, time, width].

    `segments` numbers the conversation that each token belongs to: tokens see only earlier ones of their own.
    """
    t = tokens.shape[1]
    freq = s.rope_base ** (-jnp.arange(0, s.head_dim, 2, dtype=jnp.float32) / s.head_dim)
    angle = positions[..., None].astype(jnp.float32) * freq
    cos, sin = jnp.cos(angle)[:, :, None], jnp.sin(angle)[:, :, None]
    allowed = jnp.tril(jnp.ones((t, t), bool)) & (segments[:, :, None] == segments[:, None, :])
    mask = jnp.where(allowed, 0.0, -1e9)
    x = params["token_embd"][tokens]
    for i in range(s.layers):
        w = {name: params[name][i] for name in block_matrices(s)}
        h = rms_norm(x, params["attn_norm"][i], s.norm_eps)
        q = rotate((h @ w["attn_q"]).reshape(*h.shape[:2], s.heads, s.head_dim), cos, sin)
        k = rotate((h @ w["attn_k"]).reshape(*h.shape[:2], s.kv_heads, s.head_dim), cos, sin)
        v = (h @ w["attn_v"]).reshape(*h.shape[:2], s.kv_heads, s.head_dim)
        x = x + attention(s, q, k, v, mask) @ w["attn_output"]
        h = rms_norm(x, params["ffn_norm"][i], s.norm_eps)
        x = x + (jax.nn.silu(h @ w["ffn_gate"]) * (h @ w["ffn_up"])) @ w["ffn_down"]
    return rms_norm(x, params["output_norm"], s.norm_eps)


def logits(s, params, tokens, segments=None, positions=None):
    b, t = tokens.shape
    segments = jnp.zeros((b, t), jnp.int32) if segments is None else segments
    positions = jnp.broadcast_to(jnp.arange(t), (b, t)) if positions is None else positions
    return hidden(s, params, tokens, segments, positions) @ params["output"].T


def loss(s, params, batch):
    """Weighted cross entropy, summed and times `scale`. Only the `picked` places (indices into batch*time) go through
    the output head, since about half of the tokens are prompts, which are read and not learnt."""
    h = hidden(s, params, batch["tokens"], batch["segments"], batch["positions"])
    h = h.reshape(-1, s.width)[batch["picked"]]
    z = h @ params["output"].T
    gold = jnp.take_along_axis(z, batch["targets"][:, None], axis=1)[:, 0]
    return jnp.sum((jax.nn.logsumexp(z, axis=-1) - gold) * batch["weights"]) * batch["scale"]
