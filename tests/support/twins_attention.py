"""Slow twins of the attentions: loops over tokens and heads. Written from the equations alone.

`p` holds the layer's weights by the names of the file format, without the prefix; `config` is anything with the
attributes of a configuration. x, y: (T, D), one sequence at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

import numpy as np
from twins_parts import Array, Weights, averages, dot, layer_norm, sigmoid, softmax, vector_times


def listen(query: Array, keys: Sequence[Array], values: Sequence[Array], temperature: float) -> Array:
    """What one head hears: the average of the values under softmax(⟨query, key⟩ / (√d·τ)). All (d,)."""
    scores = [dot(query, key) / (sqrt(len(query)) * temperature) for key in keys]
    heard = np.zeros(len(query))
    for weight, value in zip(softmax(scores), values, strict=True):
        heard += weight * value
    return heard


def projected(p: Weights, x: Array, name: str, heads: int) -> list[list[Array]]:
    """x·W cut into heads: for each token, for each head, (d,)."""
    products = [vector_times(token, p[f"{name}_weight"]) for token in x]
    d = len(products[0]) // heads
    return [[product[j * d : (j + 1) * d] for j in range(heads)] for product in products]


def heads_of(p: Weights, x: Array, h: int, temperature: float) -> list[list[Array]]:
    """What each head says for each token: it averages over the tokens so far."""
    q, k, v = (projected(p, x, name, h) for name in "qkv")
    return [[listen(q[t][j], [k[i][j] for i in range(t + 1)], [v[i][j] for i in range(t + 1)], temperature)
             for j in range(h)] for t in range(len(x))]


def joined(p: Weights, spoken: list[list[Array]]) -> Array:
    """concat(heads)·Wc + bc for every token."""
    return np.array([vector_times(np.concatenate(heads), p["c_weight"]) + p["c_bias"] for heads in spoken])


def mha(p: Weights, x: Array, config: Any) -> Array:
    """Multi-head attention."""
    return joined(p, heads_of(p, x, config.n_heads, config.r_temp))


def gqa(p: Weights, x: Array, config: Any) -> Array:
    """Grouped queries: query head j reads the keys and values of head ⌊j·k/h⌋."""
    h = config.n_heads
    shared = config.n_kv_heads or max(1, h // 4)
    q, k, v = projected(p, x, "q", h), projected(p, x, "k", shared), projected(p, x, "v", shared)
    spoken = []
    for t in range(len(x)):
        spoken.append([])
        for j in range(h):
            i = j * shared // h
            keys, values = [k[past][i] for past in range(t + 1)], [v[past][i] for past in range(t + 1)]
            spoken[t].append(listen(q[t][j], keys, values, config.r_temp))
    return joined(p, spoken)


def moh(p: Weights, x: Array, config: Any) -> Array:
    """Mixture of heads: their softmax-weighted sum is projected."""
    y = []
    for token, heads in zip(x, heads_of(p, x, config.n_heads, config.r_temp), strict=True):
        gates = softmax([score / config.r_temp for score in vector_times(token, p["g_weight"])])
        mixed = sum(gate * head for gate, head in zip(gates, heads, strict=True))
        y.append(vector_times(mixed, p["m_weight"]) + p["m_bias"])
    return np.array(y)


def swh(p: Weights, x: Array, config: Any) -> Array:
    """Switched heads: the head with the highest gate alone is projected, with weight 1."""
    y = []
    for token, heads in zip(x, heads_of(p, x, config.n_heads, config.r_temp), strict=True):
        gates = [score / config.r_temp for score in vector_times(token, p["g_weight"])]
        chosen = gates.index(max(gates))
        y.append(vector_times(heads[chosen], p["m_weight"]) + p["m_bias"])
    return np.array(y)


def rfa(p: Weights, x: Array, config: Any) -> Array:
    """The last W tokens, and an exponential average of the keys and values that have left them."""
    h, W = config.n_heads, config.s_window
    q, k, v = (projected(p, x, name, h) for name in "qkv")
    spoken: list[list[Array]] = [[] for _ in x]
    for j in range(h):
        kept = sigmoid(float(p["memory_decay"][j]))
        key, value = np.zeros_like(k[0][j]), np.zeros_like(v[0][j])
        for t in range(len(x)):
            keys = [k[i][j] for i in range(len(x)) if t - W < i <= t]
            values = [v[i][j] for i in range(len(x)) if t - W < i <= t]
            if t - W >= 0:
                key = kept * key + (1 - kept) * k[t - W][j]
                value = kept * value + (1 - kept) * v[t - W][j]
                keys, values = [*keys, key], [*values, value]
            spoken[t].append(listen(q[t][j], keys, values, config.r_temp))
    return joined(p, spoken)


def gla(p: Weights, x: Array, config: Any) -> Array:
    """A gated product, normalised, and a convolution over the last K tokens, or over those around (old files)."""
    K, D = config.s_kernel, x.shape[1]
    before = K // 2 if config.c_convolution == "centred" else K - 1
    n, y = [], []
    for token in x:
        k, v = vector_times(token, p["k_weight"]), vector_times(token, p["v_weight"])
        z = np.array([float(k[c]) / config.r_temp * float(v[c]) for c in range(D)])
        n.append(layer_norm(z, p["norm_gamma"], p["norm_beta"]))
    for t in range(len(x)):
        hidden = np.zeros(D)
        for c in range(D):
            total = float(p["conv_bias"][c])
            for i in range(K):
                place = t - before + i
                if 0 <= place < len(x):
                    total += float(p["conv_weight"][c, i]) * float(n[place][c])
            hidden[c] = max(total, 0.0)
        y.append(vector_times(hidden, p["c_weight"]) + p["c_bias"])
    return np.array(y)


def aft(p: Weights, x: Array, config: Any) -> Array:
    """Attention-free: averages over the past under e^k, per channel."""
    k = [vector_times(token, p["k_weight"]) / config.r_temp for token in x]
    v = [vector_times(token, p["v_weight"]) for token in x]
    return np.array([vector_times(s, p["c_weight"]) + p["c_bias"] for s in averages(k, v)])


ATTENTIONS: dict[str, Callable[[Weights, Array, Any], Array]] = {
    "mha": mha, "gqa": gqa, "moh": moh, "swh": swh, "gla": gla, "rfa": rfa, "aft": aft}
