"""Muon for the block matrices, AdamW for everything else.

Muon replaces the momentum of a matrix by the nearest orthogonal one before the step, so that every direction of the
matrix learns at the same pace; a small model then needs about half of the tokens. The orthogonal factor comes from
five Newton-Schulz iterations x <- a x + (b x x^T + c (x x^T)^2) x, whose coefficients push all singular values into
about [0.7, 1.2]; exactness is not needed.
"""

import jax
import jax.numpy as jnp

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
MUON_MOMENTUM = 0.95
ADAM_BETAS = (0.9, 0.95)
ADAM_EPS = 1e-10


def orthogonalize(m):
    """Works on a stack of matrices, [layers, rows, cols]; multiplies from the shorter side."""
    a, b, c = NEWTON_SCHULZ
    tall = m.shape[1] > m.shape[2]
    x = m.transpose(0, 2, 1) if tall else m
    x = x / (jnp.sqrt(jnp.sum(x * x, axis=(1, 2), keepdims=True)) + 1e-7)
    for _ in range(5):
        xxt = x @ x.transpose(0, 2, 1)
        x = a * x + (b * xxt + c * (xxt @ xxt)) @ x
    return x.transpose(0, 2, 1) if tall else x


def is_muon(name, p):
    return p.ndim == 3


def init(params):
    state = {"first": jax.tree.map(jnp.zeros_like, params)}
    state["second"] = {n: jnp.zeros_like(p) for n, p in params.items() if not is_muon(n, p)}
    return state


def step(params, grads, state, count, muon_rate, adam_rate, decay):
    """One update. `count` starts at 1. Rates are this step's, after the schedule. Returns (params, state)."""
    first, second, out = {}, {}, {}
    for name, p in params.items():
        g = grads[name]
        if is_muon(name, p):
            first[name] = MUON_MOMENTUM * state["first"][name] + (1 - MUON_MOMENTUM) * g
            nesterov = MUON_MOMENTUM * first[name] + (1 - MUON_MOMENTUM) * g
            # A matrix of r x c gets an update whose entries have the size of Adam's: 0.2 * sqrt(max(r, c)).
            scale = 0.2 * max(p.shape[1:]) ** 0.5
            out[name] = p * (1 - muon_rate * decay) - muon_rate * scale * orthogonalize(nesterov)
        else:
            b1, b2 = ADAM_BETAS
            first[name] = b1 * state["first"][name] + (1 - b1) * g
            second[name] = b2 * state["second"][name] + (1 - b2) * g * g
            m = first[name] / (1 - b1**count)
            v = second[name] / (1 - b2**count)
            kept = 1 - adam_rate * decay if p.ndim == 2 and name == "output" else 1.0
            out[name] = p * kept - adam_rate * m / (jnp.sqrt(v) + ADAM_EPS)
    return out, {"first": first, "second": second}
