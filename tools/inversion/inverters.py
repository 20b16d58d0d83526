"""From states to tokens: three inverters, each a function of the states that gives a score to every token.

  nearest   learns nothing: the row of the embedding that points the same way
  linear    a matrix that takes a state back to the space of the embedding
  context   besides, a network of one hidden layer that sees two states on either side

The last two are trained by Adam to give the true token; their scores are products with the model's own embedding, so
that they also know tokens that they were not trained on."""

import jax
import jax.numpy as jnp
import numpy as np

SIDES = 2         # states before and behind that `context` sees
HIDDEN = 512
BATCH = 512
RATE = 2e-3
SEED = 7
TOP = 64          # tokens that ranked() gives


def scaled(states, like):
    """With the mean and spread, number by number, of the states that are learnt from."""
    return (states - like.mean(axis=0)) / (like.std(axis=0) + 1e-6)


def with_context(states, lengths):
    """Each row beside those before and behind it, zeros beyond the ends of its conversation."""
    parts, at = [], 0
    for length in lengths:
        own = states[at:at + length]
        padded = np.pad(own, ((SIDES, SIDES), (0, 0)))
        parts.append(np.concatenate([padded[shift:shift + length] for shift in range(2 * SIDES + 1)], axis=1))
        at += length
    return np.concatenate(parts).astype(np.float32)


def unit(rows):
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-9)


def nearest(states, embedding):
    return lambda part: unit(states[part]) @ unit(embedding).T


def start(kind, width, seed):
    keys = jax.random.split(jax.random.PRNGKey(seed), 2)
    weights = {"matrix": jnp.eye(width), "shift": jnp.zeros(width)}
    if kind == "context":
        wide = (2 * SIDES + 1) * width
        weights |= {"in": jax.random.normal(keys[0], (wide, HIDDEN)) / wide ** 0.5, "bend": jnp.zeros(HIDDEN),
                    "out": jax.random.normal(keys[1], (HIDDEN, width)) * 0.1 / HIDDEN ** 0.5}
    return weights


def scores(weights, states, table):
    width = table.shape[1]
    at = states.shape[1] // 2 - width // 2  # the state itself is the middle one
    back = states[:, at:at + width] @ weights["matrix"] + weights["shift"]
    if "in" in weights:
        back = back + jax.nn.gelu(states @ weights["in"] + weights["bend"]) @ weights["out"]
    return back @ table.T


def train(kind, states, tokens, table, epochs):
    """The weights. `table` is the embedding, each number of it scaled to a spread of one."""
    weights = start(kind, table.shape[1], SEED)
    moments = jax.tree.map(jnp.zeros_like, (weights, weights))
    steps = epochs * (len(tokens) // BATCH)

    def loss(w, x, y):
        return -jnp.take_along_axis(jax.nn.log_softmax(scores(w, x, table)), y[:, None], 1).mean()

    @jax.jit
    def step(w, m, x, y, number):
        slope = jax.grad(loss)(w, x, y)
        first = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, m[0], slope)
        second = jax.tree.map(lambda a, g: 0.99 * a + 0.01 * g * g, m[1], slope)
        rate = RATE * 0.5 * (1 + jnp.cos(jnp.pi * number / steps))
        a, b = 1 - 0.9 ** (number + 1), 1 - 0.99 ** (number + 1)
        w = jax.tree.map(lambda p, f, s: p - rate * (f / a) / (jnp.sqrt(s / b) + 1e-8), w, first, second)
        return w, (first, second)

    order, number = np.random.default_rng(SEED), 0
    for _ in range(epochs):
        mixed = order.permutation(len(tokens))
        for at in range(0, len(mixed) - BATCH + 1, BATCH):
            chosen = mixed[at:at + BATCH]
            weights, moments = step(weights, moments, states[chosen], tokens[chosen], number)
            number += 1
    return weights


def ranked(score_of, count):
    """i32 [count, TOP]: the likeliest tokens of each row, the best first."""
    out = []
    for at in range(0, count, BATCH):
        given = np.asarray(score_of(slice(at, min(at + BATCH, count))))
        best = np.argpartition(-given, TOP, axis=1)[:, :TOP]
        out.append(np.take_along_axis(best, np.argsort(-np.take_along_axis(given, best, 1), axis=1), 1))
    return np.concatenate(out).astype(np.int32)
