"""Slow, obvious twins of the engine in float64: one token, one head, one number at a time.

Written from the equations alone; nothing here imports the engine. `p` is a mapping of the weights by the names of the
file format, `config` anything with the attributes of a configuration. x, y: (T, D). No batches: one sequence at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import cos, exp, log, pi, sqrt, tanh
from typing import Any

import numpy as np

Array = np.ndarray
Weights = Mapping[str, Array]


def layer_norm(x: Array, gamma: Array, beta: Array) -> Array:
    """One token (D,)."""
    D = len(x)
    mean = sum(float(value) for value in x) / D
    variance = sum((float(value) - mean) ** 2 for value in x) / D
    return np.array([(float(x[i]) - mean) / sqrt(variance + 1e-5) * float(gamma[i]) + float(beta[i]) for i in range(D)])


def gelu(u: float) -> float:
    """The tanh form."""
    return 0.5 * u * (1 + tanh(sqrt(2 / pi) * (u + 0.044715 * u**3)))


def softmax(scores: Sequence[float]) -> list[float]:
    """Of a list of scores."""
    top = max(scores)
    powers = [exp(score - top) for score in scores]
    return [power / sum(powers) for power in powers]


def vector_times(x: Array, weight: Array) -> Array:
    """x·W for one token: x (D,), W (D, E)."""
    return np.array([sum(float(a) * float(b) for a, b in zip(x, column, strict=True)) for column in weight.T])


def heads(p: Weights, x: Array, h: int, temperature: float) -> Array:
    """What each head says for each token, (T, h, d): an average of the values it has seen so far."""
    T, H = len(x), p["q_weight"].shape[1]
    d = H // h
    q, k, v = ([vector_times(token, p[f"{name}_weight"]) for token in x] for name in "qkv")
    out = np.zeros((T, h, d))
    for t in range(T):
        for j in range(h):
            own = slice(j * d, (j + 1) * d)
            scores = [float(np.dot(q[t][own], k[i][own])) / (sqrt(d) * temperature) for i in range(t + 1)]
            for i, weight in enumerate(softmax(scores)):
                out[t, j] += weight * v[i][own]
    return out


def mha(p: Weights, x: Array, config: Any) -> Array:
    """Multi-head attention."""
    spoken = heads(p, x, config.n_heads, config.r_temp)
    return np.array([vector_times(np.concatenate(list(each)), p["c_weight"]) + p["c_bias"] for each in spoken])


def moh(p: Weights, x: Array, config: Any) -> Array:
    """Mixture of heads."""
    spoken = heads(p, x, config.n_heads, config.r_temp)
    y = []
    for t, token in enumerate(x):
        gates = softmax([score / config.r_temp for score in vector_times(token, p["g_weight"])])
        mixed = sum(gate * spoken[t, j] for j, gate in enumerate(gates))
        y.append(vector_times(mixed, p["m_weight"]) + p["m_bias"])
    return np.array(y)


def two_layers(token: Array, up: Array, up_bias: Array, down: Array, down_bias: Array) -> Array:
    """GELU between two linear layers, for one token."""
    hidden = np.array([gelu(float(u)) for u in vector_times(token, up) + up_bias])
    return vector_times(hidden, down) + down_bias


def mlp(p: Weights, x: Array, config: Any) -> Array:
    """Two-layer network."""
    return np.array([two_layers(token, p["proj_up_weight"], p["proj_up_bias"], p["proj_dn_weight"], p["proj_dn_bias"])
                     for token in x])


def moe(p: Weights, x: Array, config: Any) -> Array:
    """Dense mixture of experts."""
    y = np.zeros_like(x)
    for t, token in enumerate(x):
        for e, gate in enumerate(softmax(list(vector_times(token, p["g_weight"])))):
            parts = (p[f"expert_{e}_{part}"] for part in ("up_weight", "up_bias", "dn_weight", "dn_bias"))
            y[t] += gate * two_layers(token, *parts)
    return y


VARIANTS: dict[str, Callable[[Weights, Array, Any], Array]] = {"mha": mha, "moh": moh, "mlp": mlp, "moe": moe}


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

    def __init__(self, size: int, b1: float = 0.9, b2: float = 0.99, eps: float = 1e-8):
        self.b1, self.b2, self.eps = b1, b2, eps
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
            new.append(w - rate * (m_hat / (sqrt(v_hat) + self.eps) + decays[i] * w))
        return new


def cosine(peak: float, warm: int, step: int, steps: int) -> float:
    """The learning rate of step `step` (from 0): a straight line up to `peak`, then half a cosine down to a tenth."""
    if step < warm:
        return peak * (step + 1) / warm
    turn = pi * (step - warm) / (steps - warm)
    return 0.1 * peak + 0.9 * peak * (1 + cos(turn)) / 2


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
