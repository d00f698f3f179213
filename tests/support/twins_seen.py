"""Slow twins of what the variants show of themselves: loops over tokens, heads and channels, from the equations alone.

Each function gives {name of the observation: values}. `p`, `config` and x (T, D) as in twins.py. Maps are (n, T, T),
the rest (n, T).
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, sqrt
from typing import Any

import numpy as np
from twins_attention import projected
from twins_parts import Array, Weights, dot, gelu, layer_norm, sigmoid, softmax, vector_times

Seen = dict[str, Array]


def norm(x: Array) -> float:
    """L2 norm of a vector."""
    return sqrt(sum(float(value) ** 2 for value in x))


def _heads(p: Weights, x: Array, config: Any, shared: int) -> tuple[Any, Any, Any]:
    """q, k, v as lists by token and query head; query head j reads ⌊j·shared/h⌋."""
    h = config.n_heads
    q, k, v = projected(p, x, "q", h), projected(p, x, "k", shared), projected(p, x, "v", shared)
    return q, [[token[j * shared // h] for j in range(h)] for token in k], [[token[j * shared // h] for j in range(h)]
                                                                            for token in v]


def _weights(q: Any, k: Any, config: Any) -> Array:
    T, h = len(q), config.n_heads
    weights = np.zeros((h, T, T))
    for j in range(h):
        for t in range(T):
            scores = [dot(q[t][j], k[i][j]) / (sqrt(len(q[t][j])) * config.r_temp) for i in range(t + 1)]
            weights[j, t, : t + 1] = softmax(scores)
    return weights


def _joined_contribution(p: Weights, weights: Array, v: Any) -> Array:
    """Each head has rows of Wc of its own."""
    h, T, _ = weights.shape
    d = len(v[0][0])
    found = np.zeros_like(weights)
    for j in range(h):
        for t in range(T):
            for i in range(T):
                found[j, t, i] = norm(vector_times(weights[j, t, i] * v[i][j], p["c_weight"][j * d : (j + 1) * d]))
    return found


def mha(p: Weights, x: Array, config: Any) -> Seen:
    q, k, v = _heads(p, x, config, config.n_heads)
    weights = _weights(q, k, config)
    return {"weights": weights, "contribution": _joined_contribution(p, weights, v)}


def gqa(p: Weights, x: Array, config: Any) -> Seen:
    q, k, v = _heads(p, x, config, config.n_kv_heads or max(1, config.n_heads // 4))
    weights = _weights(q, k, config)
    return {"weights": weights, "contribution": _joined_contribution(p, weights, v)}


def _gates(p: Weights, x: Array, config: Any) -> Array:
    return np.array([softmax([score / config.r_temp for score in vector_times(token, p["g_weight"])])
                     for token in x]).T


def _mixed_contribution(p: Weights, weights: Array, v: Any, used: Array) -> Array:
    """The heads are added up, each with its gate at the token that listens, and projected together."""
    h, T, _ = weights.shape
    found = np.zeros_like(weights)
    for j in range(h):
        for t in range(T):
            for i in range(T):
                found[j, t, i] = norm(vector_times(used[j, t] * weights[j, t, i] * v[i][j], p["m_weight"]))
    return found


def moh(p: Weights, x: Array, config: Any) -> Seen:
    q, k, v = _heads(p, x, config, config.n_heads)
    weights, gates = _weights(q, k, config), _gates(p, x, config)
    return {"weights": weights, "gates": gates, "contribution": _mixed_contribution(p, weights, v, gates)}


def swh(p: Weights, x: Array, config: Any) -> Seen:
    q, k, v = _heads(p, x, config, config.n_heads)
    weights, gates = _weights(q, k, config), _gates(p, x, config)
    chosen = np.zeros_like(gates)
    for t in range(len(x)):
        chosen[list(gates[:, t]).index(max(gates[:, t])), t] = 1.0
    return {"weights": weights, "probabilities": gates, "chosen": chosen,
            "contribution": _mixed_contribution(p, weights, v, chosen)}


def rfa(p: Weights, x: Array, config: Any) -> Seen:
    """What the memory is made of is followed as a list of shares, one for each position that has left."""
    q, k, v = _heads(p, x, config, config.n_heads)
    T, h, W = len(x), config.n_heads, config.s_window
    window, memory, whole = np.zeros((h, T, T)), np.zeros((h, T)), np.zeros((h, T, T))
    for j in range(h):
        kept, key, shares = sigmoid(float(p["memory_decay"][j])), np.zeros_like(k[0][j]), [0.0] * T
        for t in range(T):
            near = [i for i in range(T) if t - W < i <= t]
            keys = [k[i][j] for i in near]
            if t - W >= 0:
                shares = [kept * share for share in shares]
                shares[t - W] += 1 - kept
                key = kept * key + (1 - kept) * k[t - W][j]
                keys.append(key)
            found = softmax([dot(q[t][j], one) / (sqrt(len(one)) * config.r_temp) for one in keys])
            if t - W >= 0:
                memory[j, t] = found.pop()
            for i, weight in zip(near, found, strict=True):
                window[j, t, i] = weight
            for i in range(T):
                whole[j, t, i] = window[j, t, i] + memory[j, t] * shares[i]
    return {"window": window, "memory": memory, "weights": whole, "contribution": _joined_contribution(p, whole, v)}


def _averaged(k: list[Array], v: list[Array], gate: list[Array] | None = None) -> Seen:
    T, D = len(k), len(k[0])
    weights, added = np.zeros((1, T, T)), np.zeros((1, T, T))
    for t in range(T):
        totals = [sum(exp(min(max(float(k[i][c]), -20.0), 20.0)) for i in range(t + 1)) for c in range(D)]
        for i in range(t + 1):
            by_channel = [exp(min(max(float(k[i][c]), -20.0), 20.0)) / totals[c] for c in range(D)]
            weights[0, t, i] = sum(by_channel) / D
            added[0, t, i] = norm(np.array([(gate[t][c] if gate else 1.0) * by_channel[c] * v[i][c] for c in range(D)]))
    return {"weights": weights, "contribution": added}


def aft(p: Weights, x: Array, config: Any) -> Seen:
    return _averaged([vector_times(token, p["k_weight"]) / config.r_temp for token in x],
                     [vector_times(token, p["v_weight"]) for token in x])


def nft(p: Weights, x: Array, config: Any) -> Seen:
    gate = [np.array([sigmoid(float(q)) for q in vector_times(token, p["q_weight"])]) for token in x]
    found = _averaged(*([vector_times(token, p[f"{name}_weight"]) for token in x] for name in "kv"), gate)
    return {**found, "gates": np.array(gate).T}


def gla(p: Weights, x: Array, config: Any) -> Seen:
    K, (T, D) = config.s_kernel, x.shape
    before = K // 2 if config.c_convolution == "centred" else K - 1
    n = [layer_norm(vector_times(token, p["k_weight"]) / config.r_temp * vector_times(token, p["v_weight"]),
                    p["norm_gamma"], p["norm_beta"]) for token in x]
    weights, added, hidden = np.zeros((1, T, T)), np.zeros((1, T, T)), np.zeros((D, T))
    for t in range(T):
        total = [float(value) for value in p["conv_bias"]]
        for i in range(K):
            place = t - before + i
            if 0 <= place < T:
                weights[0, t, place] = sum(abs(float(p["conv_weight"][c, i])) for c in range(D)) / D
                came = [float(p["conv_weight"][c, i]) * float(n[place][c]) for c in range(D)]
                added[0, t, place] = norm(np.array(came))
                total = [a + b for a, b in zip(total, came, strict=True)]
        hidden[:, t] = [max(value, 0.0) for value in total]
    return {"weights": weights, "contribution": added, "hidden": hidden}


def _gelu(p: Weights, token: Array, up: str, bias: str) -> Array:
    return np.array([gelu(float(u)) for u in vector_times(token, p[up]) + p[bias]])


def mlp(p: Weights, x: Array, config: Any) -> Seen:
    return {"hidden": np.array([_gelu(p, token, "proj_up_weight", "proj_up_bias") for token in x]).T}


def moe(p: Weights, x: Array, config: Any) -> Seen:
    E = config.n_experts
    gates = np.array([softmax(list(vector_times(token, p["g_weight"]))) for token in x]).T
    sizes, hidden = np.zeros((E, len(x))), []
    for t, token in enumerate(x):
        hidden.append([_gelu(p, token, f"expert_{e}_up_weight", f"expert_{e}_up_bias") for e in range(E)])
        for e in range(E):
            answer = vector_times(hidden[t][e], p[f"expert_{e}_dn_weight"]) + p[f"expert_{e}_dn_bias"]
            sizes[e, t] = norm(gates[e, t] * answer)
    return {"gates": gates, "contribution": sizes, "hidden": np.array([np.concatenate(each) for each in hidden]).T}


def lor(p: Weights, x: Array, config: Any) -> Seen:
    low = [vector_times(token, p["c_proj_dn_weight"]) / config.n_rank for token in x]
    frozen = [norm(vector_times(token, p["c_proj_weight"]) + p["c_proj_bias"]) for token in x]
    return {"parts": np.array([frozen, [norm(vector_times(one, p["c_proj_up_weight"])) for one in low]]),
            "components": np.array(low).T}


def swi(p: Weights, x: Array, config: Any) -> Seen:
    gates, hidden = [], []
    for token in x:
        up = vector_times(token, p["c_proj_up_weight"]) + p["c_proj_up_bias"]
        gate = vector_times(token, p["c_proj_gt_weight"]) + p["c_proj_gt_bias"]
        gates.append([float(g) * sigmoid(float(g)) for g in gate])
        hidden.append([float(u) * g for u, g in zip(up, gates[-1], strict=True)])
    return {"gates": np.array(gates).T, "hidden": np.array(hidden).T}


def gln(p: Weights, x: Array, config: Any) -> Seen:
    gates, hidden = [], []
    for token in x:
        content = vector_times(token, p["c_weight"]) + p["c_bias"]
        gates.append([sigmoid(float(g)) for g in vector_times(token, p["g_weight"]) + p["g_bias"]])
        hidden.append([float(c) * g for c, g in zip(content, gates[-1], strict=True)])
    return {"gates": np.array(gates).T, "hidden": np.array(hidden).T}


def ggl(p: Weights, x: Array, config: Any) -> Seen:
    G, (T, D) = config.n_groups, x.shape
    width = D // G
    groups, gates, hidden = np.zeros((G, T)), np.zeros((D, T)), np.zeros((D, T))
    for t, token in enumerate(x):
        for g in range(G):
            own = slice(g * width, (g + 1) * width)
            gates[own, t] = [sigmoid(float(value)) for value in vector_times(token[own], p[f"gate_{g}_weight"])]
            hidden[own, t] = vector_times(token[own], p[f"linear_{g}_weight"]) * gates[own, t]
            groups[g, t] = sum(gates[own, t]) / width
    return {"groups": groups, "gates": gates, "hidden": hidden}


SEEN: dict[str, Callable[[Weights, Array, Any], Seen]] = {
    "mha": mha, "gqa": gqa, "moh": moh, "swh": swh, "rfa": rfa, "aft": aft, "gla": gla,
    "mlp": mlp, "moe": moe, "lor": lor, "swi": swi, "gln": gln, "ggl": ggl, "nft": nft}
