"""The weights that training starts from: random, but for the habit of copying, which is laid in.

A story carries its names and things from sentence to sentence, and a list is read back: both need heads that find an
earlier word and pass it on. Such heads form by chance, late, and in a model of this size perhaps never within the steps
that two cores can afford. Here the first block's heads start out looking back by one, two, three and five places, and
the second block's pass on what they look at in the form in which the output matrix reads it; one of them starts out
looking at what followed the earlier occurrences of the current token. Nothing holds the weights there: training may
keep, sharpen or forget it.
"""

import jax
import jax.numpy as jnp

import model

EMBEDDING_SIZE = 0.5
# Every embedding has this much of one common direction, by which a head can look at a place whatever stands there.
COMMON = 4.0
LOOK_BACK = (1, 2, 3, 5)   # places, one for each head of the first block
# Positions are told apart by the fast pairs of the rotation, meanings across a distance by the slow ones.
FAST_PAIRS = 6
FAINT = 0.05
NOTE = 0.4                # how much of what it sees a head of the first block adds to the stream
PASS_ON = 2.5              # the same for the second
SHARPNESS = 4.0            # of the head that looks for the current token's earlier occurrences
OUTPUT_SIZE = 0.2


def _orthogonal(key, n):
    return jnp.linalg.qr(jax.random.normal(key, (n, n), jnp.float32))[0]


def random_weights(shape, key):
    """Normal with variance 1/rows; the two matrices that write to the stream are zero, all gains one."""
    params = {}
    for name, (rows, columns) in model.block_matrices(shape).items():
        key, sub = jax.random.split(key)
        w = jax.random.normal(sub, (shape.layers, rows, columns), jnp.float32) * rows**-0.5
        params[name] = jnp.zeros_like(w) if name in ("attn_output", "ffn_down") else w
    params["attn_norm"] = jnp.ones((shape.layers, shape.width), jnp.float32)
    params["ffn_norm"] = jnp.ones((shape.layers, shape.width), jnp.float32)
    params["output_norm"] = jnp.ones((shape.width,), jnp.float32)
    return params


def _heads(shape):
    """(head, its columns, its key head, that one's columns)."""
    d, group = shape.head_dim, shape.heads // shape.kv_heads
    for head in range(shape.heads):
        yield head, slice(head * d, (head + 1) * d), head // group, slice(head // group * d, (head // group + 1) * d)


def _look_back(shape, params, common, seen, written):
    """The first block: head h looks LOOK_BACK[h] places back, and writes a sketch of what it sees to its own part of
    the stream."""
    half = shape.head_dim // 2
    angle = shape.rope_base ** (-jnp.arange(half) / half)
    pairs = jnp.where(jnp.arange(half) < FAST_PAIRS, 1.0, FAINT)
    q, k, v, o = (params[name] for name in ("attn_q", "attn_k", "attn_v", "attn_output"))
    for head, own, _, shared in _heads(shape):
        # A key turned by its place meets a query turned by its own: they agree where the difference is the look back.
        turn = LOOK_BACK[head % len(LOOK_BACK)] * angle
        key = jnp.outer(common, jnp.concatenate([pairs, jnp.zeros(half)]))
        query = jnp.outer(common, jnp.concatenate([pairs * jnp.cos(turn), -pairs * jnp.sin(turn)]))
        k = k.at[0, :, shared].set(0.1 * params["attn_k"][0, :, shared] + key)
        q = q.at[0, :, own].set(0.1 * q[0, :, own] + query)
        v = v.at[0, :, shared].set(seen[:, shared])
        o = o.at[0, own].set(NOTE * written[:, own].T)
    return params | {"attn_q": q, "attn_k": k, "attn_v": v, "attn_output": o}


def _pass_on(shape, params, seen, written, spoken):
    """The second block: every head passes on the token it looks at. The last looks where the token before is the
    current one, by the sketch that the first block's first head wrote."""
    half, last = shape.head_dim // 2, None
    slow = jnp.tile(jnp.arange(half) >= half // 2, 2)
    q, k, v, o = (params[name] for name in ("attn_q", "attn_k", "attn_v", "attn_output"))
    for _, own, _, shared in _heads(shape):
        v = v.at[1, :, shared].set(seen[:, shared])
        o = o.at[1, own].set(PASS_ON * (seen[:, shared].T @ spoken))
        last = own, shared
    first = slice(0, shape.head_dim)
    k = k.at[1, :, last[1]].set(jnp.where(slow, SHARPNESS * written[:, first], 0.1 * k[1, :, last[1]]))
    q = q.at[1, :, last[0]].set(jnp.where(slow, SHARPNESS * seen[:, first], 0.1 * q[1, :, last[0]]))
    return params | {"attn_q": q, "attn_k": k, "attn_v": v, "attn_output": o}


def weights(shape, seed):
    """The first weights of a model of two blocks or more. The output matrix is a turned copy of the embedding, so that
    a token that is passed on raises its own probability, and a token does not by itself foretell its repetition."""
    keys = jax.random.split(jax.random.PRNGKey(seed), 6)
    params = random_weights(shape, keys[0])
    common = _orthogonal(keys[1], shape.width)[:, 0]
    seen, written, spoken = (_orthogonal(key, shape.width) for key in keys[2:5])
    content = jax.random.normal(keys[5], (shape.vocab, shape.width), jnp.float32) * EMBEDDING_SIZE
    content = content - jnp.outer(content @ common, common)
    params |= {"token_embd": content + COMMON * common, "output": content @ spoken * OUTPUT_SIZE}
    params = _look_back(shape, params, common, seen, written)
    return _pass_on(shape, params, seen, written, spoken)
