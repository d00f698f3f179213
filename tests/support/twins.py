"""Slow, obvious twins of the engine in float64: one token, one head, one number at a time.

Written from the equations alone; nothing here imports the engine. `p` is a mapping of the weights by the names of the
file format, `config` anything with the attributes of a configuration. x, y: (T, D). No batches: one sequence at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, log, pi, sqrt
from typing import Any

import numpy as np
from twins_attention import ATTENTIONS
from twins_network import NETWORKS
from twins_parts import Array, Weights, averages, averages_backward, gelu, layer_norm, softmax, vector_times

__all__ = ["ATTENTIONS", "NETWORKS", "VARIANTS", "averages", "averages_backward", "gelu", "layer_norm", "softmax"]

VARIANTS = {**ATTENTIONS, **NETWORKS}


def below(p: Weights, prefix: str) -> dict[str, Array]:
    """The weights whose names begin with `prefix`, without it."""
    own = {name.removeprefix(prefix): value for name, value in p.items() if name.startswith(prefix)}
    return {name: np.asarray(value, np.float64) for name, value in own.items()}


def block(p: Weights, x: Array, config: Any) -> Array:
    """One block; `p` without the prefix block_0_."""
    def norm(n: int, y: Array) -> Array:
        return np.array([layer_norm(token, p[f"ln{n}_gamma"], p[f"ln{n}_beta"]) for token in y])

    def attention(y: Array) -> Array:
        return VARIANTS[config.c_attention](below(p, config.c_attention + "_"), y, config)

    def network(y: Array) -> Array:
        return VARIANTS[config.c_network](below(p, config.c_network + "_"), y, config)

    if config.c_sequence == "pre":
        a = x + attention(norm(1, x))
        return a + network(norm(2, a))
    u = norm(1, x + attention(x))
    return norm(2, u + network(u))


def logits(params: Weights, ids: Sequence[int], config: Any) -> Array:
    """The whole model: (T, V)."""
    p = below(params, "")
    x = np.array([p["wte_weight"][token] + p["wpe_weight"][place] for place, token in enumerate(ids)])
    for i in range(config.n_layers):
        x = block(below(p, f"block_{i}_"), x, config)
    x = [layer_norm(token, p["ln_f_gamma"], p["ln_f_beta"]) for token in x]
    return np.array([vector_times(token, p["lm_head_weight"]) + p["lm_head_bias"] for token in x])


def cross_entropy(scores: Array, targets: Sequence[int]) -> list[float]:
    """-log p(target) of every row."""
    return [-log(softmax([float(s) for s in row])[target]) for row, target in zip(scores, targets, strict=True)]


def attention_backward(do: Array, q: Array, k: Array, v: Array) -> tuple[Array, Array, Array, Array]:
    """(o, dq, dk, dv) of o = softmax(q·kᵀ + causal)·v by the whole T × T matrix, for one head; all (T, d)."""
    T = len(q)
    scores = np.where(np.tri(T, dtype=bool), q @ k.T, -np.inf)
    powers = np.exp(scores - scores.max(1, keepdims=True))
    P = powers / powers.sum(1, keepdims=True)
    dP = do @ v.T
    dS = P * (dP - (dP * P).sum(1, keepdims=True))
    return P @ v, dS @ k, dS.T @ q, P.T @ do


class AdamW:
    """The textbook: one number at a time, with bias correction and decoupled decay. numbers: any list of floats."""

    def __init__(self, size: int, b1: float = 0.9, b2: float = 0.99, eps: float = 1e-8, nesterov: bool = False):
        self.b1, self.b2, self.eps, self.nesterov = b1, b2, eps, nesterov
        self.m, self.v, self.t = [0.0] * size, [0.0] * size, 0

    def step(self, weights: Sequence[float], gradient: Sequence[float], rate: float,
             decays: Sequence[float]) -> list[float]:
        """The new weights; `decays` is the decay of each."""
        self.t += 1
        new = []
        for i, (w, g) in enumerate(zip(weights, gradient, strict=True)):
            self.m[i] = self.b1 * self.m[i] + (1 - self.b1) * g
            self.v[i] = self.b2 * self.v[i] + (1 - self.b2) * g * g
            m_hat, v_hat = self.m[i] / (1 - self.b1**self.t), self.v[i] / (1 - self.b2**self.t)
            if self.nesterov:  # the mean of one more gradient like this one
                m_hat = (self.b1 * self.m[i] + (1 - self.b1) * g) / (1 - self.b1 ** (self.t + 1))
            new.append(w - rate * (m_hat / (sqrt(v_hat) + self.eps) + decays[i] * w))
        return new


def cosine(peak: float, warm: int, step: int, steps: int) -> float:
    """The learning rate of step `step` (from 0): a straight line up to `peak`, then half a cosine down to a tenth."""
    if step < warm:
        return peak * (step + 1) / warm
    turn = pi * (step - warm) / (steps - warm)
    return 0.1 * peak + 0.9 * peak * (1 + cos(turn)) / 2


def linear(peak: float, warm: int, step: int, steps: int, cooldown: float) -> float:
    """A straight line up to `peak`, a plateau, and a straight line to 0 over the share `cooldown` of what is left."""
    if step < warm:
        return peak * (step + 1) / warm
    falls = cooldown * (steps - warm)
    return peak if steps - step >= falls else peak * (steps - step) / falls


def continuation_contexts(prompt: Sequence[int], made: Sequence[int], n_ctx: int, cache: bool) -> list[list[int]]:
    """For every made token, the tokens that the model had before it when it was drawn.

    With a cache a full context is cut to its last n_ctx/2 tokens; without, the last n_ctx tokens are taken each time.
    """
    context = list(prompt or [0])[-n_ctx:]
    found = []
    for token in made:
        found.append(list(context))
        if not cache:
            context = [*context, token][-n_ctx:]
        elif len(context) == n_ctx:
            context = [*context, token][-max(1, n_ctx // 2) :]
        else:
            context = [*context, token]
    return found
