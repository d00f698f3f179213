"""What the slow twins are made of: one token, one number at a time, in Python floats. Imports nothing of the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, pi, sqrt, tanh

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


def sigmoid(u: float) -> float:
    """σ(u), written so that exp never overflows."""
    return 1 / (1 + exp(-u)) if u >= 0 else exp(u) / (1 + exp(u))


def softmax(scores: Sequence[float]) -> list[float]:
    """Of a list of scores."""
    top = max(scores)
    powers = [exp(score - top) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]


def vector_times(x: Array, weight: Array) -> Array:
    """x·W for one token: x (D,), W (D, E)."""
    return np.array([sum(float(a) * float(b) for a, b in zip(x, column, strict=True)) for column in weight.T])


def dot(a: Array, b: Array) -> float:
    """⟨a, b⟩."""
    return sum(float(one) * float(other) for one, other in zip(a, b, strict=True))


def averages(k: Sequence[Array], v: Sequence[Array]) -> Array:
    """y_t = Σ_{i≤t} e^{k_i} v_i / Σ_{i≤t} e^{k_i} for each channel, k clipped to ±20; k, v T tokens of (D,)."""
    T, D = len(k), len(k[0])
    y = np.zeros((T, D))
    for channel in range(D):
        clipped = [min(max(float(token[channel]), -20.0), 20.0) for token in k]
        powers = [exp(value) for value in clipped]
        for t in range(T):
            above = sum(powers[i] * float(v[i][channel]) for i in range(t + 1))
            y[t, channel] = above / sum(powers[: t + 1])
    return y


def averages_backward(dy: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """(dk, dv) of `averages`, every pair of times on its own; all (T, D).

    With w = e^k: ∂y_t/∂v_i = w_i / Σ w and ∂y_t/∂k_i = w_i (v_i - y_t) / Σ w for i ≤ t; none through the clip.
    """
    T, D = k.shape
    y, dk, dv = averages(k, v), np.zeros((T, D)), np.zeros((T, D))
    for channel in range(D):
        powers = [exp(min(max(float(value), -20.0), 20.0)) for value in k[:, channel]]
        for t in range(T):
            total = sum(powers[: t + 1])
            for i in range(t + 1):
                share = float(dy[t, channel]) * powers[i] / total
                dv[i, channel] += share
                if abs(k[i, channel]) < 20.0:
                    dk[i, channel] += share * (float(v[i, channel]) - float(y[t, channel]))
    return dk, dv
